"""Two runs side by side: what was done differently, which numbers changed, and which of them by more than noise.

Where both runs kept who won which question, and the test set is the same to the byte, a cell's two accuracies are compared question by
question: McNemar's exact test on the questions only one of them won (a z test of the mean difference where questions are won in part).
Its p are adjusted after Benjamini and Hochberg over all tested cells. Elsewhere, and for other metrics, a change counts as more than noise
only if the two 95 % intervals do not meet, which is stricter than a test at 5 %. Neither knows of noise between training seeds.

Sources: McNemar 1947; Benjamini and Hochberg 1995.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binom, norm

from probeshift.errors import UsageError
from probeshift.inspection.tables import read_runs
from probeshift.results import ResultFolder
from probeshift.summaries.paired import discovery_rates

KEYS = ("model", "method", "seed", "train", "test", "split", "layer", "position", "protocol", "metric", "control")
# What one run may have one value of and the other another: then it is the difference asked about, and no reason not to pair.
_MAY_DIFFER = ("model", "protocol", "seed", "position")
LEVEL = 0.05
_SAME = 1e-12


@dataclass(frozen=True)
class Difference:
    """`settings` are (name, in a, in b); `cells` one row per cell of both with `value_a`, `value_b`, `difference` (b - a), `ci_low`,
    `ci_high`, `how`, `p`, `q` and `beyond_noise` (None where that cannot be told)."""

    settings: tuple[tuple[str, Any, Any], ...]
    cells: pd.DataFrame
    only_a: int
    only_b: int

    def counts(self) -> dict[str, int]:
        c = self.cells
        changed = c["difference"].abs() > _SAME
        one, both = c["value_a"].isna() ^ c["value_b"].isna(), c["value_a"].isna() & c["value_b"].isna()
        return {
            "cells": len(c), "only_a": self.only_a, "only_b": self.only_b, "equal": int((~changed & ~one & ~both).sum()),
            "changed": int(changed.sum()), "defined_in_one": int(one.sum()), "undefined_in_both": int(both.sum()),
            "tested_paired": int(c["p"].notna().sum()),
            "beyond_noise": int((c["beyond_noise"] == True).sum()),  # noqa: E712  (None is not False)
        }  # fmt: skip


def compare_runs(a: Path, b: Path) -> Difference:
    """What changed from run `a` to run `b`.

    Raises:
        UsageError: one holds no rows, or they have no cell in common.
    """
    rows = {name: read_runs([path]) for name, path in (("a", a), ("b", b))}
    told = {name: _manifest(path) for name, path in (("a", a), ("b", b))}
    keys, apart = _keys(rows["a"], rows["b"])
    cells, only_a, only_b = _joined(rows["a"], rows["b"], keys)
    cells = _judged(cells, _paired(cells, a, b, told["a"], told["b"], keys))
    settings = [*apart, *_changed(_flat(told["a"]), _flat(told["b"]))]
    return Difference(tuple(settings), cells, only_a, only_b)


def _keys(a: pd.DataFrame, b: pd.DataFrame) -> tuple[list[str], list[tuple[str, Any, Any]]]:
    shared = [k for k in KEYS if k in a and k in b]
    single = {k: (a[k].dropna().unique(), b[k].dropna().unique()) for k in _MAY_DIFFER if k in shared}
    apart = [(k, x[0], y[0]) for k, (x, y) in single.items() if len(x) == len(y) == 1 and x[0] != y[0]]
    return [k for k in shared if k not in {name for name, _, _ in apart}], apart


def _joined(a: pd.DataFrame, b: pd.DataFrame, keys: list[str]) -> tuple[pd.DataFrame, int, int]:
    columns = [c for c in ("value", "ci_low", "ci_high", "n") if c in a and c in b]
    left, right = (f.drop_duplicates(keys)[[*keys, *columns]] for f in (a, b))
    both = left.merge(right, on=keys, how="outer", suffixes=("_a", "_b"), indicator=True)
    cells = both[both["_merge"] == "both"].drop(columns="_merge").reset_index(drop=True)
    if cells.empty:
        raise UsageError(
            f"the two runs have no cell in common (compared by {', '.join(keys)}). Are they of the same data sets and methods?"
        )
    for name in ("ci_low", "ci_high", "n"):
        for side in ("a", "b"):
            cells[f"{name}_{side}"] = cells.get(f"{name}_{side}", np.nan)
    cells["difference"] = cells["value_b"].astype(float) - cells["value_a"].astype(float)
    return cells, int((both["_merge"] == "left_only").sum()), int((both["_merge"] == "right_only").sum())


def _paired(
    cells: pd.DataFrame, a: Path, b: Path, told_a: dict[str, Any], told_b: dict[str, Any], keys: list[str]
) -> dict[int, tuple[float, float, float]]:
    """By cell: p and the 95 % bounds of the mean difference, where both runs kept the same questions."""
    found: dict[int, tuple[float, float, float]] = {}
    if not {"metric", "test", "split", "layer", "method", "train"} <= set(keys) or not (a.is_dir() and b.is_dir()):
        return found
    accuracies = cells[(cells["metric"] == "accuracy") & (cells["n_a"] == cells["n_b"])]
    for (test, split), part in accuracies.groupby(["test", "split"]):
        if not _same_questions(told_a, told_b, test):
            continue
        won = [_won(folder, test, split) for folder in (a, b)]
        for index, row in part.iterrows():
            key = (row["method"], row["train"], int(row["layer"]), test)
            if all(key in w for w in won) and len(won[0][key]) == len(won[1][key]):
                tested = paired_test(won[0][key], won[1][key])
                found |= {int(index): tested} if tested else {}  # type: ignore[call-overload]
    return found


def _same_questions(a: dict[str, Any], b: dict[str, Any], test: str) -> bool:
    hashes = [told.get("datasets", {}).get(test, {}).get("content_hash") for told in (a, b)]
    return hashes[0] is not None and hashes[0] == hashes[1]


def _won(folder: Path, test: str, split: str) -> dict[tuple[str, str, int, str], np.ndarray]:
    results = ResultFolder(folder)
    return results.correct(split, tests={test}) if (folder / "results.contexts.json").is_file() else {}


def paired_test(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float] | None:
    """p and 95 % bounds of the mean of b - a over the questions both have; None without any.

    McNemar's exact test where each question is won or lost, else a z test.
    """
    differences = (b - a)[~(np.isnan(a) | np.isnan(b))]
    n = len(differences)
    if n < 2:
        return None
    mean, error = differences.mean(), differences.std(ddof=1) / np.sqrt(n)
    low, high = mean - 1.96 * error, mean + 1.96 * error
    if np.isin(differences, (-1.0, 0.0, 1.0)).all():
        up, down = int((differences > 0).sum()), int((differences < 0).sum())
        p = min(1.0, 2 * float(binom.cdf(min(up, down), up + down, 0.5)))
    else:
        p = float(2 * norm.sf(abs(mean) / error)) if error > 0 else 1.0
    return p, float(low), float(high)


def _judged(cells: pd.DataFrame, paired: dict[int, tuple[float, float, float]]) -> pd.DataFrame:
    tests = pd.DataFrame.from_dict(paired, orient="index", columns=["p", "ci_low", "ci_high"], dtype=float).reindex(
        cells.index
    )
    cells = cells.assign(**tests, q=discovery_rates(tests["p"]))
    apart = (cells["ci_low_b"] > cells["ci_high_a"]) | (cells["ci_high_b"] < cells["ci_low_a"])
    known = cells[["ci_low_a", "ci_high_a", "ci_low_b", "ci_high_b"]].notna().all(axis=1)
    beyond = pd.Series([None] * len(cells), index=cells.index, dtype=object)
    beyond[known] = apart[known].map(bool)
    beyond[cells["q"].notna()] = (cells["q"] < LEVEL)[cells["q"].notna()].map(bool)
    how = np.where(cells["p"].notna(), "paired", np.where(known, "intervals", "not told"))
    return cells.assign(how=how, beyond_noise=beyond)


def _manifest(path: Path) -> dict[str, Any]:
    file = (path if path.is_dir() else path.parent) / "manifest.json"
    return json.loads(file.read_text()) if file.is_file() else {}


def _flat(told: dict[str, Any]) -> dict[str, Any]:
    """Settings, versions, hashes of model and data, by dotted names."""
    parts = {name: told.get(name, {}) for name in ("settings", "model", "train", "test")}
    parts["versions"] = told.get("made", {}).get("versions", {})
    parts["data"] = {name: d.get("content_hash") for name, d in told.get("datasets", {}).items()}
    return dict(_dotted("", parts))


def _dotted(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _dotted(f"{prefix}.{key}" if prefix else str(key), inner)
    else:
        yield prefix, value


def _changed(a: dict[str, Any], b: dict[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(name, a.get(name), b.get(name)) for name in dict.fromkeys([*a, *b]) if a.get(name) != b.get(name)]
