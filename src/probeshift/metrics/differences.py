"""Differences between probes on the same rows: paired, so that what makes a row hard for both cancels.

Sources: Efron and Tibshirani 1993 (paired bootstrap); McNemar 1947 in its exact form; Holm 1979.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from probeshift.arrays import Groups, Labels, Scores
from probeshift.metrics.intervals import resample_weights
from probeshift.metrics.questions import lay_out
from probeshift.metrics.ranking import auroc_resamples

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


def mcnemar_p(first: Hits, second: Hits) -> float:
    """Two-sided exact p of two detectors finding the same share of the same rows; 1 where no row tells them apart."""
    from scipy.stats import binomtest

    gained, lost = int((second & ~first).sum()), int((first & ~second).sum())
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that hold the chance of any false finding among all of these at the level they are compared with."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    found = np.empty_like(p)
    found[order] = np.minimum(adjusted, 1.0)
    return found.tolist()
