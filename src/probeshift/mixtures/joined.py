"""All rows of all sets below each other, each source cut once into rows to train on and rows held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probeshift.feature_tables import FeatureTable, join
from probeshift.mixture_scores import HELD_OUT, TEST, TRAIN
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


def join_sets(sources: Sequence[tuple[FeatureTable, float]], tests: Sequence[FeatureTable], *, seed: int) -> JoinedRows:
    """Join sources and tests. Beside each source stands the share of its rows (of its groups) that no probe is trained on.

    The cut of a source depends on its name, rows and the seed only, not on what else is there.

    Raises:
        UsageError: sets of unequal width.
    """
    import pandas as pd

    parts = [_part_of(table, share, seed) for table, share in sources] + [np.full(len(t.labels), TEST) for t in tests]
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
    shares = [share for _, share in sources]
    return JoinedRows(join(tables), pd.concat(rows, ignore_index=True), sha256_json([contents, shares, seed]))


def _part_of(table: FeatureTable, held_out: float, seed: int) -> np.ndarray:
    """`train` or `held_out` per row. Groups go by their name, so that a group in several sources is on one side in all of them."""
    parts = np.full(len(table.labels), TRAIN, dtype=object)
    if table.groups is not None:
        parts[[int(sha256_text(f"{seed}:{g}")[:12], 16) < held_out * 16**12 for g in table.groups]] = HELD_OUT
        return parts
    generator = np.random.default_rng(int(sha256_text(f"{seed}:{table.name}")[:12], 16))
    for truth in (True, False):  # the same share of each class
        of_class = np.flatnonzero(table.labels == truth)
        parts[generator.permutation(of_class)[: round(held_out * len(of_class))]] = HELD_OUT
    return parts


def _group_names(table: FeatureTable) -> list[str]:
    """Given groups keep their names over all sets; a row without one is alone."""
    return list(table.groups) if table.groups is not None else [f"{table.name} {i}" for i in range(len(table.labels))]
