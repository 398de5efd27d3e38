"""Text of datasets and models as a page may show it: cut to a length, and nothing in it that acts on the reader's screen unseen."""

from __future__ import annotations

import re
from typing import Any

LONGEST_TEXT = 2000
LONGEST_NAME = 200

# Controls except tab and newline, line and paragraph separators, marks that turn or hide text, halves of surrogate pairs.
_ACTING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)


def shown_text(value: Any, longest: int = LONGEST_TEXT) -> str:
    """The text with acting characters written out as `⟦U+202E⟧`, and cut with a note of its true length."""
    text = str(value)
    cut = _ACTING.sub(lambda found: f"⟦U+{ord(found[0]):04X}⟧", text[:longest])
    return cut if len(text) <= longest else f"{cut} … ⟦first {longest:,} of {len(text):,} characters⟧"


def shown_name(value: Any) -> str:
    """As `shown_text`, for names and cells of tables."""
    return shown_text(value, LONGEST_NAME)


def shown_value(value: Any) -> Any:
    """A JSON value with every text in it made safe to show, keys included; numbers that JSON lacks become None."""
    if isinstance(value, dict):
        return {shown_name(key): shown_value(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [shown_value(part) for part in value]
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value if value is None or isinstance(value, (bool, int, float)) else shown_text(value)
