"""One palette for all figures: colour-blind safe, and readable in grey where it carries meaning alone.

Family and line colours: Okabe and Ito 2008. Maps: cividis (Nuñez et al. 2018), PuOr (ColorBrewer).
"""

from __future__ import annotations

from typing import Any

BLUE, VERMILION, GREEN, ORANGE, SKY, PINK, YELLOW = (
    "#0072B2", "#D55E00", "#009E73", "#E69F00", "#56B4E9", "#CC79A7", "#F0E442",
)  # fmt: skip
GREY = "#6E6E6E"
UNDEFINED = "#D9D9D9"
FAMILIES = (SKY, ORANGE, GREEN, PINK, BLUE, YELLOW, VERMILION)
LINES: tuple[tuple[str, Any, str], ...] = (
    (BLUE, "solid", "o"), (VERMILION, "solid", "s"), (GREY, "dashed", "^"), (GREEN, "dashdot", "D"),
    (PINK, "solid", "v"), (ORANGE, "dashed", "P"), (SKY, "dashdot", "X"),
)  # fmt: skip
MAPS = {"recovered": "cividis", "accuracy": "cividis", "accuracy_row": "cividis", "auroc": "PuOr"}
PROTOCOL_WORDS = {
    "strict": "sign and threshold from training data",
    "published": "published procedure: sign and threshold chosen on evaluation labels",
}
