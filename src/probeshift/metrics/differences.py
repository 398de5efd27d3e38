"""Differences between probes on the same rows: paired, so that what makes a row hard for both cancels.

Sources: Efron and Tibshirani 1993 (paired bootstrap); McNemar 1947 in its exact form; Fisher 1935 (sign flips).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from probeshift.arrays import Groups, Labels, Scores
from probeshift.metrics.intervals import resample_weights
from probeshift.metrics.questions import lay_out
from probeshift.metrics.ranking import auroc_resamples
from probeshift.metrics.units import sign_flip_p

Drawn = Float[np.ndarray, "probe resample"]
Hits = Bool[np.ndarray, " example"]


def auroc_draws(
    scores: Scores, labels: Labels, groups: Groups | None = None, *, n_resamples: int = 1000, seed: int = 0
) -> Drawn:
    """AUROC of each probe in each resample of the rows (of whole groups), the same resamples for all probes.

    Resamples that hold one class only are left out. Differences between probes are paired.
    """
    questions = lay_out(labels, groups)
    weights = resample_weights(questions.n_questions, n_resamples, seed)
    n_true = weights @ questions.n_true
    kept = weights[(n_true > 0) & (n_true < weights @ questions.n_rows)]
    return auroc_resamples(scores, labels, kept.astype(np.float32)[:, questions.group_of_row])


def detection_p(first: Hits, second: Hits, groups: Groups | None = None) -> float:
    """Two-sided p of two detectors finding the same share of the same rows; 1 where no row tells them apart.

    Rows of a group change sides together. Where all groups that changed did so by equally many rows (single rows always do), it is
    McNemar's exact test; else signs are flipped (`sign_flip_p`).
    """
    from scipy.stats import binomtest

    rows = second.astype(np.float64) - first
    by_group = rows if groups is None else np.bincount(groups, weights=rows)
    changed = by_group[by_group != 0]
    if not len(changed):
        return 1.0
    if np.ptp(np.abs(changed)) == 0:
        return float(binomtest(int((changed > 0).sum()), len(changed)).pvalue)
    return sign_flip_p(changed)


def smallest_p(n_pairs: int) -> float:
    """The least two-sided p that independent pairs can give: that all of them change in one direction by chance."""
    return min(1.0, 2.0 ** (1 - n_pairs))
