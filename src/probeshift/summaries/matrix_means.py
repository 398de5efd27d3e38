"""What is said about a train-by-eval matrix of recovered accuracy: its means, with and without the diagonal, and by family.

The same functions read a study's own matrix and the published ones ("How well do truth probes generalise?", 2024, and a
later fork of its code), so that the published summary numbers test them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from probeshift.errors import UsageError
from probeshift.summaries.study import RECOVERED_WELL


@dataclass(frozen=True)
class MatrixMeans:
    """Means over the defined cells of a matrix: all, those away from home, those at home; NaN where there are none."""

    everything: float
    away: float
    home: float
    share_above: float
    n_away: int
    n_home: int


def read_matrix(path: Path) -> pd.DataFrame:
    """A published matrix, rows and columns named as in the file, as fractions; files named `*_pct.csv` hold percent.

    Raises:
        UsageError: a cell is no number.
    """
    table = pd.read_csv(path, index_col=0)
    if not all(pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes):
        raise UsageError(f"{path} is not a matrix of numbers with names in its first column and line.")
    return table / 100.0 if path.stem.endswith("_pct") else table


def matrix_of(table: pd.DataFrame) -> pd.DataFrame:
    """The `value` of a table with one row per (train, test) as a matrix, in order of appearance; a pair without a row is NaN."""
    order = [list(dict.fromkeys(table[side])) for side in ("train", "test")]
    return table.pivot(index="train", columns="test", values="value").reindex(index=order[0], columns=order[1])


def own_cells(matrix: pd.DataFrame) -> np.ndarray:
    """Where train and eval set are the same, [row, column]."""
    return matrix.index.to_numpy()[:, None] == matrix.columns.to_numpy()[None, :]


def away(matrix: pd.DataFrame) -> pd.DataFrame:
    """The matrix with NaN where train and eval set are the same."""
    return matrix.mask(own_cells(matrix))


def without(matrix: pd.DataFrame, names: Collection[str]) -> pd.DataFrame:
    """The matrix without these sets, as rows and as columns."""
    return matrix.loc[~matrix.index.isin(names), ~matrix.columns.isin(names)]


def matrix_means(matrix: pd.DataFrame, line: float = RECOVERED_WELL) -> MatrixMeans:
    """Mean over all cells, off and on the diagonal, and the share of cells off the diagonal strictly above `line`."""
    everything, own = matrix.to_numpy(dtype=float), own_cells(matrix)
    defined = np.isfinite(everything)
    far, home = everything[defined & ~own], everything[defined & own]
    return MatrixMeans(
        everything=_mean(everything[defined]),
        away=_mean(far),
        home=_mean(home),
        share_above=_mean(far > line),
        n_away=len(far),
        n_home=len(home),
    )


def family_means(matrix: pd.DataFrame, families: Mapping[str, str]) -> pd.DataFrame:
    """Mean off the diagonal of each block: families of the train sets as rows, of the eval sets as columns."""
    cells = away(matrix).stack().dropna()
    train, test = (cells.index.get_level_values(level).map(families) for level in (0, 1))
    return cells.groupby([train, test]).mean().unstack().rename_axis(index="train", columns="eval")


def means_of_rows(matrix: pd.DataFrame) -> pd.Series:
    """Mean of each row over the columns of other names: rows may be training sets, or methods or layers of one probe."""
    return away(matrix).mean(axis=1)


def means_of_columns(matrix: pd.DataFrame) -> pd.Series:
    """Mean of each column over the rows of other names."""
    return away(matrix).mean(axis=0)


def recovered_of_own(accuracy: pd.DataFrame) -> pd.DataFrame:
    """Recovered accuracy with each set's own probe as its ceiling, held within [0, 1] as published."""
    ceiling = pd.Series({name: accuracy.loc[name, name] for name in accuracy.columns})
    return (accuracy / ceiling).clip(0.0, 1.0)


def _mean(values) -> float:
    return float(np.mean(values)) if len(values) else float("nan")
