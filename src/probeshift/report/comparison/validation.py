"""Does a study find what is known? Accuracy at home by layer, and LDA against DIM."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from probeshift.report.comparison.heading import about, span, tidy, under_heading
from probeshift.report.comparison.study_figure import StudyFigure
from probeshift.report.palette import BLUE, GREEN, GREY, ORANGE, PINK, SKY, VERMILION
from probeshift.summaries.validation import (
    LDA_METHODS,
    REPE_LINES,
    arc_easy_by_layer,
    got_by_layer,
    lda_against_dim,
    repe_by_layer,
)

_COLOURS = (BLUE, VERMILION, GREEN, ORANGE, PINK, SKY, "black", GREY)
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_REPE_COLOURS = {"race": VERMILION, "open_book_qa": BLUE, "arc_easy": GREEN, "arc_challenge": ORANGE}
_DOTTED = (0, (1, 2))
_LINES = "bands: 95 %; dotted: chance; thin line: ceiling (of all methods and layers, the best on the selection split)"
_LAYER = "layer (block whose output is read, from 0)"


def draw_arc_easy(table: pd.DataFrame) -> Figure:
    """v1: a line per method, supervised ones solid and the others dashed, from `summaries.validation.arc_easy_by_layer`.

    Raises:
        UsageError: the table is empty.
    """
    notes = _notes(table, "trained and evaluated on arc_easy", "solid: supervised; dashed: not supervised", _LINES)
    figure, body = under_heading("Which methods find the truth of arc_easy?", notes, width=9.5, height=4.8)
    axes = body.add_subplot()
    order = table.drop_duplicates("method").sort_values("supervised", ascending=False, kind="stable")
    for number, (method, supervised) in enumerate(zip(order["method"], order["supervised"], strict=True)):
        style = {"color": _COLOURS[number % len(_COLOURS)], "marker": _MARKERS[number % len(_MARKERS)]}
        _draw_line(axes, table[table["method"] == method], label=method, dashed=not supervised, band=0.08, **style)
    _frame(axes, table)
    _draw_ceiling(axes, table)
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0), handlelength=3)
    return figure


def draw_got(table: pd.DataFrame) -> Figure:
    """v2: a panel per method and set, from `summaries.validation.got_by_layer`.

    Raises:
        UsageError: the table is empty.
    """
    notes = _notes(table, "trained and evaluated on the same set", _LINES)
    methods, sets = list(dict.fromkeys(table["method"])), list(dict.fromkeys(table["test"]))
    size = {"width": max(6.5, 1.2 + 2.9 * len(sets)), "height": 0.8 + 2.4 * len(methods)}
    figure, body = under_heading("Do DIM and LDA solve the GoT sets at home?", notes, **size)
    grid = body.subplots(len(methods), len(sets), sharex=True, sharey=True, squeeze=False)
    for row, method in enumerate(methods):
        for column, name in enumerate(sets):
            axes, part = grid[row, column], table[(table["method"] == method) & (table["test"] == name)]
            _draw_line(axes, part, color=BLUE, marker="o", label=None)
            _frame(axes, part)
            _draw_ceiling(axes, part)
            n = f"n = {span(part['n'])}" if len(part) else "not evaluated"
            axes.set_title(f"{method} on {name}, {n}", fontsize=9.5)
            axes.label_outer()
            axes.set(xlabel="", ylabel="")
    body.supxlabel(_LAYER, fontsize=10)
    body.supylabel("accuracy", fontsize=10)
    return figure


def draw_repe(table: pd.DataFrame) -> Figure:
    """v3: a line per set, and the RepE paper's number in the same colour, from `summaries.validation.repe_by_layer`.

    Raises:
        UsageError: the table is empty.
    """
    words = "dashed: the RepE paper's number for Llama-2-13B-chat; triangles on the right: ceilings"
    notes = _notes(table, "method lat, trained and evaluated on the same set", f"bands: 95 %; dotted: chance; {words}")
    figure, body = under_heading("Does LAT reach what its paper reports?", notes, width=9.5, height=4.8)
    axes = body.add_subplot()
    for number, (name, marker) in enumerate(zip(REPE_LINES, _MARKERS, strict=False)):
        part, colour = table[table["test"] == name], _REPE_COLOURS[name]
        if not len(part):
            continue
        _draw_line(axes, part, color=colour, marker=marker, label=name)
        line = float(part["literature"].iloc[0])
        axes.axhline(line, color=colour, linestyle="dashed", linewidth=1.1, gid=f"literature|{name}")
        axes.plot(1 - 0.011 * number, part["ceiling"].iloc[0], marker="<", markersize=6, color=colour, transform=axes.get_yaxis_transform(),
                  clip_on=False, zorder=5, gid=f"ceiling|{name}")  # fmt: skip
        # The two lowest numbers lie 0.015 apart.
        shift = {"open_book_qa": 5, "arc_challenge": -5}.get(name, 0)
        axes.annotate(f"{line:.3f} {name}", (1, line), (8, shift), ("axes fraction", "data"), "offset points", fontsize=8,
                      color=colour, va="center")  # fmt: skip
    _frame(axes, table)
    axes.legend(frameon=False, fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=5)
    return figure


def draw_lda(table: pd.DataFrame) -> Figure:
    """v4: bars by evaluated set, trained on one set (above) and on the evaluated set (below).

    Args:
        table: from `summaries.validation.lda_against_dim`.

    Raises:
        UsageError: the table is empty.
    """
    layer = f"layer {span(table['layer'])}, that of the best probe on the selection split"
    notes = _notes(table, layer, "thin bars: 95 %; dotted: chance; solid: ceiling")
    notes.insert(-1, table["substitute"].iloc[0])
    sets, parts = _by_family(table), list(dict.fromkeys(table["trained_on"]))
    methods = [method for method in LDA_METHODS if method in set(table["method"])]
    size = {"width": max(6.5, 1.6 + 0.62 * len(sets)), "height": 1.9 + 2.3 * len(parts)}
    figure, body = under_heading("LDA against DIM, away and at home", notes, **size)
    grid = body.subplots(len(parts), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    for axes, trained_on in zip(grid, parts, strict=True):
        _draw_bars(axes, table[table["trained_on"] == trained_on], sets, methods)
        axes.set_title(f"trained on {trained_on}", fontsize=10, loc="left")
        axes.set_ylabel("accuracy")
    grid[-1].set_xticks(range(len(sets)), sets, rotation=35, ha="right", rotation_mode="anchor", fontsize=9)
    body.legend(*grid[0].get_legend_handles_labels(), frameon=False, fontsize=9, loc="outside lower center", ncols=5)
    return figure


def _draw_bars(axes: Axes, part: pd.DataFrame, sets: list[str], methods: list[str]) -> None:
    width, places = 0.8 / len(methods), np.arange(len(sets), dtype=float)
    for number, method in enumerate(methods):
        shown = part[part["method"] == method].set_index("test").reindex(sets)
        at = places + (number - (len(methods) - 1) / 2.0) * width
        colour = (BLUE, ORANGE, VERMILION)[LDA_METHODS.index(method)]
        axes.bar(at, shown["value"], 0.92 * width, color=colour, label=method, gid=f"bars|{method}")
        reach = np.abs(shown[["ci_low", "ci_high"]].to_numpy(dtype=float).T - shown["value"].to_numpy(dtype=float))
        axes.errorbar(at, shown["value"], yerr=reach, fmt="none", ecolor="0.15", elinewidth=0.9)
    for name, dash in (("chance", _DOTTED), ("ceiling", "solid")):
        lines = part.groupby("test")[name].mean().reindex(sets)
        axes.hlines(
            lines, places - 0.45, places + 0.45, color="black", linestyle=dash, linewidth=1.3, label=name, zorder=3
        )
    axes.set_ylim(0, 1.02)
    axes.set_xlim(-0.6, len(sets) - 0.4)
    tidy(axes, "y")


def _by_family(table: pd.DataFrame) -> list[str]:
    """The evaluated sets, families together, each in order of appearance."""
    families = table.drop_duplicates("test").set_index("test")["test_family"].fillna("")
    order = list(dict.fromkeys(families))
    return sorted(families.index, key=lambda name: order.index(families[name]))


def _draw_line(axes: Axes, part: pd.DataFrame, *, color, marker, label, dashed=False, band=0.15) -> None:
    part = part.sort_values("layer")
    line = {"color": color, "marker": marker, "markersize": 4, "linewidth": 1.5, "label": label}
    axes.plot(part["layer"], part["value"], linestyle=(0, (4, 2)) if dashed else "solid", **line)
    bounds = part[["ci_low", "ci_high"]].to_numpy(dtype=float).T
    axes.fill_between(part["layer"], *bounds, color=color, alpha=band, linewidth=0)


def _frame(axes: Axes, part: pd.DataFrame) -> None:
    """Axes from 0 to 1, a dotted chance line per set, few layer ticks."""
    for name, chance in part.groupby("test")["chance"].mean().dropna().items():
        axes.axhline(chance, color=GREY, linestyle=_DOTTED, linewidth=1.3, zorder=1, gid=f"chance|{name}")
    axes.set_ylim(0, 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel(_LAYER)
    axes.set_ylabel("accuracy")
    tidy(axes, "y")


def _draw_ceiling(axes: Axes, part: pd.DataFrame) -> None:
    for name, ceiling in part.groupby("test")["ceiling"].mean().dropna().items():
        axes.axhline(ceiling, color="0.3", linewidth=0.9, zorder=1, gid=f"ceiling|{name}")


def _notes(table: pd.DataFrame, *words: str) -> list[str]:
    head = about(table, words[0])
    kinds = "/".join(dict.fromkeys(table["n_kind"].dropna()))
    n = f"n = {span(table['n'])} {kinds} per value; chance {span(table['chance'], '{:.2f}')}"
    undefined = int(table["value"].isna().sum())
    missing = table["missing"].iloc[0]
    return [
        head,
        *words[1:],
        n,
        f"{undefined} values are undefined, reasons in the table" if undefined else "",
        f"not evaluated, so not shown: {missing}" if missing else "",
    ]


FIGURES: tuple[StudyFigure, ...] = (
    StudyFigure("v1_arc_easy", arc_easy_by_layer, draw_arc_easy),
    StudyFigure("v2_got", got_by_layer, draw_got),
    StudyFigure("v3_repe", repe_by_layer, draw_repe),
    StudyFigure("v4_lda", lda_against_dim, draw_lda),
)
