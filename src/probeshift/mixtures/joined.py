"""All rows of all sets below each other, each source cut once into rows to train on and rows held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from probeshift.datasets.splits import ENTITY_JOINT
from probeshift.feature_tables import FeatureTable, join
from probeshift.mixture_scores import HELD_OUT, NEITHER, TEST, TRAIN
from probeshift.provenance import sha256_json, sha256_text

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class JoinedRows:
    """`values` [example, feature], float64 and sparse where few are not 0; `rows` says of each: set, part, label, group, n_tokens."""

    values: Any
    rows: pd.DataFrame
    fingerprint: str

    @property
    def labels(self) -> np.ndarray:
        return self.rows["label"].to_numpy(dtype=bool)

    @property
    def sources(self) -> list[str]:
        return list(dict.fromkeys(self.rows.loc[self.rows["part"] != TEST, "set"]))

    def training(self, sources: Sequence[str]) -> np.ndarray:
        """Which rows a probe on these sources is trained on."""
        return (self.rows["set"].isin(list(sources)) & self.rows["part"].eq(TRAIN)).to_numpy()

    def places(self, name: str, part: str) -> list[int]:
        """Places within a set of its rows of one part."""
        return np.flatnonzero(self.rows.loc[self.rows["set"] == name, "part"].eq(part)).tolist()

    def without_training(self, places: Mapping[str, Sequence[int]]) -> JoinedRows:
        """The same rows, with those at the given places of their sets used by nobody."""
        rows = self.rows.copy()
        for name, of_set in places.items():
            rows.loc[rows.index[rows["set"] == name][list(of_set)], "part"] = NEITHER
        return replace(self, rows=rows)


def join_sets(sources: Sequence[tuple[FeatureTable, float]], tests: Sequence[FeatureTable], *, seed: int) -> JoinedRows:
    """Join sources and tests. Beside each source stands the share of its rows (of its groups) that no probe is trained on.

    A group is on one side of the cut in every source. A row about two entities that fall on different sides is on neither.

    Raises:
        UsageError: sets of unequal width.
    """
    import pandas as pd

    shares = _share_of_groups(sources)
    parts = [_part_of(table, share, shares, seed) for table, share in sources]
    parts += [np.full(len(t.labels), TEST) for t in tests]
    tables = [*(table for table, _ in sources), *tests]
    rows = [
        pd.DataFrame({
            "set": table.name, "part": part, "label": table.labels,
            "group": _group_names(table),
            "grouped": table.groups is not None, "n_tokens": table.n_tokens or np.nan,
        })
        for table, part in zip(tables, parts, strict=True)
    ]  # fmt: skip
    contents = [[t.name, t.fingerprint, t.labels.tolist(), list(t.groups or ())] for t in tables]
    cut = [share for _, share in sources]
    return JoinedRows(join(tables), pd.concat(rows, ignore_index=True), sha256_json([contents, cut, seed]))


def _share_of_groups(sources: Sequence[tuple[FeatureTable, float]]) -> dict[str, float]:
    """The share held out that a group is cut by: the least of the sources it is in, so that none trains on what another tests."""
    found: dict[str, float] = {}
    for table, share in sources:
        for entity in {e for group in table.groups or () for e in group.split(ENTITY_JOINT)}:
            found[entity] = min(share, found.get(entity, 1.0))
    return found


def _part_of(table: FeatureTable, held_out: float, shares: Mapping[str, float], seed: int) -> np.ndarray:
    """`train`, `held_out` or `neither` per row; entities go by their name."""
    if table.groups is not None:
        return np.array([_side(group, shares, seed) for group in table.groups], dtype=object)
    parts = np.full(len(table.labels), TRAIN, dtype=object)
    generator = np.random.default_rng(int(sha256_text(f"{seed}:{table.name}")[:12], 16))
    for truth in (True, False):  # the same share of each class
        of_class = np.flatnonzero(table.labels == truth)
        parts[generator.permutation(of_class)[: round(held_out * len(of_class))]] = HELD_OUT
    return parts


def _side(group: str, shares: Mapping[str, float], seed: int) -> str:
    sides = {int(sha256_text(f"{seed}:{e}")[:12], 16) < shares[e] * 16**12 for e in group.split(ENTITY_JOINT)}
    return NEITHER if len(sides) == 2 else HELD_OUT if sides == {True} else TRAIN


def _group_names(table: FeatureTable) -> list[str]:
    """Given groups keep their names over all sets; a row without one is alone."""
    return list(table.groups) if table.groups is not None else [f"{table.name} {i}" for i in range(len(table.labels))]
