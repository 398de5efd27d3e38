"""Families of datasets as they are drawn: a colour and a marker each, and their legend."""

from __future__ import annotations

import pandas as pd
from matplotlib.lines import Line2D

from probeshift.report.palette import FAMILIES, GREY

_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_NO_FAMILY = (GREY, "o")


def family_styles(families: pd.Series) -> dict[str, tuple[str, str]]:
    """Colour and marker by family, in alphabetical order, so that a family looks the same in every figure of a study."""
    names = sorted(families.dropna().unique())
    return {name: (FAMILIES[at % len(FAMILIES)], _MARKERS[at % len(_MARKERS)]) for at, name in enumerate(names)}


def style_of(family: object, styles: dict[str, tuple[str, str]]) -> tuple[str, str]:
    return styles.get(family, _NO_FAMILY) if isinstance(family, str) else _NO_FAMILY


def family_handles(styles: dict[str, tuple[str, str]]) -> list[Line2D]:
    return [
        Line2D([], [], color=colour, marker=marker, linestyle="none", markersize=7, label=name)
        for name, (colour, marker) in styles.items()
    ]
