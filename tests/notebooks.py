"""Notebooks of the docs: executed in a folder of their own, and written with what came out (`python tests/notebooks.py`)."""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
PATHS = tuple(sorted(FOLDER.glob("*.ipynb")))


def execute(path: Path, folder: Path) -> nbformat.NotebookNode:
    """The notebook with fresh outputs, run from its first cell in a new kernel; an exception in a cell is raised here."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(notebook, kernel_name="python3", resources=resources, record_timing=False, timeout=None).execute()
    for cell in notebook.cells:
        if cell.cell_type == "code":  # warnings of this machine's libraries; an exception has ended the run above
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    notebook.metadata.language_info = {"name": "python"}  # not the version that ran it
    return notebook


if __name__ == "__main__":
    for given in [Path(name) for name in sys.argv[1:]] or PATHS:
        with TemporaryDirectory() as folder:
            nbformat.write(execute(given, Path(folder)), given)
