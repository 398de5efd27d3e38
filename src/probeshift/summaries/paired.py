"""Which methods differ: paired tests of mean recovered accuracy over all pairs, with false discoveries held down.

A pair is compared on the cells both methods have, so a method that cannot use sets without questions is not judged by them.
Two tests, for two claims:

    p       resamples the questions of these test sets, the same ones for both methods. Small: the difference would stand with
            other questions from the same sets. It holds no variation over sets or training seeds.
    p_sets  takes a test set as one observation (Wilcoxon's signed ranks of the mean differences). Small: the difference has the
            same sign over so many sets that other sets like these would show it too.

Sources: Davison and Hinkley 1997, ch. 4 (bootstrap tests); Demšar 2006 (methods over data sets); Benjamini and Hochberg 1995.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from probeshift.summaries.blocks import Blocks, Resamples, bounds_of
from probeshift.summaries.counted import CELL, beside
from probeshift.summaries.generalisation import counted
from probeshift.summaries.rows import CONTROLS
from probeshift.summaries.study import Study

FEWEST_SETS = 6  # five signed ranks never give p < 0.0625
NO_COMMON_CELLS = "no cells that both methods have"
NOTHING_DIFFERS = "both methods win the same questions"
TOO_FEW_SETS = f"fewer than {FEWEST_SETS} test sets differ, no test over sets"

_PAIR = (
    "method_a", "method_b", "mean_a", "mean_b", "difference", "ci_low", "ci_high", "p", "p_sets", "n_cells", "n_sets", "reason",
)  # fmt: skip

# Means of cells are sums of floats: what differs by less is equal.
_DECIMALS = 12

PerSet = Float[np.ndarray, " set"]


def compare_methods(study: Study) -> pd.DataFrame:
    """One row per pair of methods, the control included: how far their mean recovered accuracies are apart, and whether at all.

    `mean_a`, `mean_b` and `difference` (a - b) are over the `n_cells` cells both have, `ci_low` and `ci_high` the 95 %
    percentile bounds of the difference. `p` and `p_sets` are two-sided (see the module); `q` and `q_sets` are the same after
    Benjamini and Hochberg over all pairs. `n_sets` counts test sets. Where a number is undefined, `reason` says why.
    Methods come highest mean first, the control last. One method alone has no pairs: the table is empty.

    Raises:
        UsageError: no cell counts.
    """
    cells = comparable_cells(study)
    methods = methods_of(study, cells)
    shared = _SharedMeans.of(study, cells, methods)
    rows = [shared.compare(a, b) for a, b in combinations(methods, 2)]
    table = pd.DataFrame(rows, columns=list(_PAIR)).assign(
        reason=pd.Series([row["reason"] for row in rows], dtype=object)
    )
    table["q"], table["q_sets"] = discovery_rates(table["p"]), discovery_rates(table["p_sets"])
    stamp = {"model": study.model, "protocol": study.protocol, "counted": study.counted_words}
    return table.assign(**stamp)


def comparable_cells(study: Study) -> pd.DataFrame:
    """The defined cells methods are compared on: `study.counted`, and the controls beside them.

    Raises:
        UsageError: no cell counts.
    """
    cells = pd.concat([counted(study), beside(study, counted(study))], ignore_index=True)
    return cells[cells[study.measure].notna()]


def methods_of(study: Study, cells: pd.DataFrame) -> list[str]:
    """The methods that have one of these cells: highest mean first, controls last."""
    present = set(cells["method"])
    return [name for name in [*study.method_order, *CONTROLS] if name in present]


def bootstrap_p(differences: Resamples) -> float:
    """Two-sided p of a difference from its bootstrap resamples: (1 + 2 x resamples on the rarer side of 0) / (1 + resamples).

    At most 1; resamples at exactly 0 count on both sides.
    """
    rounded = np.round(differences, _DECIMALS)
    rarer = min((rounded <= 0).sum(), (rounded >= 0).sum())
    return float(min(1.0, (1 + 2 * rarer) / (1 + len(rounded))))


def signed_rank_p(differences: PerSet) -> float:
    """Two-sided p of Wilcoxon's signed ranks over test sets, exact without ties; sets that do not differ are left out.

    NaN when fewer than six sets differ.
    """
    from scipy.stats import wilcoxon

    rounded = np.round(differences, _DECIMALS)
    telling = rounded[rounded != 0]
    return float(wilcoxon(telling).pvalue) if len(telling) >= FEWEST_SETS else np.nan


def discovery_rates(p: pd.Series) -> pd.Series:
    """Benjamini and Hochberg's adjusted p over the defined tests; undefined ones stay NaN and count for none."""
    from scipy.stats import false_discovery_control

    rates, tested = p.astype(float).copy(), p.notna()
    if tested.any():
        rates[tested] = false_discovery_control(p[tested].to_numpy(dtype=float))
    return rates


@dataclass(frozen=True)
class _SharedMeans:
    """Cells in blocks that the same methods hold: any pair's common cells are a union of blocks.

    `holders` has a bit per method that has the cells of a block; `by_set` has the sum of the measure by block and test set.
    """

    bits: dict[str, int]
    blocks: Blocks
    by_set: pd.DataFrame

    @classmethod
    def of(cls, study: Study, cells: pd.DataFrame, methods: list[str]) -> _SharedMeans:
        bits = {name: 1 << number for number, name in enumerate(methods)}
        bit = cells["method"].map(bits)
        cells = cells.assign(holders=bit.groupby([cells[name] for name in CELL]).transform("sum"))
        blocks = Blocks.of(study, cells, ["method", "holders"])
        by_set = cells.groupby(["method", "holders", "test"])[study.measure].agg(total="sum", n="count")
        return cls(bits, blocks, by_set.reset_index())

    def compare(self, a: str, b: str) -> dict[str, Any]:
        mean_a, mean_b = (self.blocks.union(self._held(self.blocks.groups, *pair)) for pair in ((a, b), (b, a)))
        found: dict[str, Any] = {"method_a": a, "method_b": b, "mean_a": mean_a.value, "mean_b": mean_b.value}
        found |= {"difference": mean_a.value - mean_b.value} | dict.fromkeys(
            ("ci_low", "ci_high", "p", "p_sets"), np.nan
        )
        if not mean_a.n_cells:
            return {**found, "n_cells": 0, "n_sets": 0, "reason": NO_COMMON_CELLS}
        by_set = self._by_set(a, b) - self._by_set(b, a)
        found |= {"n_cells": mean_a.n_cells, "n_sets": len(by_set)}
        found["p_sets"] = signed_rank_p(by_set.to_numpy(dtype=float))
        why = mean_a.reason or mean_b.reason
        return {**found, **({"reason": why} if why else _tested(mean_a.drawn - mean_b.drawn, found["p_sets"]))}

    def _by_set(self, method: str, other: str) -> pd.Series:
        sums = self.by_set[self._held(self.by_set, method, other)].groupby("test")[["total", "n"]].sum()
        return sums["total"] / sums["n"]

    def _held(self, table: pd.DataFrame, method: str, other: str) -> np.ndarray:
        """Which rows are of `method`, on cells that `other` has too."""
        return (table["method"].eq(method) & (table["holders"] & self.bits[other]).astype(bool)).to_numpy()


def _tested(drawn: Resamples, p_sets: float) -> dict[str, Any]:
    """Bounds and p of a pair from its resampled differences, and the reason for what stays undefined."""
    bounds, p = bounds_of(drawn), bootstrap_p(drawn)
    if bounds is None:
        return {"p": p, "reason": NOTHING_DIFFERS}
    return {"ci_low": bounds[0], "ci_high": bounds[1], "p": p, "reason": TOO_FEW_SETS if np.isnan(p_sets) else None}
