"""Bars of mean recovered accuracy, plain and above chance: by method (r2) and by training set (r3a)."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from probeshift.errors import UsageError
from probeshift.report.comparison.families import family_styles, style_of
from probeshift.report.comparison.heading import about, span, under_heading
from probeshift.report.comparison.study_figure import StudyFigure
from probeshift.report.palette import BLUE, GREY, ORANGE
from probeshift.summaries.generalisation import CONTROL, LEARNED, method_means, train_means

_PANELS = (
    ("value", "ci_low", "ci_high", "mean recovered accuracy, % of the ceiling"),
    ("corrected", "corrected_low", "corrected_high", "above chance, % of (ceiling − chance)"),
)
_CHANCE, _CONTROL = (0, (1, 2)), (0, (5, 2))


def draw_methods(table: pd.DataFrame) -> Figure:
    """r2: a bar per method, from `method_means`; colour tells whether it learns from labels, hatching whether from groups.

    Raises:
        UsageError: the table is empty.
    """
    shown = _learned(table)
    colours = [BLUE if supervised else ORANGE for supervised in shown["supervised"]]
    handles = [
        Patch(facecolor=BLUE, label="supervised"),
        Patch(facecolor=ORANGE, label="not supervised"),
        Patch(facecolor="0.75", edgecolor="white", hatch="///", label="uses which rows answer one question"),
    ]
    kinds = [shown["supervised"].any(), (~shown["supervised"].astype(bool)).any(), shown["grouped"].any()]
    legend = [handle for handle, here in zip(handles, kinds, strict=True) if here]
    return _draw(table, "How well does each method generalise?", colours, legend, hatched=shown["grouped"].astype(bool))


def draw_trains(table: pd.DataFrame) -> Figure:
    """r3a: a bar per training set, from `train_means`; colour tells the family.

    Raises:
        UsageError: the table is empty.
    """
    shown = _learned(table)
    styles = family_styles(shown["family"])
    colours = [style_of(family, styles)[0] for family in shown["family"]]
    legend = [Patch(facecolor=colour, label=f"family {name}") for name, (colour, _) in styles.items()]
    return _draw(table, "How well do probes trained on each dataset generalise?", colours, legend)


def _learned(table) -> pd.DataFrame:
    shown = table[table["kind"] == LEARNED] if len(table) else table
    if not len(shown):
        raise UsageError("the table of the bars is empty. Evaluate at least one method beside the control.")
    return shown.reset_index(drop=True)


def _draw(table, title, colours, legend, *, hatched=None) -> Figure:
    shown, controls = _learned(table), table[table["kind"] == CONTROL]
    figure, body = under_heading(title, _notes(shown, controls), width=11.0, height=1.5 + 0.3 * len(shown))
    panels = body.subplots(1, 2, sharey=True)
    for axes, (column, low, high, words) in zip(panels, _PANELS, strict=True):
        _draw_lines(axes, controls[[column, low, high]], _chance(shown) if column == "value" else 0.0)
        _draw_bars(axes, shown[[column, low, high]].to_numpy(dtype=float), colours, hatched)
        axes.set_xlabel(words)
    names = (
        shown["name"]
        if shown["n_cells"].nunique() == 1
        else shown["name"] + shown["n_cells"].map(" ({:,} cells)".format)
    )
    panels[0].set_yticks(range(len(shown)), names)
    panels[0].set_ylim(len(shown) - 0.4, -0.6)
    handles = [*legend, *_line_handles(controls)]
    body.legend(handles=handles, loc="outside lower center", ncols=4, frameon=False, fontsize=8.5)
    return figure


def _draw_bars(axes: Axes, bars: np.ndarray, colours, hatched) -> None:
    """Bars with intervals; what they say in numbers stands to the right of the panel."""
    for place, (value, low, high) in enumerate(100 * bars):
        hatch = "///" if hatched is not None and hatched[place] else None
        axes.barh(place, value, height=0.7, color=colours[place], hatch=hatch, edgecolor="white", linewidth=0, zorder=2)
        if np.isfinite([low, high]).all():
            axes.plot([low, high], [place, place], color="black", linewidth=1.3, zorder=4)
        words = _interval(value / 100, low / 100, high / 100)
        axes.text(
            1.01, place, words, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5, gid=f"bar|{place}"
        )
    axes.tick_params(length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)


def _draw_lines(axes: Axes, controls: pd.DataFrame, chance: float) -> None:
    for value, low, high in 100 * controls.to_numpy(dtype=float):
        axes.axvspan(low, high, color=GREY, alpha=0.25, linewidth=0, zorder=1)
        axes.axvline(value, color=GREY, linestyle=_CONTROL, linewidth=1.6, zorder=3)
    axes.axvline(100 * chance, color="black", linestyle=_CHANCE, linewidth=1.4, zorder=3)
    axes.axvline(100, color="black", linewidth=1.0, zorder=1)


def _line_handles(controls) -> list[Line2D]:
    handles = [
        Line2D([], [], color=GREY, linestyle=_CONTROL, label=f"control: {name}, band 95 %") for name in controls["name"]
    ]
    chance = Line2D([], [], color="black", linestyle=_CHANCE, label="guessing")
    return [*handles, chance, Line2D([], [], color="black", linewidth=1.0, label="ceiling: best in distribution")]


def _notes(shown, controls) -> list[str]:
    first = shown.iloc[0]
    counted = first["counted"] + ("; each probe's share held within 0 and 100" if first["measure"] == "clipped" else "")
    n = f"{span(shown['n_cells'], '{:,}')} cells on {span(shown['n_questions'], '{:,}')} questions of {first['n_sets']} sets"
    notes = [about(shown, counted), f"each bar is a mean of {n}; guessing recovers {100 * _chance(shown):.0f}"]
    notes[1] += "" if shown["ci_low"].isna().all() else "; [ ]: 95 % over questions, sets and probes held"
    for control in controls.itertuples():
        plain = _interval(control.value, control.ci_low, control.ci_high)
        corrected = _interval(control.corrected, control.corrected_low, control.corrected_high)
        notes.append(f"control {control.name} on the same cells: {plain}; above chance {corrected}")
    if first["below_chance"]:
        notes.append(f"left out above chance, their ceiling is not above it: {first['below_chance']}")
    if first["unclear"]:
        notes.append(f"left out above chance, with other questions their ceiling can fall to it: {first['unclear']}")
    for column in ("reason", "ci_reason"):
        missing = shown.loc[shown[column].notna(), column].unique()
        notes += (
            [f"no {'mean' if column == 'reason' else 'interval'} for some: {', '.join(missing)}"]
            if len(missing)
            else []
        )
    return notes


def _chance(shown) -> float:
    """What guessing recovers, over all cells of the bars."""
    known = shown.dropna(subset=["chance"])
    return float(np.average(known["chance"], weights=known["n_cells"])) if len(known) else float("nan")


def _interval(value, low, high) -> str:
    if np.isnan(value):
        return "undefined"
    return f"{100 * value:.1f}" + (f" [{100 * low:.1f}, {100 * high:.1f}]" if np.isfinite([low, high]).all() else "")


FIGURES = (
    StudyFigure("r2_probes", method_means, draw_methods),
    StudyFigure("r3a_datasets", train_means, draw_trains),
)
