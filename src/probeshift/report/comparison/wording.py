"""Numbers as sentences write them."""

from __future__ import annotations

import numpy as np

from probeshift.metrics.recovered import CEILING_NOT_ABOVE_CHANCE, CEILING_NOT_CLEAR
from probeshift.summaries.headline import Headline

LEVEL = 0.05  # of q, and of a p that stands alone
_WORDS = {
    CEILING_NOT_ABOVE_CHANCE: "the ceiling is not above chance",
    CEILING_NOT_CLEAR: "with other questions the ceiling may be no better than chance",
}


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def points(difference: float) -> str:
    """A difference of shares, in percentage points."""
    return f"{100 * difference:.1f} points"


def small(probability: float) -> str:
    """A p or q with three decimals."""
    return "below 0.001" if probability < 0.0005 else f"{probability:.3f}"


def bounded(found: Headline) -> str:
    """A share with its 95 % bounds, or why it has none."""
    if np.isnan(found.value):
        return f"nothing ({in_words(found.reason)})"
    if np.isnan(found.low):
        return f"{percent(found.value)} ({in_words(found.reason)})"
    return f"{percent(found.value)} [{100 * found.low:.1f}, {100 * found.high:.1f}]"


def in_words(reason: str | None) -> str:
    return _WORDS.get(str(reason), str(reason))
