"""Two scatters: datasets by how well they generalise from and to, probes by how well they generalise and TruthfulQA."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from probeshift.report.comparison.families import family_handles, family_styles, style_of
from probeshift.report.comparison.heading import about, span, tidy, under_heading
from probeshift.report.comparison.point_names import name_points
from probeshift.report.comparison.study_figure import StudyFigure
from probeshift.report.palette import BLUE, GREEN, GREY, ORANGE
from probeshift.summaries.directions import from_and_to
from probeshift.summaries.study import RECOVERED_WELL
from probeshift.summaries.validation import TRUTHFUL_QA_LINES, share_above, truthful_qa

_SIDES = ("from", "to")


def draw_from_and_to(table: pd.DataFrame) -> Figure:
    """r3c: a point per dataset with the interval of both means.

    Args:
        table: from `summaries.directions.from_and_to`.

    Raises:
        UsageError: the table is empty.
    """
    head = about(table)
    shown = table[table[["generalizes_from", "generalizes_to"]].notna().all(axis=1)]
    absent = ", ".join(table.loc[~table["dataset"].isin(shown["dataset"]), "dataset"])
    cells = " and ".join(f"{span(shown[f'{side}_cells'])} cells ({side})" for side in _SIDES)
    guess = " and ".join(f"{span(100 * shown[f'{side}_chance'], '{:.0f}')} % ({side})" for side in _SIDES)
    intervals = shown[[f"{side}_low" for side in _SIDES]].notna().to_numpy().any()
    notes = [
        f"{head} · {table['counted'].iloc[0]}",
        f"mean of {cells}; bars: " + ("95 % over questions of the same sets" if intervals else "no intervals at hand"),
        f"guessing recovers {guess}; hollow: an interval of the two reaches down to that",
        f"not shown, one of the two means is undefined: {absent}" if absent else "",
    ]
    title = "Which datasets generalise, from and to?"
    figure, body = under_heading(title, notes, width=8.4, height=6.0)
    axes = body.add_subplot()
    styles = family_styles(shown["family"])
    for row in shown.itertuples():
        _draw_dataset(axes, row, *style_of(row.family, styles))
    _frame(axes, shown)
    if styles:
        axes.legend(handles=family_handles(styles), title="family", frameon=False, fontsize=8.5, title_fontsize=8.5,
                    loc="upper left", bbox_to_anchor=(1.0, 1.0))  # fmt: skip
    name_points(axes, shown[["generalizes_from", "generalizes_to"]].to_numpy(dtype=float), list(shown["dataset"]))
    return figure


def _draw_dataset(axes: Axes, row, colour: str, marker: str) -> None:
    bars = [
        np.array([[value - low], [high - value]]) if np.isfinite([low, high]).all() else None
        for value, low, high in (
            (row.generalizes_from, row.from_low, row.from_high),
            (row.generalizes_to, row.to_low, row.to_high),
        )
    ]
    at = row.generalizes_from, row.generalizes_to
    axes.errorbar(*at, xerr=bars[0], yerr=bars[1], fmt="none", ecolor=colour, elinewidth=1.1, alpha=0.45, zorder=2)
    hollow = row.from_low <= row.from_chance or row.to_low <= row.to_chance
    face = "white" if hollow else colour
    axes.plot(
        *at, marker=marker, color=colour, markerfacecolor=face, markersize=7, zorder=4, gid=f"point|{row.dataset}"
    )


def _frame(axes: Axes, shown: pd.DataFrame) -> None:
    """Ranges from the points and their bars, the line of equal means, percent."""
    limits: tuple[Callable[[float, float], object], ...] = (axes.set_xlim, axes.set_ylim)
    for side, limit in zip(_SIDES, limits, strict=True):
        known = shown[[f"generalizes_{side}", f"{side}_low", f"{side}_high"]].to_numpy(dtype=float)
        low, high = np.nanmin(known), np.nanmax(known)
        room = max(0.08 * (high - low), 0.005)
        limit(low - room, high + room)
    axes.axline((0.5, 0.5), slope=1, color=GREY, linestyle=(0, (1, 2)), linewidth=1.2, zorder=0)
    axes.annotate("dotted: equally well from and to", (1, 0), (-4, 4), "axes fraction", "offset points", ha="right", fontsize=8,
                  color="0.35")  # fmt: skip
    axes.set_xlabel("generalises from: mean recovered accuracy of the probes trained on it")
    axes.set_ylabel("generalises to: mean recovered accuracy of the probes evaluated on it")
    _in_percent(axes)


def draw_truthful_qa(table: pd.DataFrame) -> Figure:
    """r4: a point per probe, recovered accuracy on other sets against accuracy on TruthfulQA.

    Args:
        table: from `summaries.validation.truthful_qa`.

    Raises:
        UsageError: the table is empty.
    """
    head = about(table, "all layers, own set excluded, related sets included")
    published = table["protocol"].iloc[0] == "published"
    chance = float(table["chance"].dropna().mean())
    known = table.dropna(subset=["recovered", "value"])
    notes = [
        head,
        f"{len(known)} probes (method, training set, layer); recovered accuracy averaged over other sets: {span(known['n_cells'])}; "
        f"TruthfulQA: {span(known['n'])} {'/'.join(known['n_kind'].dropna().unique())}",
        *_shares(table, chance, published),
    ]
    notes += [f"{len(table) - len(known)} probes are undefined and not shown"] if len(known) < len(table) else []
    figure, body = under_heading("Do probes that generalise tell truth from likelihood?", notes, width=8.4, height=5.2)
    axes = body.add_subplot()
    for supervised, colour, marker in ((True, BLUE, "o"), (False, ORANGE, "^")):
        part = known[known["supervised"] == supervised]
        label = f"{'supervised' if supervised else 'not supervised'}: {', '.join(dict.fromkeys(part['method']))}"
        if len(part):
            axes.scatter(
                part["recovered"],
                part["value"],
                s=16,
                color=colour,
                marker=marker,
                alpha=0.55,
                linewidths=0,
                label=label,
            )
    _draw_lines(axes, known, chance, published)
    axes.set_xlabel("mean recovered accuracy on the other sets")
    axes.set_ylabel("accuracy on TruthfulQA")
    _in_percent(axes)
    axes.legend(frameon=False, fontsize=8.5, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    return figure


def _shares(table: pd.DataFrame, chance: float, published: bool) -> list[str]:
    lines = {f"chance ({chance:.3f})": chance}
    if published:
        lines["35.9 %, the standard prompt of Llama-2-13B-chat"] = TRUTHFUL_QA_LINES["standard prompt"]
    words = [_share_words(share_above(table, line), name) for name, line in lines.items()]
    if published:
        words.append("chance does not count the choice of sign, which alone lifts a guess above it")
    return words


def _share_words(share: dict[str, float], line: str) -> str:
    if not share["n"]:
        return f"no probe recovers more than {_percent(RECOVERED_WELL)} of the ceiling, so none can be compared with {line}"
    return (
        f"of {share['n']} probes above {_percent(RECOVERED_WELL)} recovered, {share['wins']} are above {line}: "
        f"{_percent(round(share['value'], 3))} (no interval: all answer the same questions)"
    )


def _draw_lines(axes: Axes, known: pd.DataFrame, chance: float, published: bool) -> None:
    axes.axvline(RECOVERED_WELL, color="0.45", linewidth=1.0, zorder=1)
    axes.annotate(f"{_percent(RECOVERED_WELL)} recovered", (RECOVERED_WELL, 1), (3, 2), ("data", "axes fraction"), "offset points",
                  fontsize=8, color="0.35")  # fmt: skip
    lines = {f"chance {chance:.3f}": (chance, GREY)}
    if published:
        names = {
            name: f"{line:.3f} Llama-2-13B-chat,\n{name}\n(RepE paper)" for name, line in TRUTHFUL_QA_LINES.items()
        }
        lines |= {
            names[n]: (line, GREEN if n.startswith("standard") else GREY) for n, line in TRUTHFUL_QA_LINES.items()
        }
    for name, (line, colour) in lines.items():
        axes.axhline(line, color=colour, linestyle=(0, (1, 2)), linewidth=1.5, zorder=1, gid=f"line|{name}")
        axes.annotate(name, (1, line), (4, 0), ("axes fraction", "data"), "offset points", va="center", fontsize=8,
                      color=colour)  # fmt: skip
    half = float((known["ci_high"] - known["ci_low"]).median()) / 2.0
    if np.isfinite(half):
        top = min(1.0 - half, max(known["value"].max(), *(line for line, _ in lines.values())))
        left = axes.get_yaxis_transform()  # x as a share of the axes
        axes.errorbar(
            0.02, top, yerr=half, color="0.3", marker="o", markersize=4, capsize=2, elinewidth=1.0, transform=left
        )
        axes.annotate("a typical\n95 % interval", (0.02, top), (7, 0), left, "offset points", va="center", fontsize=8)


def _in_percent(axes: Axes) -> None:
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(lambda share, _: _percent(share))
    tidy(axes, "both")


def _percent(share: float) -> str:
    return f"{100 * share:.6g} %"


FIGURES: tuple[StudyFigure, ...] = (
    StudyFigure("r3c_to_and_from", from_and_to, draw_from_and_to),
    StudyFigure("r4_truthful_qa", truthful_qa, draw_truthful_qa),
)
