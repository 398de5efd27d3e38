"""A figure under its heading: a bold title and, below it, the words that say what is shown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import Literal

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from probeshift.errors import UsageError
from probeshift.report.palette import PROTOCOL_WORDS

_LINE = 0.165  # inches


def under_heading(title: str, notes: Iterable[str], *, width: float, height: float) -> tuple[Figure, SubFigure]:
    """A figure and, below its heading, an empty part of `width` x `height` inches for the axes; empty notes are left out."""
    head = textwrap.wrap(title, int(width * 8))
    lines = [line for note in notes if note for line in textwrap.wrap(note, int(width * 14.5))]
    top = 0.25 + 0.26 * len(head) + _LINE * len(lines)
    figure = Figure(figsize=(width, top + height), facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.08, h_pad=0.06)
    words, body = figure.subfigures(2, 1, height_ratios=(top, height), squeeze=False)[:, 0]
    left = 0.15 / width
    words.text(left, 1 - 0.14 / top, "\n".join(head), va="top", fontsize=13, fontweight="bold")
    below = 1 - (0.2 + 0.26 * len(head)) / top
    words.text(left, below, "\n".join(lines), va="top", fontsize=8.5, color="0.3", linespacing=1.35)
    return figure, body


def about(table: pd.DataFrame, *more: str) -> str:
    """The model and the protocol of a table, and more words, in one line.

    Raises:
        UsageError: the table is empty.
    """
    if not len(table):
        raise UsageError("the table of the figure is empty. Evaluate the datasets, methods and layers it is about.")
    first = table.iloc[0]
    return " · ".join([f"model {first['model']}", PROTOCOL_WORDS[first["protocol"]], *filter(None, more)])


def span(values: pd.Series, pattern: str = "{:g}") -> str:
    """The smallest and largest defined value as words: "3", "3–8", or "unknown" when none is defined."""
    known = values.dropna()
    if not len(known):
        return "unknown"
    low, high = pattern.format(known.min()), pattern.format(known.max())
    return low if low == high else f"{low}–{high}"


def tidy(axes: Axes, grid: Literal["x", "y", "both"]) -> None:
    """A pale grid behind what is drawn, and no frame above and on the right."""
    axes.grid(axis=grid, color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
