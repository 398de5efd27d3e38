"""A tree of the datasets: those whose probes hold on each other are joined first."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from probeshift.report.comparison.families import family_handles, family_styles, style_of
from probeshift.report.comparison.heading import about, span, tidy, under_heading
from probeshift.report.comparison.study_figure import StudyFigure
from probeshift.report.palette import GREY
from probeshift.summaries.directions import clustering

_STEP = 0.31  # inches from one dataset to the next


def draw_clustering(table: pd.DataFrame) -> Figure:
    """r3d: a dendrogram, datasets on the left, joined where their mean distance lies; bars are 95 % intervals of the heights.

    Args:
        table: from `summaries.directions.clustering`.

    Raises:
        UsageError: the table is empty.
    """
    shown = about(table)
    leaves, steps = table[table["dataset"].notna()], table[table["dataset"].isna()]
    known = steps["ci_low"].notna().any()
    notes = [
        f"{shown} · {table['counted'].iloc[0]}",
        "distance: 1 − recovered accuracy, mean of there and back; joined by average linkage; "
        f"{span(steps['n_cells'])} cells per height",
        "bars: 95 % interval of the height; numbers: percent of resamples of the questions in which these datasets form a cluster"
        if known
        else "no intervals at hand",
        "distances below 0: probes of others beat the ceiling" if (steps["height"] < 0).any() else "",
    ]
    title = "Which datasets belong together?"
    figure, body = under_heading(title, notes, width=9.0, height=1.0 + _STEP * len(leaves))
    axes = body.add_subplot()
    places = _places(leaves, steps)
    start = min(0.0, float(np.nanmin(steps[["height", "ci_low"]].to_numpy(dtype=float))))
    _draw_branches(axes, steps, places, start)
    _draw_leaves(axes, leaves, places, start)
    axes.set_xlabel("distance (1 − recovered accuracy)")
    tidy(axes, "x")
    axes.spines["left"].set_visible(False)
    return figure


def _places(leaves: pd.DataFrame, steps: pd.DataFrame) -> dict[int, float]:
    """Height on the page by node: leaves evenly in the order of the tree, merges halfway between what they join."""
    below = {node: [node] for node in leaves["node"]}
    for step in steps.itertuples():
        below[step.node] = below[int(step.left)] + below[int(step.right)]
    places: dict[int, float] = {node: float(at) for at, node in enumerate(below[steps["node"].iloc[-1]])}
    for step in steps.itertuples():
        places[step.node] = (places[int(step.left)] + places[int(step.right)]) / 2.0
    return places


def _draw_branches(axes: Axes, steps: pd.DataFrame, places: dict[int, float], start: float) -> None:
    ends = dict(zip(steps["node"], steps["height"], strict=True))
    for step in steps.itertuples():
        pair = int(step.left), int(step.right)
        across = [ends.get(pair[0], start), step.height, step.height, ends.get(pair[1], start)]
        up = [places[pair[0]]] * 2 + [places[pair[1]]] * 2
        axes.plot(across, up, color="0.25", linewidth=1.3, solid_joinstyle="miter", gid=f"merge|{step.node}", zorder=2)
        if np.isfinite(step.ci_low):
            at = places[step.node]
            axes.plot(
                [step.ci_low, step.ci_high],
                [at, at],
                color=GREY,
                linewidth=6,
                alpha=0.3,
                solid_capstyle="butt",
                zorder=1,
            )
        if np.isfinite(step.support) and step.n_datasets < len(steps) + 1:  # the whole tree is always there
            text = axes.annotate(f"{100 * step.support:.0f}", (step.height, places[step.node]), (3, 2), fontsize=7.5,
                                 textcoords="offset points", va="bottom", zorder=4, gid=f"support|{step.node}")  # fmt: skip
            text.set_path_effects([withStroke(linewidth=2.0, foreground="white")])


def _draw_leaves(axes: Axes, leaves: pd.DataFrame, places: dict[int, float], start: float) -> None:
    styles = family_styles(leaves["family"])
    ordered = leaves.assign(place=leaves["node"].map(places)).sort_values("place")
    axes.set_yticks(ordered["place"], ordered["dataset"])
    axes.set_ylim(len(leaves) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0, pad=9)
    for leaf in ordered.itertuples():
        colour, marker = style_of(leaf.family, styles)
        axes.plot(start, leaf.place, color=colour, marker=marker, markersize=8, clip_on=False, zorder=3)
    axes.set_xlim(left=start)
    if styles:
        axes.legend(handles=family_handles(styles), title="family", frameon=False, fontsize=8.5, title_fontsize=8.5,
                    loc="upper left", bbox_to_anchor=(1.0, 1.0))  # fmt: skip


FIGURES: tuple[StudyFigure, ...] = (StudyFigure("r3d_clustering", clustering, draw_clustering),)
