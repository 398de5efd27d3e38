"""How much better one set of predictions is than another on the same rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probeshift.arrays import Groups, Targets
from probeshift.grid.fitting import score_rows
from probeshift.metrics.intervals import TAIL, row_weights
from probeshift.metrics.ranking import auroc_resamples
from probeshift.metrics.regression import spearman_resamples
from probeshift.probes.folds import Task


@dataclass(frozen=True)
class Difference:
    """First minus second, with a paired bootstrap interval over questions (rows where ungrouped)."""

    value: float
    low: float
    high: float


def compare_rows(
    task: Task, pair: np.ndarray, targets: Targets, groups: Groups | None, *, n_resamples: int, seed: int
) -> Difference | None:
    """The difference of the scores of two predictions [2, row] on the same resamples; None where a score is undefined."""
    values = score_rows(task, pair, targets)
    if np.isnan(values).any():
        return None
    weights = row_weights(groups, len(targets), n_resamples, seed)
    if task == "regression":
        draws = spearman_resamples(pair, targets, weights)
    else:
        draws = auroc_resamples(pair, targets > 0.5, weights.astype(np.float32))
    draws = draws[:, np.isfinite(draws).all(axis=0)]
    low, high = np.quantile(draws[0] - draws[1], [TAIL, 1 - TAIL])
    return Difference(float(values[0] - values[1]), float(low), float(high))
