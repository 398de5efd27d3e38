"""Operating points: what is detected at a threshold, with its interval, and when a false positive rate cannot be resolved.

A rate of false positives below 1 / n cannot be seen on n negatives, and one near it hangs on a single row. A target is resolved
here by at least three expected false positives: 300 negatives for 1 %, 60 for 5 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from probeshift.arrays import Groups, Labels
from probeshift.metrics.estimates import row_accuracy
from probeshift.metrics.intervals import TAIL, resample_weights, row_weights
from probeshift.metrics.questions import lay_out

FALSE_POSITIVES_TO_RESOLVE = 3
RESAMPLED = "bootstrap_with_threshold"
RowScores = Float[np.ndarray, " example"]


@dataclass(frozen=True)
class Rate:
    """A share of `n` rows with its 95 % interval and how that was made; None with a reason where undefined."""

    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    reason: str | None = None
    ci_kind: str | None = None


@dataclass(frozen=True)
class Threshold:
    """Scores strictly above `value` are detections. `reached` is the false positive rate on the negatives that set it."""

    target: float
    value: float | None
    reached: Rate
    reason: str | None = None


def rate_above(
    scores: RowScores,
    threshold: float,
    groups: Groups | None = None,
    *,
    no_rows: str = "no_rows",
    n_resamples: int = 1000,
    seed: int = 0,
) -> Rate:
    """Share of scores above a threshold that these rows did not set.

    The interval is the exact binomial one; where rows share `groups`, it is of resamples of whole groups.
    """
    if not len(scores):
        return Rate(None, reason=no_rows)
    shared = groups is not None and len(np.unique(groups)) < len(groups)
    rows = lay_out(np.zeros(len(scores), dtype=bool), groups if shared else None)
    weights = resample_weights(rows.n_questions, n_resamples if shared else 0, seed)
    found = row_accuracy((scores > threshold).astype(np.float64)[None], rows, weights)
    return Rate(float(found.value[0]), float(found.low[0]), float(found.high[0]), len(scores), ci_kind=found.ci_kind[0])


def frozen_threshold(negatives: RowScores, target: float, groups: Groups | None = None, *, seed: int = 0) -> Threshold:
    """The lowest score above which at most `target` of these negatives lie; not resolvable when they are too few."""
    reason = _not_resolvable(len(negatives), target)
    if reason:
        return Threshold(target, None, Rate(None, n=len(negatives), reason=reason), reason)
    value = _lowest_threshold(np.sort(negatives), target)
    return Threshold(target, value, rate_above(negatives, value, groups, seed=seed))


def recall_at_fpr(
    scores: RowScores,
    labels: Labels,
    target: float,
    groups: Groups | None = None,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> Rate:
    """Share of positives above the threshold at which at most `target` of this set's own negatives lie.

    The bounds are those of resamples of the rows (of whole groups), each with its own threshold, and never narrower than those of
    `rate_above`, which take the threshold as given.
    """
    positives, negatives = scores[labels], scores[~labels]
    if not len(positives):
        return Rate(None, reason="single_class:negative")
    reason = "single_class:positive" if not len(negatives) else _not_resolvable(len(negatives), target)
    if reason:
        return Rate(None, n=len(positives), reason=reason)
    of_positives = None if groups is None else groups[labels]
    given = rate_above(
        positives, _lowest_threshold(np.sort(negatives), target), of_positives, n_resamples=n_resamples, seed=seed
    )
    weights = row_weights(groups, len(scores), n_resamples, seed)
    drawn = _resampled_recalls(positives, negatives, weights[:, labels], weights[:, ~labels], target)
    low, high = np.quantile(drawn, [TAIL, 1 - TAIL]) if len(drawn) else (1.0, 0.0)
    assert given.low is not None and given.high is not None
    return Rate(
        given.value, min(float(low), given.low), max(float(high), given.high), len(positives), ci_kind=RESAMPLED
    )


def _resampled_recalls(positives, negatives, of_positives, of_negatives, target) -> np.ndarray:
    """Recall in each resample that holds both classes; weights are [resample, row]."""
    n_positives, n_negatives = of_positives.sum(axis=1), of_negatives.sum(axis=1)
    order = np.argsort(-negatives)
    above = np.cumsum(of_negatives[:, order], axis=1)
    thresholds = negatives[order][np.argmax(above > _allowed(n_negatives, target)[:, None], axis=1)]
    found = (of_positives * (positives > thresholds[:, None])).sum(axis=1)
    kept = (n_positives > 0) & (n_negatives > 0)
    return found[kept] / n_positives[kept]


def _allowed(n: Any, target: float) -> Any:
    """How many of n negatives may lie above a threshold; n a number or an array."""
    return np.floor(target * n + 1e-9)  # the slack keeps 0.05 * 100 from being 5 less a rounding error


def _lowest_threshold(ascending: RowScores, target: float) -> float:
    return float(ascending[len(ascending) - 1 - int(_allowed(len(ascending), target))])


def _not_resolvable(n: int, target: float) -> str | None:
    needed = int(np.ceil(FALSE_POSITIVES_TO_RESOLVE / target - 1e-9))
    return None if n >= needed else f"not_resolvable:{n}_of_{needed}_negatives"
