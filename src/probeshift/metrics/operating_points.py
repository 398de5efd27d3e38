"""Operating points: what is detected at a threshold, with exact intervals, and when a false positive rate cannot be resolved.

A rate of false positives below 1 / n cannot be seen on n negatives, and one near it hangs on a single row. A target is resolved
here by at least three expected false positives: 300 negatives for 1 %, 60 for 5 %.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from probeshift.arrays import Labels
from probeshift.metrics.intervals import TAIL, clopper_pearson

FALSE_POSITIVES_TO_RESOLVE = 3
RowScores = Float[np.ndarray, " example"]


@dataclass(frozen=True)
class Rate:
    """A share of `n` rows with its 95 % interval; None with a reason where undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str | None = None


@dataclass(frozen=True)
class Threshold:
    """Scores strictly above `value` are detections. `reached` is the false positive rate on the negatives that set it."""

    target: float
    value: float | None
    reached: Rate
    reason: str | None = None


def rate_above(scores: RowScores, threshold: float, no_rows: str = "no_rows") -> Rate:
    """Share of scores above a threshold that these rows did not set, with its exact binomial interval."""
    if not len(scores):
        return Rate(None, reason=no_rows)
    count = np.array([(scores > threshold).sum()], dtype=np.float64)
    low, high = clopper_pearson(count, len(scores))
    return Rate(float(count[0] / len(scores)), float(low[0]), float(high[0]), len(scores))


def frozen_threshold(negatives: RowScores, target: float) -> Threshold:
    """The lowest score above which at most `target` of these negatives lie; not resolvable when they are too few."""
    reason = _not_resolvable(len(negatives), target)
    if reason:
        return Threshold(target, None, Rate(None, n=len(negatives), reason=reason), reason)
    value = _lowest_threshold(np.sort(negatives), target)
    return Threshold(target, value, rate_above(negatives, value))


def recall_at_fpr(scores: RowScores, labels: Labels, target: float, *, n_resamples: int = 1000, seed: int = 0) -> Rate:
    """Share of positives above the threshold at which at most `target` of this set's own negatives lie.

    The bounds resample positives and negatives apart and set the threshold anew each time; where all resamples agree they are
    the exact binomial ones, which take the threshold as given.
    """
    positives, negatives = scores[labels], scores[~labels]
    if not len(positives):
        return Rate(None, reason="single_class:negative")
    reason = "single_class:positive" if not len(negatives) else _not_resolvable(len(negatives), target)
    if reason:
        return Rate(None, n=len(positives), reason=reason)
    exact = rate_above(positives, _lowest_threshold(np.sort(negatives), target))
    generator = np.random.default_rng(seed)
    drawn = [_resampled_recall(positives, negatives, target, generator) for _ in range(n_resamples)]
    if np.ptp(drawn) == 0:
        return exact
    low, high = np.quantile(drawn, [TAIL, 1 - TAIL])
    return Rate(exact.value, float(low), float(high), len(positives))


def _resampled_recall(positives, negatives, target, generator) -> float:
    chosen = np.sort(generator.choice(negatives, len(negatives)))
    return float((generator.choice(positives, len(positives)) > _lowest_threshold(chosen, target)).mean())


def _lowest_threshold(ascending: RowScores, target: float) -> float:
    # The slack keeps 0.05 * 100 from being 5 less a rounding error.
    allowed = int(np.floor(target * len(ascending) + 1e-9))
    return float(ascending[len(ascending) - 1 - allowed])


def _not_resolvable(n: int, target: float) -> str | None:
    needed = int(np.ceil(FALSE_POSITIVES_TO_RESOLVE / target - 1e-9))
    return None if n >= needed else f"not_resolvable:{n}_of_{needed}_negatives"
