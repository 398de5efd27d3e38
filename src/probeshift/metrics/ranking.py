"""AUROC: the chance that a random true row scores above a random false one, ties counting half.

Source: Bamber 1975; Hanley and McNeil 1982. Exact: every value is a ratio of whole (or half) numbers summed without
rounding.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from probeshift.arrays import Labels, PerProbe, Scores

RowWeights = Float[np.ndarray, "resample example"]
Resampled = Float[np.ndarray, "probe resample"]

RESAMPLE_ELEMENTS = 1 << 24  # cumulative weights held at once: 64 MB of float32
_EXACT_FLOAT32 = float(1 << 24)  # whole numbers up to here are exact in float32


def auroc(scores: Scores, labels: Labels) -> PerProbe:
    """AUROC of each probe over rows. NaN when a class is missing. Scores must be finite."""
    values = np.full(len(scores), np.nan)
    n_pairs = float(labels.sum()) * float((~labels).sum())
    if n_pairs:
        for probe, row in enumerate(scores):
            false_sorted, true = np.sort(row[~labels]), row[labels]
            below = np.searchsorted(false_sorted, true, "left")
            up_to = np.searchsorted(false_sorted, true, "right")
            values[probe] = (below.sum() + up_to.sum()) / (2.0 * n_pairs)
    return values


def auroc_resamples(scores: Scores, labels: Labels, row_weights: RowWeights) -> Resampled:
    """AUROC of each probe in each resample.

    Args:
        scores: finite.
        labels: both classes present.
        row_weights: how often each row occurs in each resample, whole numbers; one class only gives NaN.

    Cost: one sort and about (false rows + true rows) * resamples additions per probe.
    """
    weights = np.ascontiguousarray(row_weights.T)
    true_weights, false_weights = weights[labels], weights[~labels]
    n_pairs = true_weights.sum(axis=0, dtype=np.float64) * false_weights.sum(axis=0, dtype=np.float64)
    # Twice the pair count is the largest sum formed below.
    kind = np.float32 if 2.0 * n_pairs.max(initial=0.0) < _EXACT_FLOAT32 else np.float64
    true_weights, false_weights = true_weights.astype(kind), false_weights.astype(kind)
    block = max(1, RESAMPLE_ELEMENTS // len(labels))
    values = np.empty((len(scores), len(n_pairs)))
    for start in range(0, len(n_pairs), block):
        part = slice(start, start + block)
        held = np.ascontiguousarray(true_weights[:, part]), np.ascontiguousarray(false_weights[:, part])
        _fill(values[:, part], scores[:, labels], scores[:, ~labels], *held)
    with np.errstate(invalid="ignore"):
        return values / (2.0 * n_pairs)


def _fill(out, true_scores, false_scores, true_weights, false_weights) -> None:
    """Write twice the weighted number of correctly ordered pairs, ties counting half."""
    below = np.zeros((len(false_weights) + 1, false_weights.shape[1]), dtype=false_weights.dtype)
    for probe in range(len(true_scores)):
        order = np.argsort(false_scores[probe], kind="stable")
        _accumulate(below, false_weights, order)
        ranked = false_scores[probe][order]
        strictly = np.searchsorted(ranked, true_scores[probe], "left")
        up_to = np.searchsorted(ranked, true_scores[probe], "right")
        won = np.einsum("eb,eb->b", true_weights, below[strictly])
        tied = (strictly != up_to).any()
        out[probe] = won + np.einsum("eb,eb->b", true_weights, below[up_to]) if tied else 2 * won


def _accumulate(below, weights, order) -> None:
    # Adding whole contiguous rows is four times faster than np.cumsum down the first axis.
    for rank, row in enumerate(order):
        np.add(below[rank], weights[row], out=below[rank + 1])
