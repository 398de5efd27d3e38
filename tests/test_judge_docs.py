"""The page on judging runs, and knows every rule, setting, reason and kind of interval."""

import re
from pathlib import Path

from probeshift.metrics import units
from probeshift.steering.effects import NO_NATIVE_GAIN
from probeshift.steering.judges import RUBRICS, JudgeSettings, replies
from probeshift.steering.judges.local import NOT_FINITE, TOO_LONG
from probeshift.steering.judges.opening import PriceSettings
from probeshift.steering.rules import rule_names

PAGE = (Path(__file__).parent.parent / "docs" / "judging.md").read_text("utf-8")


def test_the_example_runs():
    (example,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    exec(compile(example, "docs/judging.md", "exec"), {})


def test_everything_that_has_a_name_is_explained():
    reasons = [
        replies.EMPTY,
        replies.REFUSED,
        replies.NO_RATING,
        replies.OUT_OF_RANGE,
        TOO_LONG,
        NOT_FINITE,
        NO_NATIVE_GAIN,
    ]
    kinds = [
        value
        for name, value in vars(units).items()
        if name.isupper() and isinstance(value, str) and name != "NO_INTERVAL"
    ]
    names = [*rule_names(), *JudgeSettings.model_fields, *PriceSettings.model_fields, *(one.name for one in RUBRICS)]
    assert len(kinds) >= 6
    assert [name for name in [*names, *reasons, *kinds] if f"`{name}`" not in PAGE] == []


def test_defaults_on_the_page_are_those_of_the_code():
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]+?) \|", PAGE, re.MULTILINE))
    defaults = {name: field.default for name, field in JudgeSettings.model_fields.items()}
    for name in ("concurrency", "timeout", "max_retries", "most_missing"):
        assert float(rows[name]) == defaults[name]
    assert rows["backend"] == f"`{defaults['backend']}`" and rows["key_variable"] == f"`{defaults['key_variable']}`"
