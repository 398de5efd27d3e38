"""Two runs side by side: what was done differently, which numbers changed, and which of them by more than noise.

The rule for what is more than noise is that of `summaries.run_changes`; here cells of all splits are compared, and settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probeshift.errors import UsageError
from probeshift.inspection.tables import read_runs
from probeshift.results import ResultFolder
from probeshift.summaries.run_changes import BEYOND, EQUAL, OPEN, PAIRED, WITHIN, Correctness, judged, same_questions

KEYS = ("model", "method", "seed", "train", "test", "split", "layer", "position", "protocol", "metric", "control")
# What one run may have one value of and the other another: then it is the difference asked about, and no reason not to pair.
_MAY_DIFFER = ("model", "protocol", "seed", "position")
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
    cells = _told(judged(cells, _kept(a, b, cells), same_questions(told["a"], told["b"])))
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
    both = left.merge(right, on=keys, how="outer", suffixes=("_before", "_after"), indicator=True)
    cells = both[both["_merge"] == "both"].drop(columns="_merge").reset_index(drop=True)
    if cells.empty:
        raise UsageError(
            f"the two runs have no cell in common (compared by {', '.join(keys)}). Are they of the same data sets and methods?"
        )
    for name in ("ci_low", "ci_high", "n"):
        for side in ("before", "after"):
            cells[f"{name}_{side}"] = cells.get(f"{name}_{side}", np.nan)
    return (
        cells.astype({"value_before": float, "value_after": float}),
        int((both["_merge"] == "left_only").sum()),
        int((both["_merge"] == "right_only").sum()),
    )


def _kept(a: Path, b: Path, cells: pd.DataFrame) -> dict[str, tuple[Correctness, Correctness]]:
    """The questions each probe won in both runs, by split; none where a run kept no record of them."""
    needed = {"metric", "test", "split", "layer", "method", "train"}
    if not (needed <= set(cells) and all((run / "results.contexts.json").is_file() for run in (a, b))):
        return {}
    tests, one, other = set(cells["test"]), ResultFolder(a), ResultFolder(b)
    return {
        str(split): (one.correct(str(split), tests=tests), other.correct(str(split), tests=tests))
        for split in cells["split"].unique()
    }


def _told(cells: pd.DataFrame) -> pd.DataFrame:
    """The verdict as `how` and `beyond_noise`, which is None where it cannot be told."""
    beyond = cells["verdict"].map({BEYOND: True, WITHIN: False, EQUAL: False, OPEN: None}).astype(object)
    how = np.where(cells["basis"].eq(PAIRED), "paired", np.where(cells["verdict"].eq(OPEN), "not told", "intervals"))
    renamed = {name: name.replace("_before", "_a").replace("_after", "_b") for name in cells}
    return (
        cells.rename(columns=renamed)
        .assign(how=how, beyond_noise=beyond.where(beyond.notna(), None))
        .drop(columns=["basis", "verdict"])
    )


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
