"""A threshold from training rows, for directions that come without one."""

from __future__ import annotations

import numpy as np

from probeshift.arrays import Labels, PerProbe, Scores


def best_balanced_thresholds(scores: Scores, labels: Labels) -> PerProbe:
    """The score above which calling rows true gives the best balanced accuracy; both classes present, scores finite.

    Between two neighbouring scores every threshold does equally well: the midpoint is returned, which is also what
    makes a probe and its negation agree. Of several best gaps, the first from below.
    """
    return np.array([_best(row, labels) for row in scores]).reshape(len(scores))


def _best(scores: np.ndarray, labels: np.ndarray) -> float:
    values, where = np.unique(scores, return_inverse=True)
    true_below = np.cumsum(np.bincount(where, weights=labels)) / labels.sum()
    false_below = np.cumsum(np.bincount(where, weights=~labels)) / (~labels).sum()
    if len(values) == 1:
        return float(values[0])
    best = int(np.argmax((false_below - true_below)[:-1]))  # cutting above the largest score calls every row false
    return float((values[best] + values[best + 1]) / 2)
