"""The notebooks run from the first cell to the last, their stored outputs are those of a real run, and they hide nothing."""

import ast

import nbformat
import notebooks
import pages
import pytest

PATHS = {path.stem: path for path in notebooks.PATHS}


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(notebook):
    return ["".join(output.get("text", "") for output in cell.outputs) for cell in code_cells(notebook)]


def kinds(notebook):
    return [[(o.output_type, sorted(o.get("data", ()))) for o in cell.outputs] for cell in code_cells(notebook)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A notebook, executed once, with the converted models at hand and a cache of its own."""
    done = {}

    def call(name):
        if name not in done:
            folder = tmp_path_factory.mktemp(name)
            with pytest.MonkeyPatch.context() as patch:
                for key, value in pages.shell_environment(folder).items():
                    patch.setenv(key, value)
                done[name] = notebooks.execute(PATHS[name], folder)
        return done[name]

    return call


@pytest.mark.parametrize("name", PATHS)
def test_the_notebook_runs_and_gives_outputs_of_the_stored_kinds(name, run):
    stored = nbformat.read(PATHS[name], as_version=4)
    assert kinds(run(name)) == kinds(stored)
    assert [c.execution_count for c in code_cells(stored)] == list(range(1, len(code_cells(stored)) + 1))


def test_numbers_in_float32_are_those_that_are_stored(run):
    stored = printed(nbformat.read(PATHS["truth_direction"], as_version=4))
    missing = [pages.first_missing(a, b) for a, b in zip(stored, printed(run("truth_direction")), strict=True)]
    assert len(stored) == 4 and missing == [None] * 4


def test_at_about_equal_kl_the_vector_writes_spanish_and_a_random_one_does_not(run):
    (table,) = (text for text in printed(run("steering")) if text.lstrip().startswith("Spanish"))
    rows, vector = {}, None
    for line in table.splitlines()[2:]:
        *name, strength, spanish, _readable, kl, _perplexity = line.split()
        vector = name[0] if name else vector
        rows[vector, float(strength)] = float(spanish), float(kl)
    (spanish, kl), (random_spanish, random_kl) = rows["language", 0.8], rows["random", 1.2]
    assert spanish > random_spanish == 0 and abs(kl - random_kl) < 0.3
    assert rows["none", 0.0] == (0, 0)


@pytest.mark.parametrize("name", PATHS)
def test_no_cell_hides_an_error_or_shows_a_machine(name):
    notebook = nbformat.read(PATHS[name], as_version=4)
    for cell in code_cells(notebook):
        assert not cell.source.lstrip().startswith(("%", "!")) and not cell.metadata.get("tags")
        assert "suppress" not in cell.source and not any(
            isinstance(n, ast.Try) for n in ast.walk(ast.parse(cell.source))
        )
        assert {o.get("name", "stdout") for o in cell.outputs} <= {"stdout"}
    text = nbformat.writes(notebook)
    assert "/home/" not in text and "/work/" not in text and "/tmp/" not in text


def test_a_cell_that_raises_ends_the_run(tmp_path):
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell("1 / 0"), nbformat.v4.new_code_cell("print(1)")]
    )
    nbformat.write(notebook, tmp_path / "broken.ipynb")
    with pytest.raises(Exception, match="ZeroDivisionError"):
        notebooks.execute(tmp_path / "broken.ipynb", tmp_path)
