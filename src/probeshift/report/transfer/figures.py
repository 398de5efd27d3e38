"""Figures of a transfer study: each a pure function of a table."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probeshift.report.palette import BLUE, GREEN, GREY, LINES, MAPS, UNDEFINED, VERMILION

NATIVE, BASES = "native", ("none", "prompted")
CONTROLS = ("random", "other concept", "mean vector", "shuffled", "padded", "random-orthogonal")
_ROW = 0.36


def kind_colour(condition: str) -> str:
    """Native, carried, control or base."""
    if condition == NATIVE:
        return GREEN
    return VERMILION if condition in CONTROLS else GREY if condition in BASES else BLUE


def score_points(conditions: pd.DataFrame, *, score: str, heading: str) -> Figure:
    """The score of every condition with its 95 % interval over concepts; the model as it is as a line.

    Args:
        conditions: rows of one choice of strengths: condition, score, score_low, score_high, n_concepts.
        score: what the score is.
        heading: said above the axes; a second line is said smaller.
    """
    figure, axes = _rows_of(conditions, heading)
    for place, row in enumerate(conditions.itertuples()):
        colour = kind_colour(str(row.condition))
        if np.isfinite(row.score_low):
            axes.plot([row.score_low, row.score_high], [place, place], color=colour, linewidth=2, solid_capstyle="butt")
        axes.plot(row.score, place, "o", color=colour, ms=7)
        right = row.score_high if np.isfinite(row.score_high) else row.score
        axes.annotate(f"{row.score:.2f}", (right, place), (8, 0), "data", "offset points", va="center", fontsize=8.5)
    base = conditions[conditions["condition"] == "none"]["score"]
    if len(base):
        axes.axvline(float(base.iloc[0]), color=GREY, linestyle=(0, (1, 2)), zorder=0)
    most = 2.0 if score == "overall" else 1.0
    axes.set_xlim(-0.03 * most, 1.13 * most)
    axes.set_xlabel(
        f"{score} (mean over {int(conditions['n_concepts'].iloc[0])} concepts, 95 % interval where defined)"
    )
    _key(axes)
    return figure


def closeness_points(closeness: pd.DataFrame, *, heading: str) -> Figure:
    """Cosine with the native vector, raw and without the mean direction, beside the split-half ceiling; and detection AUROC."""
    shown = closeness.reset_index(drop=True)
    figure = Figure(figsize=(9.5, 1.7 + _ROW * len(shown)))
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(shown))
    for column, marker, filled, name in (
        ("cosine", "o", True, "raw"),
        ("cosine_specific", "D", False, "mean direction taken out"),
    ):
        if column in shown:
            values = shown[column].astype(float)
            face = [kind_colour(c) if filled else "white" for c in shown["condition"]]
            edge = [kind_colour(c) for c in shown["condition"]]
            left.scatter(values, places, marker=marker, s=44, c=face, edgecolors=edge, zorder=3)
            left.plot([], [], marker, color=GREY, mfc=GREY if filled else "white", linestyle="", label=name)
    ceiling = float(shown["split_half_cosine"].iloc[0])
    left.axvline(
        ceiling, color=GREY, linestyle="dashed", linewidth=1, label=f"two halves of the native data, {ceiling:.2f}"
    )
    left.axvline(0, color="0.85", zorder=0)
    left.set_xlim(min(-0.25, float(shown[["cosine", "cosine_specific"]].astype(float).min().min()) - 0.05), 1.05)
    left.set_xlabel("cosine with the native vector")
    left.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=1)
    for place, row in enumerate(shown.itertuples()):
        if np.isfinite(row.auroc_low):
            right.plot(
                [row.auroc_low, row.auroc_high], [place, place], color=kind_colour(str(row.condition)), linewidth=2
            )
        right.plot(row.auroc, place, "o", color=kind_colour(str(row.condition)), ms=7)
    right.axvline(0.5, color=GREY, linestyle=(0, (1, 2)), label="chance, 0.5")
    right.set_xlim(min(0.35, float(np.nanmin(shown[["auroc", "auroc_low"]].astype(float))) - 0.03), 1.03)
    right.set_xlabel("detection AUROC on other rows (95 % over concepts)")
    right.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16))
    for axes in (left, right):
        _clean(axes)
    left.set_yticks(places, [_named(r) for r in shown.itertuples()])
    left.invert_yaxis()
    figure.suptitle(heading, x=0.01, ha="left", fontweight="bold", fontsize=12)
    return figure


def strength_curves(curves: pd.DataFrame, *, conditions: tuple[str, ...], score: str, heading: str) -> Figure:
    """Score by strength for some conditions, and what the native vector costs: perplexity and KL, on selection prompts."""
    figure = Figure(figsize=(10, 3.9))
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
    left, middle, right = figure.subplots(1, 3)
    zero = curves[(curves["condition"] == "none")]
    for number, name in enumerate(conditions):
        part = pd.concat([zero, curves[curves["condition"] == name]]).sort_values("strength")
        colour, dash, marker = LINES[number % len(LINES)]
        left.plot(
            part["strength"],
            part["score"],
            color=colour,
            linestyle=dash,
            marker=marker,
            ms=4.5,
            label=name,
            linewidth=5 if name == NATIVE else 1.5,
            alpha=0.5 if name == NATIVE else 1.0,
        )  # wide, since a good map lies on it
        if name == NATIVE:
            left.fill_between(
                part["strength"], part["lowest_concept"], part["highest_concept"], color=colour, alpha=0.12, linewidth=0
            )
    left.set_ylim(-0.03, (2.0 if score == "overall" else 1.0) * 1.03)
    left.set_ylabel(f"{score}, selection prompts")
    left.legend(frameon=False, fontsize=8, loc="upper left")
    native = pd.concat([zero, curves[curves["condition"] == NATIVE]]).sort_values("strength")
    for axes, column, label in (
        (middle, "perplexity", "perplexity (median text)"),
        (right, "kl", "KL from unsteered, nats a token"),
    ):
        axes.plot(
            native["strength"],
            native[column].fillna(0) if column == "kl" else native[column],
            color=LINES[0][0],
            marker="o",
            ms=4.5,
        )
        axes.set_ylabel(label)
    if native["perplexity"].max() > 20 * native["perplexity"].min():
        middle.set_yscale("log")
    for axes in (left, middle, right):
        axes.set_xlabel("strength (0: the model as it is)")
        _clean(axes)
    middle.set_title("cost of the native vectors", loc="left", fontsize=9.5, color="0.3")
    left.set_title("band: lowest to highest concept, native", loc="left", fontsize=9.5, color="0.3")
    figure.suptitle(heading, x=0.01, ha="left", fontweight="bold", fontsize=12)
    return figure


def concept_matrix(concepts: pd.DataFrame, *, score: str, heading: str) -> Figure:
    """Mean test score of each concept under each condition; values printed, missing ones grey."""
    table = concepts.pivot(index="concept", columns="condition", values="score")
    table = table[list(dict.fromkeys(concepts["condition"]))]
    figure = Figure(figsize=(1.9 + 0.78 * table.shape[1], 1.9 + 0.42 * len(table)))
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
    axes = figure.add_subplot()
    most = 2.0 if score == "overall" else 1.0
    from matplotlib import colormaps

    colours = colormaps[MAPS["accuracy"]].with_extremes(bad=UNDEFINED)
    axes.imshow(np.ma.masked_invalid(table.to_numpy(float)), cmap=colours, vmin=0, vmax=most, aspect="auto")
    for (i, j), value in np.ndenumerate(table.to_numpy(float)):
        told = "n/a" if np.isnan(value) else f"{value:.2f}"
        axes.text(j, i, told, ha="center", va="center", fontsize=8.5, color="white" if value < 0.55 * most else "black")
    axes.set_xticks(range(table.shape[1]), table.columns, rotation=35, ha="right", fontsize=8.5)
    axes.set_yticks(range(len(table)), table.index, fontsize=8.5)
    axes.set_title(heading, loc="left", fontweight="bold", fontsize=12)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def _rows_of(table: pd.DataFrame, heading: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.5, 1.7 + _ROW * len(table)))
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
    axes = figure.add_subplot()
    axes.set_yticks(range(len(table)), list(table["condition"]))
    axes.invert_yaxis()
    title, _, below = heading.partition("\n")
    axes.set_title(title, loc="left", fontweight="bold", fontsize=12, pad=22 if below else 8)
    axes.annotate(below, (0, 1), (0, 7), "axes fraction", "offset points", fontsize=8.5, color="0.3")
    _clean(axes)
    return figure, axes


def _named(row) -> str:
    return row.condition if row.n_draws == 1 else f"{row.condition} (mean of {row.n_draws})"


def _key(axes: Axes) -> None:
    for colour, name in ((GREEN, "native"), (BLUE, "carried"), (VERMILION, "control"), (GREY, "no vector")):
        axes.plot([], [], "o", color=colour, label=name)
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=4)


def _clean(axes: Axes) -> None:
    axes.grid(axis="both", color="0.93", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
