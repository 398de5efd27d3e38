"""The pages of a cross-dataset comparison, drawn from saved rows alone: two matrices, a layer curve, tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probeshift.errors import UsageError, nearest
from probeshift.report.cross_matrix import cross_matrix
from probeshift.report.figures import layer_curve, save_figure
from probeshift.results import ResultFolder
from probeshift.summaries import CellKey, best_layer, by_layer, ceilings, import_reference, pick, recovered

Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]

# Above this many columns a printed cell has no room for its interval.
_WIDE = 8


@dataclass(frozen=True)
class Pages:
    """What was drawn: tables for the terminal, one-line notes, files, and the numbers for machines."""

    tables: tuple[Table, ...]
    notes: tuple[str, ...]
    paths: tuple[Path, ...]
    numbers: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {**self.numbers, "notes": list(self.notes), "files": [str(p) for p in self.paths]}


def draw(results: ResultFolder, *, method: str = "dim", layer: int | None = None) -> Pages:
    """Matrices and layer curve of one model's evaluated rows.

    `layer` None takes the layer with the best mean accuracy on the selection split, off the diagonal; test rows never choose.

    Raises:
        StoreError: nothing was evaluated yet.
        UsageError: the layer or method was not evaluated.
    """
    rows = results.read()
    protocol = rows["protocol"].iloc[0]
    _check(rows, method, layer)
    note = f"layer {layer}: as asked"
    if layer is None:
        choice = best_layer(rows, protocol=protocol)
        layer, note = choice.layer, f"layer {choice.layer}: best mean accuracy over {choice.used} ({choice.value:.3f})"
    tops = ceilings(rows, protocol=protocol)
    correct = {CellKey(*key): won for key, won in results.correct().items()}
    return _draw(rows, tops, correct, results.folder, method=method, layer=layer, note=note)


def draw_imported(path: Path, output_dir: Path, layer: int | None = None) -> Pages:
    """The same pages from original result files, one folder per model; their numbers are labelled as published.

    Such files hold test rows only, so ceilings (and the layer, unless named) are chosen on the rows they judge; notes say so.

    Raises:
        UsageError: no result file, a line that is not one, or a layer the files do not hold.
    """
    rows = import_reference(path)
    parts = []
    for model, part in rows.groupby("model", sort=False):
        method = part["method"].iloc[0]
        _check(part, method, layer)
        tops = ceilings(part, protocol="published", selected_on="test")
        chosen, note = layer, f"layer {layer}: as asked"
        if layer is None:
            chosen = best_layer(part, split="test", protocol="published").layer
            note = f"layer {chosen}: best mean accuracy on the test rows themselves; imported files hold no others"
        parts.append(_draw(part, tops, {}, output_dir / str(model), method=method, layer=chosen, note=note))
    merged = [tuple(x for p in parts for x in getattr(p, name)) for name in ("tables", "notes", "paths")]
    return Pages(*merged, {str(p.numbers["model"]): p.numbers for p in parts})


def _check(rows: pd.DataFrame, method: str, layer: int | None) -> None:
    methods, layers = sorted(rows["method"].unique()), sorted(rows["layer"].unique())
    if method not in methods:
        raise UsageError(f"method `{method}` was not evaluated. {nearest(method, methods)}")
    if layer is not None and layer not in layers:
        close = sorted(layers, key=lambda x: abs(x - layer))[:3]
        raise UsageError(
            f"layer {layer} was not evaluated. Nearest: {', '.join(map(str, close))}. Evaluate it with --layers {layer}."
        )


def _draw(
    rows: pd.DataFrame,
    tops: pd.DataFrame,
    correct: Mapping[CellKey, np.ndarray],
    folder: Path,
    *,
    method: str,
    layer: int,
    note: str,
) -> Pages:
    protocol, model = rows["protocol"].iloc[0], rows["model"].iloc[0]
    ratio = recovered(rows, correct, layer=layer, method=method, protocol=protocol, ceiling=tops)
    cells = pick(rows, split="test", protocol=protocol, layer=layer, method=method)
    auc = pick(cells, metric="auroc")
    figures = {
        "cross_dataset_matrix_recovered": (
            cross_matrix(
                ratio, metric="recovered", title="Recovered accuracy: share of the best in-distribution accuracy"
            ),
            ratio,
        ),
        "cross_dataset_matrix_auc": (
            cross_matrix(auc, metric="auroc", title="AUROC: true statements above false ones"),
            auc,
        ),
    }
    curve = by_layer(rows, "accuracy", method, protocol=protocol)
    if curve["layer"].nunique() > 1:
        figures["accuracy_by_layer"] = (layer_curve(curve, title="Accuracy by layer", model=model), curve)
    paths = [save_figure(figure, folder / f"{name}.png", table)[0] for name, (figure, table) in figures.items()]
    means = _means(rows, ratio, method, layer, protocol)
    tables = (
        _matrix_table(f"recovered accuracy, %: {model}, {method}, layer {layer}, {protocol}", ratio, 100, "{:.0f}"),
        _matrix_table(f"AUROC: {model}, {method}, layer {layer}, {protocol}", auc, 1, "{:.2f}"),
    )
    return Pages(
        tables,
        (note, *_notes(means, protocol)),
        tuple(paths),
        {"model": model, "layer": layer, "method": method, "protocol": protocol, **means},
    )


def _means(rows: pd.DataFrame, ratio: pd.DataFrame, method: str, layer: int, protocol: str) -> dict[str, Any]:
    """Means over the cells of other datasets, with the control beside them and how many cells stand behind each."""
    found: dict[str, Any] = {"recovered": _mean(ratio[~ratio["in_distribution"].astype(bool)], "value")}
    found["recovered_corrected"] = _mean(ratio[~ratio["in_distribution"].astype(bool)], "corrected")
    for metric in ("accuracy", "auroc"):
        for name in dict.fromkeys((method, "random")):
            cells = pick(rows, metric=metric, split="test", protocol=protocol, layer=layer, method=name)
            found[f"{metric}_{name}"] = _mean(cells[~cells["in_distribution"].astype(bool)], "value")
            found[f"{metric}_{name}_unrelated"] = _mean(
                cells[~cells["in_distribution"].astype(bool) & ~cells["related"].eq(True)], "value"
            )
    return found


def _mean(cells: pd.DataFrame, column: str) -> dict[str, float | int | None]:
    defined = cells[column].dropna()
    return {
        "mean": float(defined.mean()) if len(defined) else None,
        "cells": len(defined),
        "undefined": len(cells) - len(defined),
    }


def _notes(means: Mapping[str, Any], protocol: str) -> list[str]:
    words = {"recovered": "recovered accuracy", "recovered_corrected": "recovered accuracy above chance"}
    notes = [
        f"mean {words.get(name, name.replace('_', ' '))} off the diagonal: {value['mean']:.3f} ({value['cells']} cells, {value['undefined']} undefined)"
        for name, value in means.items()
        if value["mean"] is not None
    ]
    if protocol == "published":
        notes.append(
            "published procedure: signs and thresholds were chosen on the evaluation labels; below-chance transfer is folded above chance"
        )
    return notes


def _matrix_table(title: str, cells: pd.DataFrame, scale: float, pattern: str) -> Table:
    trains, tests = list(dict.fromkeys(cells["train"])), list(dict.fromkeys(cells["test"]))
    found = {(c.train, c.test): c for c in cells.itertuples()}
    rows = [
        (f"{train} ->", *(_cell(found.get((train, test)), scale, pattern, len(tests) <= _WIDE) for test in tests))
        for train in trains
    ]
    return title, ("train -> test", *tests), rows


def _cell(cell: Any, scale: float, pattern: str, interval: bool) -> str:
    if cell is None or pd.isna(cell.value):
        return "–"
    text = pattern.format(cell.value * scale)
    if interval and pd.notna(cell.ci_low):
        text += f" [{pattern.format(cell.ci_low * scale)}, {pattern.format(cell.ci_high * scale)}]"
    return text
