"""Three figures of a sweep: AUROC over steps, the gap to the set it begins with, and what each step gains per added row."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from probeshift.report.palette import BLUE, GREEN, GREY, ORANGE, PINK, SKY, VERMILION

_STYLES = tuple(zip((BLUE, VERMILION, GREEN, PINK, ORANGE, SKY), "osD^vP", strict=True))
_SPREAD = 0.4  # share of a step's width that the points of one step are spread over


def auroc_table(found: Mapping[str, Any]) -> pd.DataFrame:
    """One row per step and test set; undefined values are empty with their reason."""
    return pd.DataFrame([
        {"step": step["step"], "name": step["name"], "n_training_samples": step["n_training_samples"], "set": name,
         "auroc": v["auroc"], "ci_low": (v.get("auroc_ci") or [None])[0], "ci_high": (v.get("auroc_ci") or [None, None])[1],
         "n": v["n_samples"], "n_positive": v["af_samples"], "source_trained_on": v["source_trained_on"], "reason": v.get("auroc_reason"),
         "ci_kind": v.get("auroc_ci_kind")}
        for step in found["step_values"] for name, v in step["evaluation"].items()
    ])  # fmt: skip


def gap_table(found: Mapping[str, Any]) -> pd.DataFrame:
    """One row per step and shifted set, and one per step for their mean where it is one of several."""
    rows = []
    for gap in found["gaps"]:
        mean = {"gap": gap["mean"], "ci": gap.get("ci"), "reason": gap.get("reason"), "source_trained_on": None}
        for name, v in {
            **gap["sets"],
            **({f"mean of {gap['n_defined']}": mean} if gap["n_defined"] != 1 else {}),
        }.items():
            low, high = v.get("ci") or (None, None)
            rows.append(
                {
                    "step": gap["step"],
                    "set": name,
                    "gap": v["gap"],
                    "ci_low": low,
                    "ci_high": high,
                    "reason": v.get("reason"),
                    "source_trained_on": v["source_trained_on"],
                }
            )
    return pd.DataFrame(rows)


def gain_table(found: Mapping[str, Any]) -> pd.DataFrame:
    """One row per step after the first and test set."""
    columns = ("to", "set", "measure", "difference", "added_rows", "p", "p_holm", "reason", "per_1000")
    rows = []
    for gain in found["gains"]:
        low, high = gain.get("per_1000_ci") or (None, None)
        rows.append({**{c: gain.get(c) for c in columns}, "ci_low": low, "ci_high": high})
    return pd.DataFrame(rows, columns=[*columns, "ci_low", "ci_high"])


def auroc_figure(found: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """AUROC of every set that has one, with 95 % intervals; hollow where rows of the set's source are in training."""
    table = auroc_table(found)
    figure, axes = _canvas()
    defined = table[table["auroc"].notna()]
    for number, (name, part) in enumerate(defined.groupby("set", sort=False)):
        label = f"{name} (n = {part['n'].iloc[0]:,})"
        _line(
            axes,
            part,
            "auroc",
            number,
            defined["set"].nunique(),
            label,
            styles=_styles(found),
            hollow=part["source_trained_on"].to_numpy(dtype=bool),
        )
    axes.axhline(0.5, color=GREY, linestyle=(0, (1, 2)), linewidth=1, label="chance")
    axes.set_ylabel("AUROC")
    axes.set_ylim(min(0.4, float(defined["ci_low"].fillna(defined["auroc"]).min()) - 0.03) if len(defined) else 0, 1.02)
    notes = _hollow_note(defined)
    if defined["ci_kind"].str.startswith("degenerate").any():
        notes.append("AUROC of exactly 1 or 0: exact bounds, wider than the resampled bars of nearly the same value")
    missing = table[table["auroc"].isna()].drop_duplicates("set")
    why = {r.set: r.reason.replace("single_class:", "all ").replace("_", " ") for r in missing.itertuples()}
    notes += ["no AUROC: " + ", ".join(f"{name} ({reason})" for name, reason in why.items())] if why else []
    _finish(figure, axes, found, "AUROC on each test set as the mixture grows", notes)
    return figure, table


def gap_figure(found: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """In-distribution AUROC less that of each shifted set, and their mean; 0 is no gap."""
    table = gap_table(found)
    home = next((g["in_distribution"] for g in found["gaps"] if g["in_distribution"]), None)
    figure, axes = _canvas()
    defined = table[table["gap"].notna()]
    for number, (name, part) in enumerate(defined.groupby("set", sort=False)):
        hollow = part["source_trained_on"].eq(True).to_numpy()
        _line(axes, part, "gap", number, defined["set"].nunique(), str(name), styles=_styles(found), hollow=hollow)
    axes.axhline(0, color=GREY, linestyle=(0, (1, 2)), linewidth=1)
    axes.set_ylabel("AUROC difference")
    last = found["gaps"][-1]
    title = f"Generalisation gap: AUROC on {home} less AUROC on shifted sets"
    notes = [f"{last['n_defined']} of {last['n_sets']} shifted sets have an AUROC", *_hollow_note(defined)]
    _finish(figure, axes, found, title, notes)
    return figure, table


def gain_figure(found: Mapping[str, Any]) -> tuple[Figure, pd.DataFrame]:
    """AUROC gained per 1,000 added rows at each step, paired on the same test rows."""
    table = gain_table(found)
    figure, axes = _canvas()
    defined = table[table["per_1000"].notna() & table["measure"].eq("auroc")].rename(columns={"to": "step"})
    for number, (name, part) in enumerate(defined.groupby("set", sort=False)):
        _line(axes, part, "per_1000", number, defined["set"].nunique(), str(name), styles=_styles(found), joined=False)
    axes.axhline(0, color=GREY, linestyle=(0, (1, 2)), linewidth=1)
    axes.set_ylabel("AUROC per 1,000 rows")
    title = "AUROC gained per 1,000 added training rows"
    _finish(figure, axes, found, title, ["each step against the one before, on the same rows"])
    return figure, table


def _hollow_note(defined: pd.DataFrame) -> list[str]:
    trained = defined["source_trained_on"].eq(True).any()
    return ["hollow: rows of the same source are in training"] if trained else []


def _canvas() -> tuple[Figure, Any]:
    figure = Figure(figsize=(8.2, 5.4))
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
    return figure, figure.add_subplot()


def _styles(found: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Colour and marker of each test set, the same in all figures; what is no set (a mean) is grey."""
    names = found["step_values"][0]["evaluation"]
    return {name: _STYLES[number % len(_STYLES)] for number, name in enumerate(names)}


def _line(
    axes: Any,
    part: pd.DataFrame,
    column: str,
    number: int,
    n_lines: int,
    label: str,
    *,
    styles: Mapping[str, tuple[str, str]],
    hollow: Any = None,
    joined: bool = True,
) -> None:
    """One set: a point with its interval per step, beside those of the other sets."""
    colour, marker = styles.get(label.split(" (n = ")[0], (GREY, "X"))
    places = part["step"] + _SPREAD * ((number + 0.5) / n_lines - 0.5)
    values = part[[column, "ci_low", "ci_high"]].astype(float)
    if joined:
        axes.plot(places, values[column], color=colour, linewidth=1.4, alpha=0.7)
    axes.vlines(places, values["ci_low"], values["ci_high"], color=colour, linewidth=1.6)
    face = colour if hollow is None else ["white" if h else colour for h in hollow]
    axes.scatter(
        places, values[column], marker=marker, s=42, facecolors=face, edgecolors=colour, linewidths=1.4, zorder=3
    )
    axes.plot([], [], color=colour, marker=marker, linewidth=1.4 if joined else 0, label=label)


def _finish(figure: Figure, axes: Any, found: Mapping[str, Any], title: str, notes: list[str]) -> None:
    steps = found["step_values"]
    names = [f"{s['step']} {s['name']}\n{s['n_training_samples']:,} rows" for s in steps]
    axes.set_xticks([s["step"] for s in steps], names, fontsize=9)
    axes.set_xlim(steps[0]["step"] - 0.4, steps[-1]["step"] + 0.4)
    axes.set_xlabel("step and training rows")
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, frameon=False, fontsize=8.5, loc="outside lower center", ncols=3)
    below = [line for note in (found["title"], "bars: 95 % intervals", *notes) for line in textwrap.wrap(note, 120)]
    axes.set_title(title, loc="left", fontweight="bold", fontsize=12, pad=10 + 11 * len(below))
    axes.annotate("\n".join(below), (0, 1), (0, 6), "axes fraction", "offset points", fontsize=8.5, color="0.3")
