"""The examples in the docs run, and the pages know every reason, interval kind, method and figure."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from probeshift.metrics import intervals, recovered, undefined
from probeshift.probes import METHODS
from probeshift.report.comparison import FIGURES

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "metrics.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["metrics", "probes"])
def test_the_example_runs(page):
    (example,) = re.findall(r"```python\n(.*?)```", (DOCS / f"{page}.md").read_text(encoding="utf-8"), re.DOTALL)
    exec(compile(example, f"docs/{page}.md", "exec"), {})


def test_every_method_is_explained_and_every_figure_listed():
    probes, compare = ((DOCS / f"{page}.md").read_text(encoding="utf-8") for page in ("probes", "compare"))
    assert [m.name for m in METHODS if f"| `{m.name}` |" not in probes] == []
    assert [f.name for f in FIGURES if f"`{f.name}`" not in compare] == []


def test_every_interval_kind_and_reason_is_explained():
    names = [value for name, value in vars(intervals).items() if name.isupper() and isinstance(value, str)]
    names += [undefined.NON_FINITE, undefined.CONSTANT, undefined.TOO_FEW_QUESTIONS, undefined.TOO_FEW_ROWS]
    names += [recovered.DEGENERATE_DISCORDANCE, recovered.CEILING_NOT_ABOVE_CHANCE, recovered.CEILING_NOT_CLEAR]
    assert len(names) >= 12
    assert [name for name in names if f"`{name}`" not in PAGE] == []
