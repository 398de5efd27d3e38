"""95 % intervals: exact for counts, percentile bootstrap over questions otherwise, honest bounds where that fails.

Sources: Clopper and Pearson 1934 (exact binomial); Efron 1979, Davison and Hinkley 1997, ch. 3.8 (resampling whole
clusters).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from probeshift.arrays import Correct, Groups, PerProbe
from probeshift.metrics.questions import Flags, PerQuestion, Questions, probe_chunks

LEVEL = 0.95
TAIL = (1.0 - LEVEL) / 2.0

CLOPPER_PEARSON = "clopper_pearson"
BOOTSTRAP_QUESTIONS = "bootstrap_questions"
BOOTSTRAP_ROWS = "bootstrap_rows"
DEGENERATE_QUESTIONS = "degenerate_clopper_pearson_questions"
DEGENERATE_PAIRS = "degenerate_clopper_pearson_pairs"
NO_INTERVAL = "none"
_DRAWS = 1 << 14  # drawn at once: few calls, and what is counted stays in a core's cache

ResampleWeights = Float[np.ndarray, "resample group"]
RowWeights = Float[np.ndarray, "resample example"]
Resampled = Float[np.ndarray, "probe resample"]


@dataclass(frozen=True)
class Interval:
    """Bounds per probe. `degenerate` marks probes whose resamples are all equal: their bounds say nothing."""

    low: PerProbe
    high: PerProbe
    degenerate: Flags


def resample_weights(n_units: int, n_resamples: int, seed: int) -> ResampleWeights:
    """How often each unit (question; row of an ungrouped set) is drawn in each resample. Rows sum to `n_units`."""
    generator = np.random.default_rng(seed)
    weights = np.empty((n_resamples, n_units))
    at_once = max(1, _DRAWS // max(1, n_units))
    for start in range(0, n_resamples, at_once):
        part = weights[start : start + at_once]
        drawn = generator.integers(n_units, size=part.shape)
        drawn += n_units * np.arange(len(part))[:, None]  # each resample counts in a range of its own
        part[:] = np.bincount(drawn.ravel(), minlength=part.size).reshape(part.shape)
    return weights


def row_weights(groups: Groups | None, n_rows: int, n_resamples: int, seed: int) -> RowWeights:
    """How often each row occurs in each resample: rows of one question together, single rows without `groups`."""
    units = np.arange(n_rows) if groups is None else np.unique(groups, return_inverse=True)[1]
    return resample_weights(int(units.max(initial=0)) + 1, n_resamples, seed)[:, units]


def clopper_pearson(successes: PerProbe, n: int | PerProbe) -> tuple[PerProbe, PerProbe]:
    """Exact binomial interval for `successes` out of `n`.

    A fractional count gets the same beta quantiles, which interpolate the exact bounds of its whole neighbours.
    """
    from scipy.special import betaincinv

    n = np.broadcast_to(np.asarray(n, dtype=np.float64), successes.shape)
    failures = n - successes
    # A Beta with a zero parameter is a point mass at 0 or 1; the 1s only keep the special function quiet there.
    low = betaincinv(np.where(successes > 0, successes, 1.0), failures + 1.0, TAIL)
    high = betaincinv(successes + 1.0, np.where(failures > 0, failures, 1.0), 1.0 - TAIL)
    return np.where(successes > 0, low, 0.0), np.where(failures > 0, high, 1.0)


def percentile(resampled: Resampled) -> Interval:
    """Percentile interval over resamples. Resamples that are NaN must have been left out."""
    low, high = np.quantile(resampled, [TAIL, 1.0 - TAIL], axis=1)
    return Interval(low, high, np.ptp(resampled, axis=1) <= 1e-12)


def resampled_ratio(top: Correct, bottom: PerQuestion, weights: ResampleWeights) -> Resampled:
    """Sum of `top` over sum of `bottom` in each resample of the questions: one matrix product for all probes."""
    return (top @ weights.T) / (weights @ bottom)


def bootstrap_ratio(top: Correct, bottom: PerQuestion, weights: ResampleWeights) -> Interval:
    """Percentile interval of the ratio of sums, in chunks over probes so that memory stays bounded."""
    low, high = np.empty((2, len(top)))
    degenerate = np.zeros(len(top), dtype=bool)
    for chunk in probe_chunks(len(top), max(weights.shape)):
        interval = percentile(resampled_ratio(top[chunk], bottom, weights))
        low[chunk], high[chunk], degenerate[chunk] = interval.low, interval.high, interval.degenerate
    return Interval(low, high, degenerate)


def independent_pairs(questions: Questions) -> int:
    """The most (true row, false row) pairs that share no question.

    Each such pair is ordered correctly with probability AUROC, independently of the others, so the number of correct
    pairs is binomial. That is what bounds an AUROC of exactly 1 or 0, where every bootstrap resample is equal. A pair
    needs two questions, one for its true and one for its false row, and a question serves once.
    """
    has_true, has_false = questions.n_true > 0, questions.n_true < questions.n_rows
    n_true, n_false, n_any = int(has_true.sum()), int(has_false.sum()), len(has_true)
    return min(n_true, n_false, n_any // 2)
