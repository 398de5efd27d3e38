"""Result rows as every summary reads them: which ones to keep, what must not be mixed, what to say when none match."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from probeshift.errors import UsageError, nearest
from probeshift.results import MAIN_TABLE, ResultFolder

PROBE_COLUMNS = ["model", "method", "seed", "train", "layer", "position"]
CONTROLS = ("random",)  # methods that learn nothing: never a ceiling, never a reason to choose a layer


class CellKey(NamedTuple):
    """Which probe on which set: the key of per-question correctness within one split of one result folder."""

    method: str
    train: str
    layer: int
    test: str


@dataclass(frozen=True)
class Won:
    """Questions won, as [question], NaN where undefined, by the probes of one result folder.

    `test` holds every probe on every set; `selection` needs only those on the set they were trained on, among which ceilings
    are chosen.
    """

    test: Mapping[CellKey, np.ndarray]
    selection: Mapping[CellKey, np.ndarray]

    @classmethod
    def read(cls, results: ResultFolder, table: str = MAIN_TABLE) -> Won:
        """Of a collected table.

        Raises:
            StoreError: the table was not collected.
        """
        test = {CellKey(*key): won for key, won in results.correct("test", table).items()}
        selection = {CellKey(*key): won for key, won in results.correct("selection", table, at_home=True).items()}
        return cls(test, selection)


def pick(rows: pd.DataFrame, **wanted: Any) -> pd.DataFrame:
    """The rows whose columns have the wanted values; a column wanted as None is left free."""
    keep = np.ones(len(rows), dtype=bool)
    for column, value in wanted.items():
        if value is not None:
            keep &= (rows[column] == value).to_numpy(dtype=bool)
    return rows[keep]


def refuse_mixed(rows, *columns) -> None:
    mixed = {name: listed(rows[name]) for name in columns if rows[name].nunique() > 1}
    if mixed:
        found = "; ".join(f"{name} {values}" for name, values in mixed.items())
        raise UsageError(f"these rows mix what must be looked at one by one: {found}. Keep one of each.")


def nothing_matches(rows, **wanted) -> str:
    """Which of the wanted values the rows lack, with the nearest ones they have."""
    for column, value in wanted.items():
        if not (rows[column] == value).any():
            return f"no rows with {column} `{value}`. {nearest(str(value), map(str, rows[column].unique()))}"
    asked = ", ".join(f"{column}={value}" for column, value in wanted.items())
    return f"no rows with {asked} together. Loosen one of them."


def listed(values) -> str:
    return ", ".join(f"`{value}`" for value in dict.fromkeys(values))
