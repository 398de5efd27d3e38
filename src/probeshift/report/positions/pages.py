"""Figures and tables of a trained grid, from its saved rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from probeshift.errors import StoreError
from probeshift.report.figures import save_figure
from probeshift.report.positions.figures import (
    layer_scores,
    position_heatmap,
    predicted_against_actual,
    roc_and_reliability,
)
from probeshift.report.tables import Pages, Table

NAMES = {"spearman": "Spearman", "r2": "R2", "auroc": "AUROC", "accuracy_row": "accuracy"}


def draw(folder: Path) -> Pages:
    """Draw the figures of a run and say what its chosen probe is worth.

    Raises:
        StoreError: the folder holds no finished run.
    """
    if not (folder / "results.parquet").exists():
        raise StoreError(f"{folder} holds no results. Run `probeshift train` first.")
    rows, predictions = (pd.read_parquet(folder / f"{name}.parquet") for name in ("results", "predictions"))
    manifest = json.loads((folder / "manifest.json").read_text())
    cells = rows[~rows["control"] & rows["layer"].notna()].astype({"layer": int, "selected": bool})
    main = cells[cells["metric"] == ("spearman" if rows["task"].iloc[0] == "regression" else "auroc")]
    controls = rows[rows["control"]]
    paths = [
        p
        for name, figure, table in _figures(main, controls, predictions)
        for p in save_figure(figure, folder / name, table)
    ]
    chosen = cells[cells["selected"] & (cells["split"] == "test")]
    corrected = rows[~rows["control"] & rows["layer"].isna()]
    return Pages(
        (_table(chosen, controls),),
        _notes(main, corrected, controls, manifest),
        tuple(paths),
        _numbers(chosen, controls, corrected),
    )


def _figures(
    main: pd.DataFrame, controls: pd.DataFrame, predictions: pd.DataFrame
) -> Iterator[tuple[str, Any, pd.DataFrame]]:
    chosen = main[main["selected"] & (main["split"] == "test")].iloc[0]
    heading = [
        f"model {chosen['model']}",
        f"trained on {chosen['train']}",
        f"tested on {chosen['test']}",
        str(chosen["method"]),
    ]
    shown = main[main["split"] == ("cv" if (main["split"] == "cv").any() else "test")]
    yield "position_heatmap.png", position_heatmap(shown, heading=heading), shown
    at_position = main[main["position"] == chosen["position"]]
    yield "score_by_layer.png", layer_scores(at_position, controls, heading=heading), pd.concat([at_position, controls])
    on_test = predictions[predictions["split"] == "test"]
    if chosen["task"] == "regression":
        yield "predicted_vs_actual.png", predicted_against_actual(on_test, chosen, heading=heading), on_test
    elif on_test["actual"].nunique() == 2:
        yield "roc_and_reliability.png", roc_and_reliability(on_test, chosen, heading=heading), on_test


def _table(chosen: pd.DataFrame, controls: pd.DataFrame) -> Table:
    found = pd.concat([chosen, controls])
    lines = [
        (_name(row), NAMES[row["metric"]], _value(row), _interval(row), f"{int(row['n']):,}")
        for _, row in found.iterrows()
    ]
    return "Test rows", ("probe", "metric", "score", "95 % interval", "n"), lines


def _name(row: pd.Series) -> str:
    if not row["control"]:
        return f"{row['method']}, {row['layer_name']} at {row['position']}"
    return f"control: {row['method']}" + (" (mean and range of draws)" if "draws" in row["n_kind"] else "")


def _value(row: pd.Series) -> str:
    return f"{row['value']:.3f}" if pd.notna(row["value"]) else f"undefined: {row['reason']}"


def _interval(row: pd.Series) -> str:
    return f"{row['ci_low']:.3f} to {row['ci_high']:.3f}" if pd.notna(row["ci_low"]) else "-"


def _notes(
    main: pd.DataFrame, corrected: pd.DataFrame, controls: pd.DataFrame, manifest: dict[str, Any]
) -> tuple[str, ...]:
    chosen = main[main["selected"]]
    n_cells = len(main[main["split"] == "test"])
    notes = [manifest["task"] + "."]
    by = chosen["selected_by"].iloc[0]
    notes.append(
        f"chosen by {by} out of {n_cells} layers and positions; probe on {manifest['folds'] or 'all training rows'}."
    )
    own = chosen[chosen["split"] == "cv"]
    if len(own) and len(corrected):
        high, fair = float(own["value"].iloc[0]), float(corrected["value"].iloc[0])
        notes.append(
            f"its cross-validated score is {high:.3f}; {fair:.3f} when the choice is made anew for each fold, "
            f"so choosing adds {high - fair:+.3f}."
        )
    notes += list(_against_controls(chosen[chosen["split"] == "test"].iloc[0], controls))
    if manifest["test_questions_also_in_train"]:
        notes.append(
            f"{manifest['test_questions_also_in_train']} test questions are also training questions: the test score is too good."
        )
    if chosen["protocol"].iloc[0] == "published":
        notes.append("published procedure: no intercept, and choices are scored on the rows that made them.")
    return tuple(notes)


def _against_controls(chosen: pd.Series, controls: pd.DataFrame) -> Iterator[str]:
    """Paired where a control is one prediction; against the range of draws where it is random; against chance where it is below it."""
    if pd.isna(chosen["value"]):
        return
    for _, row in controls.iterrows():
        name = f"the control `{row['method']}`"
        if pd.notna(row["gain"]) and row["ci_high"] < row["chance"]:
            weak = f"{name} is itself below chance (up to {row['ci_high']:.3f}), so being above it would show nothing"
            yield f"{weak}; {_against_chance(chosen)}."
        elif pd.notna(row["gain"]):
            interval = f"{row['gain']:+.3f} [{row['gain_low']:+.3f}, {row['gain_high']:+.3f}] on the same rows"
            verdict = "above" if row["gain_low"] > 0 else "below" if row["gain_high"] < 0 else "NOT clearly above"
            yield f"{verdict} {name}: {interval}."
        elif pd.notna(row["ci_high"]):
            verdict = "above" if chosen["value"] > max(row["ci_high"], row["chance"]) else "NOT clearly above"
            bar = name if row["ci_high"] >= row["chance"] else f"chance ({row['chance']:.3f}) and {name}"
            yield f"{verdict} {bar}: draws reach {row['ci_high']:.3f}."


def _against_chance(chosen: pd.Series) -> str:
    verdict = "above" if chosen["ci_low"] > chosen["chance"] else "NOT clearly above"
    return f"the probe is {verdict} chance, {chosen['value']:.3f} [{chosen['ci_low']:.3f}, {chosen['ci_high']:.3f}]"


def _numbers(chosen: pd.DataFrame, controls: pd.DataFrame, corrected: pd.DataFrame) -> dict[str, Any]:
    keep = [
        "method",
        "layer_name",
        "position",
        "metric",
        "value",
        "ci_low",
        "ci_high",
        "n",
        "reason",
        "gain",
        "gain_low",
        "gain_high",
    ]
    parts = {"chosen": chosen, "controls": controls, "cv_corrected_for_choice": corrected}
    return {name: json.loads(part[keep].to_json(orient="records")) for name, part in parts.items()}
