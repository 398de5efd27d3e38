"""From a judge's reply to a rating: the last line, one strict form. What does not fit is missing, never 0."""

from __future__ import annotations

import re
from dataclasses import dataclass

from probeshift.steering.judges.rubrics import HIGHEST

EMPTY = "empty reply"
REFUSED = "the judge refused"
CUT = "reply cut at its longest"
NO_RATING = "no rating in the last line"
OUT_OF_RANGE = "rating outside 0, 1, 2"

_LAST_LINE = re.compile(r"rating:\s*\[\[\s*([^\[\]]*?)\s*\]\]\.?", re.IGNORECASE)
_WHOLE_NUMBER = re.compile("[+-]?[0-9]+")


@dataclass(frozen=True)
class Parsed:
    """A rating 0, 1 or 2, or None and the reason."""

    value: float | None
    reason: str | None


def parse_rating(reply: str | None, *, refusal: str | None = None, cut: bool = False) -> Parsed:
    """The rating in the last line of a reply, `Rating: [[n]]`; asterisks around it are let pass.

    Only the last line counts: a judge that quotes the text before it rates cannot pass the text's own ratings on. What
    stands last in a reply that was `cut` may be anything.
    """
    if refusal or cut:
        return Parsed(None, REFUSED if refusal else CUT)
    lines = (reply or "").strip().splitlines()
    if not lines:
        return Parsed(None, EMPTY)
    found = _LAST_LINE.fullmatch(lines[-1].strip().strip("*_` "))
    if found is None:
        return Parsed(None, NO_RATING)
    number = found[1]
    if not _WHOLE_NUMBER.fullmatch(number) or not 0 <= int(number) <= HIGHEST:
        return Parsed(None, OUT_OF_RANGE)
    return Parsed(float(number), None)
