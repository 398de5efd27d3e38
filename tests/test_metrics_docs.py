"""The example in docs/metrics.md runs, and the page knows every reason and interval kind."""

from __future__ import annotations

import re
from pathlib import Path

from probeshift.metrics import intervals, recovered, undefined

PAGE = (Path(__file__).parent.parent / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_the_example_runs():
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(example, "docs/metrics.md", "exec"), {})


def test_every_interval_kind_and_reason_is_explained():
    names = [value for name, value in vars(intervals).items() if name.isupper() and isinstance(value, str)]
    names += [undefined.NON_FINITE, undefined.CONSTANT, undefined.TOO_FEW_QUESTIONS, undefined.TOO_FEW_ROWS]
    names += [recovered.DEGENERATE_DISCORDANCE, recovered.CEILING_NOT_ABOVE_CHANCE, recovered.CEILING_NOT_CLEAR]
    assert len(names) >= 12
    assert [name for name in names if f"`{name}`" not in PAGE] == []
