"""All rules. A new one is a line in one of these tuples."""

from __future__ import annotations

from probeshift.errors import UsageError, nearest
from probeshift.steering.rules.case import CASE_RULES
from probeshift.steering.rules.extras import EXTRA_RULES
from probeshift.steering.rules.layout import LAYOUT_RULES
from probeshift.steering.rules.punctuation import PUNCTUATION_RULES
from probeshift.steering.rules.rule import Rule
from probeshift.steering.rules.words_and_length import WORD_RULES
from probeshift.steering.rules.wrapping import WRAPPING_RULES

RULES: tuple[Rule, ...] = (
    *CASE_RULES,
    *PUNCTUATION_RULES,
    *LAYOUT_RULES,
    *WRAPPING_RULES,
    *WORD_RULES,
    *EXTRA_RULES,
)


def rule_names() -> tuple[str, ...]:
    """The names of all rules."""
    return tuple(rule.name for rule in RULES)


def rule(name: str) -> Rule:
    """The rule of that name.

    Raises:
        UsageError: there is none; the nearest names are given.
    """
    for known in RULES:
        if known.name == name:
            return known
    raise UsageError(f"rule `{name}` is not known. {nearest(name, rule_names())}")
