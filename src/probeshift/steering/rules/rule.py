"""What a rule is, and what it means that a text follows it: strictly, loosely, and in a text worth reading."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from probeshift.steering.repetition import distinct_n
from probeshift.steering.rules.pairs import ContrastPair
from probeshift.steering.rules.wording import words

FEWEST_WORDS = 10
LEAST_DISTINCT = 0.3  # distinct-2 at or below: the text is a loop

EMPTY, SHORT, LOOPING = "empty", "too short", "repeats itself"

Check = Callable[[str], bool | None]


@dataclass(frozen=True)
class Rule:
    """A rule about the form of a text.

    `check` says whether a text follows it, None when the text is too short to tell. `request` is the sentence that asks for
    it in a prompt. `pairs` makes contrast pairs. `fewest_words` is what a useful text has at least. `unwrap` gives a further
    reading of the text for the loose verdict (a JSON answer without its code fence). `limits` marks rules that limit the
    length: a text cut short says nothing about them.
    """

    name: str
    group: str
    request: str
    check: Check
    pairs: Callable[[], tuple[ContrastPair, ...]]
    fewest_words: int = FEWEST_WORDS
    unwrap: Callable[[str], str] | None = None
    limits: bool = False


@dataclass(frozen=True)
class Verdict:
    """Whether a text follows a rule. `degenerate` says why the text is not worth a pass; None when it is.

    `undetermined` marks texts too short to tell: they count as not following.
    """

    strict: bool
    loose: bool
    degenerate: str | None
    undetermined: bool

    @property
    def useful(self) -> bool:
        """Follows the rule strictly, in a text that is not degenerate."""
        return self.strict and self.degenerate is None

    @property
    def useful_loose(self) -> bool:
        """Follows the rule loosely, in a text that is not degenerate."""
        return self.loose and self.degenerate is None


def follows(rule: Rule, text: str) -> Verdict:
    """The verdict on one text. An empty text follows no rule.

    Loose as in IFEval (Zhou et al. 2023): it is enough that one of eight readings does, the text with or without its first
    line, its last line and its asterisks; for some rules also the text taken out of a wrapping. Limits of length take the
    text with all its lines.
    """
    said = rule.check(text) if text.strip() else False
    loose = any(rule.check(reading) for reading in _readings(rule, text))
    return Verdict(bool(said), loose, degenerate(text, rule.fewest_words), undetermined=said is None)


def degenerate(text: str, fewest_words: int = FEWEST_WORDS) -> str | None:
    """Why a text is not worth a pass: it is empty, shorter than `fewest_words`, or has distinct-2 of at most 0.3."""
    found = [word.casefold() for word in words(text)]
    if not found:
        return EMPTY
    if len(found) < fewest_words:
        return SHORT
    distinct = distinct_n(found, 2)
    return LOOPING if distinct is not None and distinct <= LEAST_DISTINCT else None


def _readings(rule: Rule, text: str) -> Iterator[str]:
    lines = text.strip().split("\n")
    parts = (lines,) if rule.limits else (lines, lines[1:], lines[:-1], lines[1:-1])
    kept = ["\n".join(part).strip() for part in parts]
    wrapped = [rule.unwrap(text)] if rule.unwrap else []
    for reading in (text, *kept, *(re.sub(r"\*", "", part) for part in kept), *wrapped):
        if reading.strip():
            yield reading
