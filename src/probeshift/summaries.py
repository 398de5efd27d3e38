"""Result rows to small tables: ceilings, recovered accuracy, best layer, matrices, means out of distribution.

A result row is one metric of one probe on one test set and split; its columns are `results.ROW_COLUMNS`. `value` is
null where it is undefined, and `reason` says why. Tables keep the column names of the rows, so `value`, `ci_low`,
`ci_high` and `chance` are always in the same unit. Undefined cells are never averaged; every mean says how many cells
it stands on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from probeshift.errors import UsageError, nearest
from probeshift.metrics import clopper_pearson, recovered_accuracy
from probeshift.metrics.intervals import CLOPPER_PEARSON, NO_INTERVAL
from probeshift.metrics.recovered import ratio_of_values
from probeshift.published_results import read_reference_files, sets_of_counts, warnings_about
from probeshift.results import ROW_COLUMNS

PROBE_COLUMNS = ["model", "method", "seed", "train", "layer", "position"]
CONTROLS = ("random",)  # methods that learn nothing: never a ceiling, never a reason to choose a layer
NO_CORRECTNESS = "per-question correctness is not at hand"
IMPORTED = "imported: no interval can be made"
REPEATS_ACCURACY = "imported file repeats accuracy"
NO_COUNT = "imported: ROC-AUC, for value x n is no whole number"
_MEAN_COLUMNS = ("value", "n_cells", "n_undefined", "worst_test", "worst_value")
_CURVE_COLUMNS = ("value", "ci_low", "ci_high", "chance", "n_cells", "n_undefined")
_log = logging.getLogger(__name__)


class CellKey(NamedTuple):
    """Which probe on the test split of which set: the key of per-question correctness within one result folder."""

    method: str
    train: str
    layer: int
    test: str


@dataclass(frozen=True)
class LayerChoice:
    """The layer with the highest mean. `used` says which cells were averaged, `by_layer` holds all means."""

    layer: int
    value: float
    used: str
    by_layer: pd.DataFrame


@dataclass(frozen=True)
class Matrix:
    """One metric at one layer and method: four frames with train sets as rows and test sets as columns."""

    value: pd.DataFrame
    low: pd.DataFrame
    high: pd.DataFrame
    n: pd.DataFrame


def ceilings(
    rows: pd.DataFrame,
    *,
    method_control: Sequence[str] = CONTROLS,
    protocol: str = "strict",
    selected_on: str = "selection",
) -> pd.DataFrame:
    """The best in-distribution probe of each test set, and its accuracy on the test split.

    The probe (any method but the controls, any layer, position and seed) is chosen by accuracy on the `selected_on`
    split. "test" chooses and judges on the same rows, as the published figures do: an optimistic ceiling, for
    comparison only. Ties go to the lower layer, then to the method first in the alphabet. One row per model and test
    set; a set that no probe was trained on has a null `value` and a `reason`.
    """
    accuracy = pick(rows, metric="accuracy", protocol=protocol)
    own = accuracy[accuracy["in_distribution"].astype(bool) & ~accuracy["method"].isin(method_control)]
    choice = own[(own["split"] == selected_on) & own["value"].notna()]
    choice = choice.sort_values(["value", "layer", "method"], ascending=[False, True, True], kind="stable")
    best = choice.drop_duplicates(["model", "test"]).rename(columns={"value": "selection_value"})
    keys = [*PROBE_COLUMNS, "test"]
    judged = best[[*keys, "selection_value"]].merge(own[own["split"] == "test"], on=keys, how="left")
    every = accuracy[["model", "test"]].drop_duplicates()
    table = every.merge(judged, on=["model", "test"], how="left").assign(selected_on=selected_on)
    none = f"no in-distribution probe on {selected_on}"
    table["reason"] = table["reason"].where(table["selection_value"].notna(), none)
    chosen = [*PROBE_COLUMNS, "test", "selection_value", "selected_on"]
    return table[[*chosen, "value", "ci_low", "ci_high", "ci_kind", "n", "n_kind", "chance", "reason"]]


def recovered(
    rows: pd.DataFrame,
    correct: Mapping[CellKey, np.ndarray] | None = None,
    *,
    layer: int | None = None,
    method: str | None = None,
    protocol: str = "strict",
    ceiling: pd.DataFrame | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Recovered accuracy of each probe on each test set, plain (`value`) and above chance (`corrected`).

    Args:
        rows: result rows; only accuracy on the test split is read.
        correct: questions won on the test split (rows of `Measurement.correct`), for probes and ceilings alike, of one
            model, seed and position. Cells it lacks have no interval, and `ci_reason` says so.
        layer: None keeps all layers.
        method: None keeps all methods.
        protocol: of the rows to read.
        ceiling: from `ceilings`; computed from `rows` when None.
        n_resamples: of the paired bootstrap over questions.
        seed: of the bootstrap.

    `value`, `ci_low`, `ci_high` and `chance` are ratios to the ceiling (`chance` is what guessing recovers);
    `accuracy`, `ceiling` and `chance_accuracy` are the parts. `clipped` is `value` within [0, 1], as published.
    """
    ceiling = ceilings(rows, protocol=protocol) if ceiling is None else ceiling
    cells = pick(rows, metric="accuracy", split="test", protocol=protocol, layer=layer, method=method)
    tops = ceiling[["model", "test", "value"]].rename(columns={"value": "ceiling"})
    cells = cells.rename(columns={"value": "accuracy", "chance": "chance_accuracy"})
    table = cells.merge(tops, on=["model", "test"], how="left")
    accuracy, top, guess = (table[name].to_numpy(dtype=float) for name in ("accuracy", "ceiling", "chance_accuracy"))
    for column, prefix, floor in (("value", "", np.zeros(len(table))), ("corrected", "corrected_", guess)):
        table[column], reasons = ratio_of_values(accuracy, top, floor)
        table[[f"{prefix}low", f"{prefix}high"] if prefix else ["ci_low", "ci_high"]] = np.nan
        table[f"{prefix}reason"] = pd.Series(reasons, index=table.index, dtype=object)
        table[f"{prefix}ci_reason"] = table[f"{prefix}reason"].where(table[column].isna(), NO_CORRECTNESS)
    table["clipped"] = table["value"].clip(0.0, 1.0)
    table["chance"] = guess / np.where(top > 0, top, np.nan)
    table["metric"], table["ci_kind"] = "recovered", NO_INTERVAL
    if correct:
        _refuse_mixed(cells, "model", "seed", "position")
        for best in ceiling[ceiling["value"].notna()].itertuples():
            top_key = CellKey(best.method, best.train, int(best.layer), best.test)
            if top_key in correct:
                _fill_intervals(table, correct, top_key, n_resamples=n_resamples, seed=seed)
    return table


def best_layer(
    rows: pd.DataFrame,
    *,
    metric: str = "auroc",
    split: str = "selection",
    protocol: str = "strict",
    method_control: Sequence[str] = CONTROLS,
) -> LayerChoice:
    """The layer with the highest mean in-distribution AUROC, over all methods but the controls; ties go low.

    A layer is chosen at home, before anybody looks whether the direction holds elsewhere. AUROC counts every pair of rows and
    no threshold, so it is the steadier guide, and the same for sets with and without questions. Where no probe was trained
    on an evaluated set, the other cells are averaged instead; `used` says so.

    Raises:
        UsageError: the metric is not defined on `split` (imported results have a test split only), or several models or
            positions are mixed.
    """
    cells = pick(rows, metric=metric, split=split, protocol=protocol)
    cells = cells[~cells["method"].isin(method_control) & cells["value"].notna()]
    _refuse_mixed(cells, "model", "position")
    own = cells[cells["in_distribution"].astype(bool)]
    used = f"{metric} of {'in-distribution' if len(own) else 'off-diagonal'} cells, {split} split"
    table = (own if len(own) else cells).groupby("layer")["value"].agg(value="mean", n_cells="count").reset_index()
    if not len(table):
        raise UsageError(
            f"no {protocol} {metric} on the {split} split to choose a layer by. "
            f"Splits present: {_listed(rows['split'])}. Pass split= one of them, or name the layer."
        )
    best = table.loc[table["value"].idxmax()]
    return LayerChoice(int(best["layer"]), float(best["value"]), used, table)


def matrix(
    rows: pd.DataFrame, metric: str, layer: int, method: str, split: str = "test", *, protocol: str = "strict"
) -> Matrix:
    """One metric at one layer and method, with train sets as rows and test sets as columns, in order of appearance.

    Test sets nobody trained on come last. Undefined cells are NaN.

    Raises:
        UsageError: nothing matches, or several rows claim one cell (more than one model, seed or position).
    """
    cells = pick(rows, metric=metric, layer=layer, method=method, split=split, protocol=protocol)
    if not len(cells):
        raise UsageError(
            _nothing_matches(rows, metric=metric, layer=layer, method=method, split=split, protocol=protocol)
        )
    _refuse_mixed(cells, "model", "seed", "position")
    if cells.duplicated(["train", "test"]).any():
        raise UsageError("several rows claim one cell of the matrix. Drop the repeated rows.")
    train = list(dict.fromkeys(cells["train"]))
    test = [name for name in train if (cells["test"] == name).any()]
    test += [name for name in dict.fromkeys(cells["test"]) if name not in test]
    frames = [cells.pivot(index="train", columns="test", values=name) for name in ("value", "ci_low", "ci_high", "n")]
    return Matrix(*(frame.reindex(index=train, columns=test) for frame in frames))


def ood_mean(
    rows: pd.DataFrame,
    *,
    by: Sequence[str] = ("model", "method", "seed", "train", "layer", "position"),
    related: bool = True,
) -> pd.DataFrame:
    """Mean over the sets a probe was not trained on, with its worst set and the number of cells behind it.

    Give rows of one metric, split and protocol. `related=False` leaves related sets out too. `n_undefined` counts cells
    without a value: they are in no mean.
    """
    away = rows[~rows["in_distribution"].astype(bool)]
    away = away if related else away[away["related"].ne(True)]
    records = [
        {**dict(zip(by, key, strict=True)), **_mean_of_cells(part)}
        for key, part in away.groupby(list(by), sort=False, dropna=False)
    ]
    return pd.DataFrame(records, columns=[*by, *_MEAN_COLUMNS])


def by_layer(
    rows: pd.DataFrame,
    metric: str,
    method: str,
    *,
    protocol: str = "strict",
    control: str = CONTROLS[0],
    split: str = "test",
) -> pd.DataFrame:
    """The metric by layer in distribution, out of distribution, and out of distribution for the control: a layer curve.

    The interval is for the mean over these very sets: questions are resampled, sets are not. Half widths of one test
    set are averaged as if its probes erred together, those of different test sets add as independent errors.
    """
    cells = pick(rows, metric=metric, split=split, protocol=protocol)
    _refuse_mixed(cells, "model", "position")
    own = cells["in_distribution"].astype(bool)
    series = {
        "in-distribution": cells[own & (cells["method"] == method)],
        "out-of-distribution mean": cells[~own & (cells["method"] == method)],
        f"control ({control}), out-of-distribution mean": cells[~own & (cells["method"] == control)],
    }
    shown = {"metric": metric, "method": method, "protocol": protocol}
    records = [
        {"series": name, "layer": int(layer), **shown, **_mean_of_sets(part)}
        for name, chosen in series.items()
        for layer, part in chosen.groupby("layer")
    ]
    return pd.DataFrame(records, columns=["series", "layer", *shown, *_CURVE_COLUMNS])


def pick(rows: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
    """The rows whose columns have the wanted values; a column wanted as None is left free."""
    keep = np.ones(len(rows), dtype=bool)
    for column, value in wanted.items():
        if value is not None:
            keep &= (rows[column] == value).to_numpy(dtype=bool)
    return rows[keep]


def import_reference(path: Path) -> pd.DataFrame:
    """Result rows from a published `probe_evaluate-v2.jsonl`, or from every one below a folder.

    The protocol is "published"; what the files do not tell (`chance`, `seed`, `n_train`, families) is null. Accuracy
    has an exact interval on sets where value x n is a whole number throughout. On the others the file has a ROC-AUC
    under that name: the number is kept, without an interval, and `reason` says so. An `auc` that repeats `accuracy` is
    null. `attrs["warnings"]` lists what is wrong with the files.

    Raises:
        MissingError: no such file, or none below the folder.
        UsageError: a line that is no such record, named by file and line.
    """
    results = read_reference_files(path)
    table = pd.DataFrame([asdict(result) for result in results])
    counts = sets_of_counts(results)
    counted = np.array([(result.model, result.test) in counts for result in results], dtype=bool)
    rows = pd.concat([_imported_accuracy(table, counted), _imported_auroc(table)], ignore_index=True)
    rows.attrs["warnings"] = warnings_about(results)
    for warning in rows.attrs["warnings"]:
        _log.warning("%s: %s", path, warning)
    return rows


def _fill_intervals(table, correct, top_key, *, n_resamples, seed) -> None:
    """Write the paired bootstrap intervals of every cell of one test set whose questions are at hand."""
    part = table[(table["test"] == top_key.test) & table["value"].notna()]
    keys = [CellKey(row.method, row.train, int(row.layer), row.test) for row in part.itertuples()]
    index = [label for label, key in zip(part.index, keys, strict=True) if key in correct]
    if not index:
        return
    won = np.stack([correct[key] for key in keys if key in correct]).astype(np.float64)
    top = np.asarray(correct[top_key], dtype=np.float64)
    chance = float(part["chance_accuracy"].iloc[0])
    found = recovered_accuracy(won, top, chance=chance, n_resamples=n_resamples, seed=seed)
    table.loc[index, "ci_low"], table.loc[index, "ci_high"] = found.plain.low, found.plain.high
    table.loc[index, "corrected_low"], table.loc[index, "corrected_high"] = found.corrected.low, found.corrected.high
    table.loc[index, "ci_kind"] = list(found.plain.ci_kind)
    for column, ratio in (("ci_reason", found.plain), ("corrected_ci_reason", found.corrected)):
        table.loc[index, column] = pd.Series(ratio.ci_reason, index=index, dtype=object)


def _refuse_mixed(rows, *columns) -> None:
    mixed = {name: _listed(rows[name]) for name in columns if rows[name].nunique() > 1}
    if mixed:
        found = "; ".join(f"{name} {values}" for name, values in mixed.items())
        raise UsageError(f"these rows mix what must be looked at one by one: {found}. Keep one of each.")


def _mean_of_cells(part) -> dict[str, Any]:
    defined = part[part["value"].notna()]
    worst = defined.loc[defined["value"].idxmin()] if len(defined) else None
    return {
        "value": defined["value"].mean() if len(defined) else np.nan,
        "n_cells": len(defined),
        "n_undefined": len(part) - len(defined),
        "worst_test": None if worst is None else worst["test"],
        "worst_value": np.nan if worst is None else worst["value"],
    }


def _mean_of_sets(part) -> dict[str, Any]:
    defined = part[part["value"].notna()]
    half = ((defined["ci_high"] - defined["ci_low"]) / 2.0).astype(float)
    # A cell without an interval leaves the mean without one: its error is unknown, not zero.
    sums = half.groupby(defined["test"]).sum(min_count=1) if half.notna().all() else pd.Series([np.nan])
    reach = float(np.sqrt((sums**2).sum(skipna=False))) / max(1, len(defined))
    value = defined["value"].mean()
    return {
        "value": value,
        "ci_low": value - reach,
        "ci_high": value + reach,
        "chance": defined["chance"].mean(),
        "n_cells": len(defined),
        "n_undefined": len(part) - len(defined),
    }


def _imported_rows(table, **columns) -> pd.DataFrame:
    rows = table.reindex(columns=list(ROW_COLUMNS)).astype(object)
    rows[["layer", "n"]] = table[["layer", "n"]]
    rows[["value", "ci_low", "ci_high", "chance"]] = np.nan
    same = {"split": "test", "protocol": "published", "sign_source": "evaluation labels", "limited": False}
    return rows.assign(in_distribution=table["train"] == table["test"], ci_kind=NO_INTERVAL, **same).assign(**columns)


def _imported_accuracy(table, counted) -> pd.DataFrame:
    low, high = clopper_pearson((table["accuracy"] * table["n"]).to_numpy(), table["n"].to_numpy(dtype=float))
    return _imported_rows(
        table,
        metric="accuracy",
        value=table["accuracy"],
        ci_low=np.where(counted, low, np.nan),
        ci_high=np.where(counted, high, np.nan),
        ci_kind=np.where(counted, CLOPPER_PEARSON, NO_INTERVAL),
        n_kind=np.where(counted, "questions", "rows"),
        reason=[None if fine else NO_COUNT for fine in counted],
    )


def _imported_auroc(table) -> pd.DataFrame:
    copied = (table["auc"] - table["accuracy"]).abs() <= 1e-12
    reason = np.where(copied, REPEATS_ACCURACY, IMPORTED)
    return _imported_rows(
        table, metric="auroc", value=table["auc"].where(~copied), n=np.nan, n_kind="rows", reason=reason
    )


def _nothing_matches(rows, **wanted) -> str:
    """Which of the wanted values the rows lack, with the nearest ones they have."""
    for column, value in wanted.items():
        if not (rows[column] == value).any():
            return f"no rows with {column} `{value}`. {nearest(str(value), map(str, rows[column].unique()))}"
    asked = ", ".join(f"{column}={value}" for column, value in wanted.items())
    return f"no rows with {asked} together. Loosen one of them."


def _listed(values) -> str:
    return ", ".join(f"`{value}`" for value in dict.fromkeys(values))
