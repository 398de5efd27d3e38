"""Figures of a layer x position grid: where it can be read, how sure that is, and what the chosen probe says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from probeshift.report.palette import BLUE, GREEN, GREY, LINES, ORANGE, UNDEFINED, VERMILION

AXIS = {"spearman": "Spearman correlation", "auroc": "AUROC"}
CHANCE = {"spearman": 0.0, "auroc": 0.5}
PROTOCOL = {
    "strict": "centred, intercept, nested choices",
    "published": "published procedure: no intercept, the choice is scored on the rows that made it",
}


def position_heatmap(rows: pd.DataFrame, *, heading: list[str]) -> Figure:
    """Score by layer and token position, the chosen cell outlined; grey where undefined.

    Args:
        rows: one row per cell with layer, layer_name, position, metric, value, selected, split, protocol, n; positions and
            layers stand in the table's order.
        heading: parts of the sentence under the title.
    """
    table = rows.pivot(index="position", columns="layer", values="value")
    table = table.loc[list(dict.fromkeys(rows["position"])), list(dict.fromkeys(rows["layer"]))].astype(float)
    figure = Figure(figsize=(max(6.5, 2.6 + 0.34 * table.shape[1]), 2.9 + 0.36 * table.shape[0]))
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    axes = figure.add_subplot()
    metric = rows["metric"].iloc[0]
    image = axes.imshow(np.ma.masked_invalid(table), cmap="cividis", aspect="auto")
    axes.set_facecolor(UNDEFINED)
    _print_values(axes, table)
    chosen = rows[rows["selected"]].iloc[0]
    site = list(table.columns).index(chosen["layer"]), list(table.index).index(chosen["position"])
    axes.add_patch(Rectangle((site[0] - 0.5, site[1] - 0.5), 1, 1, fill=False, edgecolor=VERMILION, linewidth=2.5))
    names = rows.drop_duplicates("layer").set_index("layer")["layer_name"]
    axes.set_xticks(range(table.shape[1]), [_short(names[layer]) for layer in table.columns], fontsize=7.5)
    axes.set_yticks(range(table.shape[0]), list(table.index), fontsize=8.5)
    axes.set_xlabel("layer (block whose output is read, from 0; emb: embeddings)")
    axes.set_ylabel("token position")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, pad=0.01, fraction=0.04).set_label(AXIS[metric])
    of = {"cv": "held-out folds of the training rows", "test": "test rows"}[chosen["split"]]
    words = [f"on {of}", f"outlined: {_site(chosen)}, chosen by {chosen['selected_by']}"]
    words += ["grey: undefined, all predictions equal"] * bool(table.isna().any(axis=None))
    below = [*heading, *words, _spread(table, chosen), PROTOCOL[chosen["protocol"]]]
    _title(axes, f"Where it can be read: {AXIS[metric]}", below, width=int(16 * figure.get_figwidth()))
    return figure


def layer_scores(rows: pd.DataFrame, controls: pd.DataFrame, *, heading: list[str]) -> Figure:
    """Test score by layer at the chosen position with its interval, the cross-validated score beside it, controls and chance.

    Args:
        rows: cells of one position, splits `test` and `cv` (if any), one metric; layer, value, ci_low, ci_high, n, selected.
        controls: method, value, ci_low, ci_high of each control, on the same test rows.
        heading: parts of the sentence under the title.
    """
    figure = Figure(figsize=(8.4, 5.4))
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
    axes = figure.add_subplot()
    tests, folds = (rows[rows["split"] == split].sort_values("layer") for split in ("test", "cv"))
    metric, protocol = tests["metric"].iloc[0], PROTOCOL[tests["protocol"].iloc[0]]
    _draw_scores(axes, tests, folds)
    axes.axhline(CHANCE[metric], color=GREY, linestyle=(0, (1, 2)), label=f"chance, {CHANCE[metric]:g}")
    _draw_controls(axes, controls)
    chosen = tests[tests["selected"]]
    ring: dict[str, Any] = {
        "ms": 11,
        "mfc": "none",
        "mec": VERMILION,
        "mew": 2,
        "label": f"chosen: {_site(chosen.iloc[0])}",
    }
    axes.plot(chosen["layer"], chosen["value"], "o", **ring)
    axes.set_xlabel("layer (block whose output is read, from 0; -1: embeddings)")
    axes.set_ylabel(AXIS[metric])
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=2)
    below = [*heading, protocol, "bands: 95 % intervals; of random controls, the range of draws"]
    _title(axes, f"{AXIS[metric]} by layer at {tests['position'].iloc[0]}", below)
    return figure


def _draw_scores(axes: Axes, tests: pd.DataFrame, folds: pd.DataFrame) -> None:
    """The line of test scores in its band, and that of the held-out folds where there are any."""
    colour, _, marker = LINES[0]
    n = int(tests["n"].iloc[0])
    axes.plot(
        tests["layer"], tests["value"], color=colour, marker=marker, ms=4, label=f"test rows (n = {n:,}), 95 % interval"
    )
    band = tests[["ci_low", "ci_high"]].to_numpy(dtype=float).T
    axes.fill_between(tests["layer"], *band, color=colour, alpha=0.18, linewidth=0)
    if len(folds):
        style: dict[str, Any] = {"color": GREEN, "linestyle": "dashed", "marker": "^", "ms": 3.5}
        axes.plot(folds["layer"], folds["value"], **style, label="held-out folds of the training rows, mean")


def predicted_against_actual(predictions: pd.DataFrame, score: pd.Series, *, heading: list[str]) -> Figure:
    """Test predictions of the chosen probe against the true values, with their averages by tenth of the predictions.

    Args:
        predictions: actual and predicted of each test row.
        score: the chosen cell's test row of the table (value, ci_low, ci_high, n, layer_name, position).
        heading: parts of the sentence under the title.
    """
    figure = Figure(figsize=(6.2, 5.6))
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
    axes = figure.add_subplot()
    axes.plot(predictions["predicted"], predictions["actual"], ".", color=BLUE, ms=3, alpha=0.25, label="one question")
    tenths = predictions.groupby(pd.qcut(predictions["predicted"], 10, duplicates="drop"), observed=True)[
        ["predicted", "actual"]
    ].mean()
    axes.plot(
        tenths["predicted"],
        tenths["actual"],
        color=VERMILION,
        marker="o",
        ms=5,
        label="mean of each tenth by prediction",
    )
    ends = [predictions["actual"].min(), predictions["actual"].max()]
    axes.plot(ends, ends, color=GREY, linestyle=(0, (1, 2)), label="equal")
    axes.set_xlabel("predicted")
    axes.set_ylabel("actual")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3)
    _title(axes, "Predicted and actual on test rows", [*heading, *_scored(score)], width=85)
    return figure


def roc_and_reliability(predictions: pd.DataFrame, score: pd.Series, *, heading: list[str]) -> Figure:
    """ROC of the chosen probe on test rows, and whether its probabilities are true, by tenth of the predictions.

    Args:
        predictions: actual (0 or 1) and predicted probability of each test row; both classes present.
        score: the chosen cell's test row of the table.
        heading: parts of the sentence under the title.
    """
    from sklearn.metrics import roc_curve

    from probeshift.metrics import clopper_pearson

    figure = Figure(figsize=(9.6, 4.9))
    figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.1)
    roc, calibration = figure.subplots(1, 2)
    false, true, _ = roc_curve(predictions["actual"], predictions["predicted"])
    roc.plot(false, true, color=BLUE)
    roc.set_xlabel("false positive rate")
    roc.set_ylabel("true positive rate")
    tenths = predictions.groupby(pd.qcut(predictions["predicted"], 10, duplicates="drop"), observed=True)
    counts = tenths["actual"].agg(["sum", "count"])
    low, high = clopper_pearson(counts["sum"].to_numpy(dtype=float), counts["count"].to_numpy(dtype=float))
    share, means = counts["sum"] / counts["count"], tenths["predicted"].mean()
    calibration.errorbar(means, share, yerr=[share - low, high - share], color=BLUE, marker="o", ms=4, capsize=2)
    calibration.set_xlabel("predicted probability, mean of each tenth")
    calibration.set_ylabel("share that is positive, 95 % interval")
    for axes in (roc, calibration):
        axes.plot([0, 1], [0, 1], color=GREY, linestyle=(0, (1, 2)))
        axes.spines[["top", "right"]].set_visible(False)
    _title(roc, "ROC and reliability on test rows", [*heading, *_scored(score)], width=110)
    return figure


def _print_values(axes: Axes, table: pd.DataFrame) -> None:
    if table.size > 400:
        return
    middle = (np.nanmin(table) + np.nanmax(table)) / 2
    for (row, column), value in np.ndenumerate(table.to_numpy()):
        if np.isfinite(value):
            text = f"{value:.2f}".replace("0.", ".", 1)
            axes.text(
                column, row, text, ha="center", va="center", fontsize=6.5, color="black" if value > middle else "white"
            )


def _spread(table: pd.DataFrame, chosen: pd.Series) -> str:
    """How far the colours reach, beside how far the folds of one cell lie apart: small differences are no finding."""
    reach = f"colours span {np.nanmin(table):.2f} to {np.nanmax(table):.2f}"
    if pd.isna(chosen["ci_low"]):
        return reach
    kind = "folds" if chosen["split"] == "cv" else "95 % interval"
    return f"{reach}; {kind} of the outlined cell alone: {chosen['ci_low']:.2f} to {chosen['ci_high']:.2f}"


def _draw_controls(axes: Axes, controls: pd.DataFrame) -> None:
    styles = ((ORANGE, "solid"), (ORANGE, "dashed"), (GREY, "solid"), (GREY, "dashed"))
    for (_, row), (colour, dash) in zip(controls.iterrows(), styles, strict=False):
        if pd.notna(row["value"]):
            axes.axhline(
                row["value"], color=colour, linestyle=dash, linewidth=1.2, label=f"{row['method']}, {row['value']:.2f}"
            )
            if pd.notna(row["ci_low"]):
                axes.axhspan(row["ci_low"], row["ci_high"], color=colour, alpha=0.10, linewidth=0)


def _scored(score: pd.Series) -> list[str]:
    interval = f" [{score['ci_low']:.2f}, {score['ci_high']:.2f}]" if pd.notna(score["ci_low"]) else ""
    found = f"{AXIS[score['metric']]} {score['value']:.2f}{interval}, n = {int(score['n']):,}"
    return [_site(score), found, PROTOCOL[score["protocol"]]]


def _site(row: pd.Series) -> str:
    return f"{row['layer_name']} at {row['position']}"


def _short(name: str) -> str:
    return {"embeddings": "emb"}.get(name, name.removeprefix("h"))


def _title(axes: Axes, title: str, below: list[str], *, width: int = 105) -> None:
    """The title, and parts of a sentence below it, broken between parts."""
    lines = [""]
    for part in below:
        joined = f"{lines[-1]} · {part}" if lines[-1] else part
        lines = [*lines[:-1], joined] if len(joined) <= width else [*lines, part]
    lines = [line for line in lines if line]
    axes.set_title(title, loc="left", fontweight="bold", fontsize=12, pad=8 + 12 * len(lines))
    note = axes.annotate("\n".join(lines), (0, 1), (0, 6), "axes fraction", "offset points", fontsize=8, color="0.3")
    note.set_in_layout(False)
