"""How many probes of each layer generalise (r0): a cumulative curve per layer, and the share above 80 % with its interval."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from probeshift.errors import UsageError
from probeshift.report.comparison.heading import about, span, under_heading
from probeshift.report.comparison.study_figure import StudyFigure
from probeshift.report.palette import MAPS, VERMILION
from probeshift.summaries.generalisation import CONTROL, LEARNED
from probeshift.summaries.layer_shares import LAYER_SHARE, OVERALL_SHARE, PROBE, probes_by_layer

# The light end of the map is hard to see as a line on white.
_RAMP = LinearSegmentedColormap.from_list("layers", colormaps[MAPS["recovered"]](np.linspace(0.0, 0.9, 256)))
_LINE, _CHANCE = (0, (4, 1, 1, 1)), (0, (1, 2))
_CONTROL: dict[str, Any] = {"color": VERMILION, "linestyle": (0, (5, 2)), "linewidth": 1.8}


def draw(table: pd.DataFrame) -> Figure:
    """r0: left a curve per layer, right the share of each layer's probes above the line, from `probes_by_layer`.

    All layers are drawn and coloured by depth; the right panel names them. The control is one curve over its probes from the
    cut layer on.

    Raises:
        UsageError: the table is empty.
    """
    if not len(table):
        raise UsageError("the table of the layer curves is empty. Evaluate at least one method beside the control.")
    learned, control = (table[table["series"] == series] for series in (LEARNED, CONTROL))
    figure, body = under_heading("How many probes generalise, by layer?", _notes(table), width=11.0, height=4.9)
    curves, shares = body.subplots(1, 2)
    layers = sorted(learned["layer"].dropna().unique())
    colours = Normalize(layers[0], max(layers[-1], layers[0] + 1))
    for layer, part in _of_kind(learned, PROBE).groupby("layer"):
        _draw_curve(curves, part["value"], color=_RAMP(colours(layer)), gid=f"layer|{layer}")
    deep = _of_kind(control, PROBE).query("layer >= cut_layer")
    if len(deep):
        _draw_curve(curves, deep["value"], **_CONTROL, zorder=4, gid="control")
    _frame_curves(curves, table)
    _draw_shares(shares, learned, control, colours)
    _frame_shares(shares, table, layers)
    bar = body.colorbar(ScalarMappable(colours, _RAMP), ax=[curves, shares], fraction=0.02, pad=0.01, label="layer")
    bar.outline.set_visible(False)
    bar.set_ticks(_some(layers))
    body.legend(handles=_handles(table, control), loc="outside lower center", ncols=4, frameon=False, fontsize=8.5)
    return figure


def _draw_curve(axes: Axes, values: pd.Series, **style) -> None:
    """The share of defined values up to each value, as steps."""
    reached = 100 * np.sort(values.dropna().to_numpy(dtype=float))
    if len(reached):
        share = 100 * np.arange(len(reached) + 1) / len(reached)
        style = {"linewidth": 1.3, **style}
        axes.step(np.r_[reached[0], reached], share, where="post", **style)


def _frame_curves(axes: Axes, table) -> None:
    first = table.iloc[0]
    for at, dash in ((first["line"], _LINE), (first["chance"], _CHANCE)):
        axes.axvline(100 * at, color="black", linestyle=dash, linewidth=1.3, zorder=3)
    axes.axvline(100, color="black", linewidth=1.0, zorder=1)
    axes.set_ylim(-1, 102)
    axes.set_xlabel("mean recovered accuracy of a probe, % of the ceiling")
    axes.set_ylabel("% of the layer's probes at or below")
    _tidy(axes)


def _draw_shares(axes: Axes, learned, control, colours) -> None:
    guessed = _of_kind(control, LAYER_SHARE)
    axes.plot(guessed["layer"], 100 * guessed["value"], "x", color=VERMILION, markersize=4.5, gid="control")
    for row in _of_kind(learned, LAYER_SHARE).itertuples():
        colour = _RAMP(colours(row.layer))
        if np.isfinite([row.ci_low, row.ci_high]).all():
            axes.plot([row.layer] * 2, [100 * row.ci_low, 100 * row.ci_high], color=colour, linewidth=1.4)
        axes.plot(row.layer, 100 * row.value, "o", color=colour, markersize=4.5, gid=f"share|{row.layer}")


def _frame_shares(axes: Axes, table, layers) -> None:
    cut, line = table["cut_layer"].iloc[0], table["line"].iloc[0]
    cuts = layers[0] < cut
    if cuts:
        axes.axvline(cut - 0.5, color="black", linewidth=0.8)
    axes.set_ylim(-2, 102)
    axes.set_xlim(layers[0] - 1, layers[-1] + 1)
    axes.set_xticks(_some(layers))
    axes.set_xlabel(f"layer (those right of the line count, {cut} and deeper)" if cuts else "layer")
    axes.set_ylabel(f"% of the layer's probes above {100 * line:.0f} % recovered")
    _tidy(axes)


def _tidy(axes: Axes) -> None:
    axes.grid(color="0.93", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _some(layers) -> list[int]:
    """At most sixteen of the layers, evenly."""
    return [int(layer) for layer in layers[:: max(1, -(-len(layers) // 16))]]


def _notes(table) -> list[str]:
    first, probes = table.iloc[0], _of_kind(table, PROBE)
    learned = probes[probes["series"] == LEARNED]
    per_layer = span(learned.groupby("layer").size())
    clipped = "; each cell held within 0 and 100" if first["measure"] == "clipped" else ""
    sets = span(learned["n_cells"])
    notes = [
        about(table, f"{per_layer} probes (method, training set) per layer"),
        f"a probe's mean is over {sets} {'set' if sets == '1' else 'sets'}, {first['own_set']}{clipped}; "
        f"{first['n_questions']:,} questions in all; guessing recovers {100 * first['chance']:.0f}",
    ]
    shares = {row.series: f"{_share(row)} of {row.n_probes:,}" for row in _of_kind(table, OVERALL_SHARE).itertuples()}
    overall = f"above {100 * first['line']:.0f} % from layer {first['cut_layer']} on: {shares[LEARNED]} probes"
    overall += f", {shares[CONTROL]} control probes (random directions)" if CONTROL in shares else ""
    unknown = table["ci_reason"].dropna().unique()
    held = (
        f"no interval for some: {', '.join(unknown)}"
        if len(unknown)
        else "bars and [ ]: 95 % over questions, sets and probes held"
    )
    return [*notes, overall, held]


def _of_kind(table, kind) -> pd.DataFrame:
    return table[table["kind"] == kind]


def _share(row) -> str:
    if np.isnan(row.value):
        return "undefined"
    bounds = (
        f" [{100 * row.ci_low:.0f}, {100 * row.ci_high:.0f}]" if np.isfinite([row.ci_low, row.ci_high]).all() else ""
    )
    return f"{100 * row.value:.0f} %{bounds}"


def _handles(table, control) -> list[Line2D]:
    line = 100 * table["line"].iloc[0]
    shown: list[tuple[str, dict[str, Any]]] = [
        (f"{line:.0f} % recovered", {"color": "black", "linestyle": _LINE}),
        ("guessing", {"color": "black", "linestyle": _CHANCE}),
        ("ceiling: best in distribution", {"color": "black", "linewidth": 1.0}),
    ]
    if len(control):
        words = f"control: {control['method'].dropna().iloc[0]} (curve: layer {table['cut_layer'].iloc[0]} and deeper)"
        shown.append((words, {**_CONTROL, "marker": "x", "markersize": 4.5}))
    return [Line2D([], [], label=words, **style) for words, style in shown]


FIGURES = (StudyFigure("r0_acc_by_layer", probes_by_layer, draw),)
