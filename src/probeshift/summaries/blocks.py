"""Resampled means of disjoint blocks of cells: any union of blocks has its mean and interval without resampling again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from probeshift.metrics.intervals import percentile
from probeshift.metrics.recovered import centred
from probeshift.summaries.resampling import replicated_means
from probeshift.summaries.study import Study

NO_CELLS = "nothing to count"
ALL_AGREE = "no interval: all resamples agree"

Resamples = Float[np.ndarray, " resample"]


@dataclass(frozen=True)
class ResampledMean:
    """A mean over `n_cells` cells, never above `most`; `drawn` is the same mean in each resample, all NaN for a `reason`."""

    value: float
    drawn: Resamples
    n_cells: int
    reason: str | None
    most: float


@dataclass(frozen=True)
class Blocks:
    """Row i of `groups` says what block i is made of; `value`, `drawn`, `n_cells` and `reasons` are by block. No cell exceeds `most`."""

    groups: pd.DataFrame
    value: Float[np.ndarray, " block"]
    drawn: Float[np.ndarray, "block resample"]
    n_cells: np.ndarray
    reasons: tuple[str | None, ...]
    most: float

    @classmethod
    def of(cls, study: Study, cells: pd.DataFrame, by: Sequence[str], *, corrected: bool = False) -> Blocks:
        """The cells of a study (at least one) in blocks of equal `by`. Draws are paired between blocks and between calls."""
        means = replicated_means(study, cells, by, corrected=corrected)
        most = 1.0 if study.published and not corrected else np.inf
        drawn = centred(means.value, means.replicates)
        return cls(means.groups, means.value, drawn, means.n_cells, means.ci_reason, most)

    def union(self, held: Bool[np.ndarray, " block"]) -> ResampledMean:
        """The mean over the cells of all held blocks, each cell counting the same."""
        filled = held & (self.n_cells > 0)
        if not filled.any():
            first = next((self.reasons[i] for i in np.flatnonzero(held)), None)
            return ResampledMean(np.nan, np.full(self.drawn.shape[1], np.nan), 0, first or NO_CELLS, self.most)
        weights = self.n_cells[filled] / self.n_cells[filled].sum()
        reasons = [self.reasons[i] for i in np.flatnonzero(filled) if self.reasons[i]]
        value, drawn = float(weights @ self.value[filled]), weights @ self.drawn[filled]
        return ResampledMean(value, drawn, int(self.n_cells[filled].sum()), next(iter(reasons), None), self.most)


def bounds_of(drawn: Resamples) -> tuple[float, float] | None:
    """The 95 % percentile bounds over resamples; None where all agree, which bounds nothing."""
    interval = percentile(drawn[None])
    return None if interval.degenerate[0] else (float(interval.low[0]), float(interval.high[0]))
