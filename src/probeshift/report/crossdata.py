"""The pages of a cross-dataset comparison, drawn from saved rows alone: two matrices, a layer curve, tables."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from probeshift.errors import UsageError, nearest
from probeshift.models.names import folder_name
from probeshift.report.cross_matrix import cross_matrix
from probeshift.report.figures import layer_curve, save_figure
from probeshift.report.tables import Pages, Table
from probeshift.results import ResultFolder
from probeshift.summaries import CONTROLS, Won, best_layer, by_layer, ceilings, import_reference, pick, recovered

_PUBLISHED = (
    "published procedure: signs and thresholds were chosen on the evaluation labels; "
    "a probe that points the wrong way is folded above chance"
)

# Above this many columns a printed cell has no room for its interval.
_WIDE = 8


def draw(results: ResultFolder, *, method: str = "dim", layer: int | None = None) -> Pages:
    """Matrices and layer curve of one model's evaluated rows.

    `layer` None takes the layer where the method has the best mean in-distribution AUROC on the selection split; test rows
    never choose.

    Raises:
        StoreError: nothing was evaluated yet.
        UsageError: the layer or method was not evaluated.
    """
    rows = results.read()
    protocol = rows["protocol"].iloc[0]
    _check(rows, method, layer)
    note = f"layer {layer}: as asked"
    if layer is None:
        choice = best_layer(pick(rows, method=method), protocol=protocol, method_control=())
        layer, note = choice.layer, f"layer {choice.layer}: best mean {choice.used} ({choice.value:.3f})"
    tops = ceilings(rows, protocol=protocol)
    return _draw(rows, tops, Won.read(results), results.folder, method=method, layer=layer, note=note)


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
        _check(
            part,
            method,
            layer,
            f"The files of {model} do not hold it; --import one model's folder, or name another layer.",
        )
        tops = ceilings(part, protocol="published", selected_on="test")
        chosen = (
            best_layer(part, metric="accuracy", split="test", protocol="published").layer if layer is None else layer
        )
        why = "best mean accuracy on the test rows themselves; imported files hold no others"
        note = f"layer {chosen}: {'as asked' if layer is not None else why}"
        parts.append(
            _draw(part, tops, None, output_dir / folder_name(str(model)), method=method, layer=chosen, note=note)
        )
    tables, notes, paths = (tuple(x for p in parts for x in getattr(p, name)) for name in ("tables", "notes", "paths"))
    return Pages(tables, notes, paths, {str(p.numbers["model"]): p.numbers for p in parts})


def _check(rows: pd.DataFrame, method: str, layer: int | None, way_out: str | None = None) -> None:
    methods, layers = sorted(rows["method"].unique()), sorted(rows["layer"].unique())
    if method not in methods:
        raise UsageError(f"method `{method}` was not evaluated. {nearest(method, methods)}")
    if layer is not None and layer not in layers:
        close = sorted(layers, key=lambda x: abs(x - layer))[:3]
        raise UsageError(
            f"layer {layer} was not evaluated. Nearest: {', '.join(map(str, close))}. "
            f"{way_out or f'Evaluate it with --layers {layer}.'}"
        )


def _draw(
    rows: pd.DataFrame,
    tops: pd.DataFrame,
    won: Won | None,
    folder: Path,
    *,
    method: str,
    layer: int,
    note: str,
) -> Pages:
    protocol, model = rows["protocol"].iloc[0], rows["model"].iloc[0]
    beside = [m for m in dict.fromkeys((method, *CONTROLS)) if m in set(rows["method"])]
    shares = {m: recovered(rows, won, layer=layer, method=m, protocol=protocol, ceiling=tops) for m in beside}
    ranks = {m: pick(rows, split="test", protocol=protocol, layer=layer, method=m, metric="auroc") for m in beside}
    ratio, auc, blind = shares[method], ranks[method], _by_luck(ranks)
    share = cross_matrix(
        ratio,
        metric="recovered",
        title="Recovered accuracy: share of the best in-distribution accuracy",
        caption=_recovered_by_luck(shares) or _all_undefined("recovered accuracy", ratio),
    )
    ranking = cross_matrix(
        auc,
        metric="auroc",
        title="AUROC: true statements above false ones",
        caption=blind or _all_undefined("AUROC", auc),
    )
    figures = {"cross_dataset_matrix_recovered": (share, ratio), "cross_dataset_matrix_auc": (ranking, auc)}
    curve = by_layer(rows, "accuracy", method, protocol=protocol)
    if curve["layer"].nunique() > 1:
        figures["accuracy_by_layer"] = (layer_curve(curve, title="Accuracy by layer", model=model), curve)
    paths = [save_figure(figure, folder / f"{name}.png", table)[0] for name, (figure, table) in figures.items()]
    means = _means(shares, rows, layer, protocol)
    about = f"{model}, {method}, layer {layer}, {protocol}"
    shown = [("recovered accuracy", ratio, "{:.0%}"), ("AUROC", auc, "{:.2f}")]
    matrices = [_matrix_table(f"{name}: {about}", t, pattern) for name, t, pattern in shown if t["value"].notna().any()]
    empty = [said for name, t, _ in shown if (said := _all_undefined(name, t))]
    tables = (*matrices, *([_means_table(means)] if not ratio["in_distribution"].all() else []))
    notes = (note, *empty, *((blind,) if blind else ()), *((_PUBLISHED,) if protocol == "published" else ()))
    numbers = {"model": model, "layer": layer, "method": method, "protocol": protocol, "means": means}
    return Pages(tables, notes, tuple(paths), numbers)


def _all_undefined(name: str, cells: pd.DataFrame) -> str | None:
    return f"{name} is undefined in every cell: {cells['reason'].iloc[0]}" if cells["value"].isna().all() else None


def _by_luck(ranks: Mapping[str, pd.DataFrame]) -> str | None:
    """In how many cells away from home the interval leaves chance out, for the control too: what such an interval is worth."""
    found = []
    for name, cells in ranks.items():
        away = cells[~cells["in_distribution"].astype(bool)].dropna(subset=["ci_low"])
        off = int(((away["ci_low"] > away["chance"]) | (away["ci_high"] < away["chance"])).sum())
        found += [f"{name} {off} of {len(away)}"] if len(away) else []
    if len(found) < 2:
        return None
    return f"cells away from home whose interval leaves chance out: {', '.join(found)}; intervals are over questions, not directions"


def _recovered_by_luck(shares: Mapping[str, pd.DataFrame]) -> str | None:
    """What the control recovers away from home, beside the drawn method."""
    means = {name: _away(cells, "value")["others"]["mean"] for name, cells in shares.items()}
    found = [f"{name} {mean:.0%}" for name, mean in means.items() if mean is not None]
    return f"recovered away from home on average: {', '.join(found)}" if len(found) > 1 else None


def _means(ratios: Mapping[str, pd.DataFrame], rows: pd.DataFrame, layer: int, protocol: str) -> dict[str, Any]:
    """Means over the cells of other datasets, per method (the control beside the drawn one), and how many cells each has."""
    found: dict[str, Any] = {}
    for name, column in (("recovered", "value"), ("recovered above chance", "corrected")):
        found |= {f"{name}, {method}": _away(ratio, column) for method, ratio in ratios.items()}
    for metric in ("accuracy", "auroc"):
        for method in ratios:
            cells = pick(rows, metric=metric, split="test", protocol=protocol, layer=layer, method=method)
            found[f"{metric}, {method}"] = _away(cells, "value")
    return found


def _away(cells: pd.DataFrame, column: str) -> dict[str, Any]:
    """Mean off the diagonal, over all other datasets and over unrelated ones only."""
    other = cells[~cells["in_distribution"].astype(bool)]
    unrelated = other[~other["related"].eq(True)]
    return {"others": _mean(other[column]), "unrelated": _mean(unrelated[column])}


def _mean(values: pd.Series) -> dict[str, float | int | None]:
    defined = values.dropna()
    mean = float(defined.mean()) if len(defined) else None
    return {"mean": mean, "cells": len(defined), "undefined": len(values) - len(defined)}


def _means_table(means: Mapping[str, Any]) -> Table:
    columns = ("mean off the diagonal", "all other sets", "cells", "unrelated sets", "cells ", "undefined")
    shown = lambda m: "–" if m["mean"] is None else f"{m['mean']:.3f}"  # noqa: E731
    rows = [
        (name, shown(m["others"]), str(m["others"]["cells"]), shown(m["unrelated"]), str(m["unrelated"]["cells"]),
         str(m["others"]["undefined"]))
        for name, m in means.items()
    ]  # fmt: skip
    return "what is left away from home", columns, rows


def _matrix_table(title: str, cells: pd.DataFrame, pattern: str) -> Table:
    """Train sets down, test sets across; wide matrices number their columns, so that they fit a terminal."""
    trains, tests = list(dict.fromkeys(cells["train"])), list(dict.fromkeys(cells["test"]))
    found = {(c.train, c.test): c for c in cells.itertuples()}
    wide = len(tests) > _WIDE
    number = {name: str(i + 1) for i, name in enumerate([*tests, *(t for t in trains if t not in tests)])}
    rows = [
        (f"{number[a]} {a}" if wide else f"{a} ->", *(_cell(found.get((a, b)), pattern, not wide) for b in tests))
        for a in trains
    ]
    return title, ("train -> test", *(number[b] if wide else b for b in tests)), rows


def _cell(cell: Any, pattern: str, interval: bool) -> str:
    if cell is None or pd.isna(cell.value):
        return "–"
    text = pattern.format(cell.value)
    if interval and pd.notna(cell.ci_low):
        text += f" [{pattern.format(cell.ci_low)}, {pattern.format(cell.ci_high)}]"
    return text
