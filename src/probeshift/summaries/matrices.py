"""Train-by-test matrices, and what remains away from home on average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from probeshift.errors import UsageError
from probeshift.summaries.rows import nothing_matches, pick, refuse_mixed

_MEAN_COLUMNS = ("value", "n_cells", "n_undefined", "worst_test", "worst_value")


@dataclass(frozen=True)
class Matrix:
    """One metric at one layer and method: four frames with train sets as rows and test sets as columns."""

    value: pd.DataFrame
    low: pd.DataFrame
    high: pd.DataFrame
    n: pd.DataFrame


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
            nothing_matches(rows, metric=metric, layer=layer, method=method, split=split, protocol=protocol)
        )
    refuse_mixed(cells, "model", "seed", "position")
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
