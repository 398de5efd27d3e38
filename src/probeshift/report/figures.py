"""Figures for papers and posts: each is a pure function of a table and returns a matplotlib Figure.

Figures are built without pyplot, so they need no display and hold no global state.
"""

from __future__ import annotations

import textwrap
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from probeshift.errors import UsageError
from probeshift.provenance import publish
from probeshift.report.cross_matrix import cross_matrix
from probeshift.report.palette import GREY, LINES, PROTOCOL_WORDS

__all__ = ["cross_matrix", "layer_curve", "save_figure"]

DPI = 160
_METRIC_AXIS = {"accuracy": "accuracy", "accuracy_row": "accuracy by row", "auroc": "AUROC"}


def layer_curve(table: pd.DataFrame, *, title: str, model: str | None = None) -> Figure:
    """A metric by layer: one line with an interval band per series, and chance.

    Args:
        table: from `summaries.by_layer`: columns series, layer, metric, method, protocol, value, ci_low, ci_high,
            chance, n_cells. Undefined points leave a gap; lines without intervals have no band.
        title: said above the axes.
        model: said below the title.

    Raises:
        UsageError: the table is empty.
    """
    if not len(table):
        raise UsageError("the table of the layer curve is empty. Choose a method that has results.")
    figure = Figure(figsize=(7.5, 4.6))
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
    axes = figure.add_subplot()
    for number, (name, part) in enumerate(table.groupby("series", sort=False)):
        part = part.sort_values("layer")
        colour, dash, marker = LINES[number % len(LINES)]
        sets = f", {_span(part['n_cells'])} cells"
        line = {"color": colour, "linestyle": dash, "marker": marker, "ms": 4.5, "label": f"{name}{sets}"}
        axes.plot(part["layer"], part["value"], **line)
        band = part[["ci_low", "ci_high"]].to_numpy(dtype=float).T
        axes.fill_between(part["layer"], *band, color=colour, alpha=0.18, linewidth=0)
    chance = table.groupby("layer")["chance"].mean()
    if chance.notna().any():
        axes.plot(chance.index, chance, color=GREY, linestyle=(0, (1, 2)), label=f"chance, {_span(chance, '.2f')}")
    axes.set_ylim(min(0.4, _floor(table)), 1.01)
    axes.set_xticks(sorted(table["layer"].unique())[:: max(1, table["layer"].nunique() // 18)])
    axes.set_xlabel("layer (block whose output is read, from 0)")
    metric, method = table["metric"].iloc[0], table["method"].iloc[0]
    axes.set_ylabel(_METRIC_AXIS.get(metric, metric))
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2)
    about = [f"model {model}"] if model else []
    about += [f"method {method}", PROTOCOL_WORDS[table["protocol"].iloc[0]], "bands: 95 % over questions"]
    below = textwrap.wrap(" · ".join(about), 110)
    axes.set_title(title, loc="left", fontweight="bold", fontsize=12, pad=10 + 12 * len(below))
    axes.annotate("\n".join(below), (0, 1), (0, 6), "axes fraction", "offset points", fontsize=8.5, color="0.3")
    return figure


def save_figure(figure: Figure, path: Path, table: pd.DataFrame) -> tuple[Path, Path]:
    """Write the figure as PNG and its table as CSV beside it (same stem); returns both paths.

    The same figure gives the same bytes: no dates, no library versions inside.

    Raises:
        StoreError: the folder cannot be written.
    """
    picture = BytesIO()
    FigureCanvasAgg(figure)
    figure.savefig(picture, format="png", dpi=DPI, metadata={"Software": None})
    png, csv = path.with_suffix(".png"), path.with_suffix(".csv")
    publish(csv, table.to_csv(index=False))
    publish(png, picture.getvalue())
    return png, csv


def _floor(table) -> float:
    lowest = table[["value", "ci_low", "chance"]].astype(float).min().min()
    return 0.4 if np.isnan(lowest) else max(0.0, float(np.floor(lowest * 20 - 0.5)) / 20)


def _span(values, pattern="g") -> str:
    low, high = values.min(), values.max()
    return f"{low:{pattern}}" if f"{low:{pattern}}" == f"{high:{pattern}}" else f"{low:{pattern}}–{high:{pattern}}"
