"""How well numbers are predicted: Spearman's rank correlation and the explained share of variance, with intervals.

Source: Spearman 1904; with ties it is the Pearson correlation of average ranks (Kendall 1945). Resamples draw whole questions
where rows share one.
"""

from __future__ import annotations

import numpy as np

from probeshift.arrays import Groups, PerProbe, Scores, Targets
from probeshift.metrics import intervals
from probeshift.metrics.estimates import Estimate
from probeshift.metrics.intervals import NO_INTERVAL, Resampled, RowWeights, row_weights
from probeshift.metrics.measurement import Measure
from probeshift.metrics.measurement import spread as spread_out
from probeshift.metrics.undefined import CONSTANT_BELOW, TOO_FEW_ROWS, Reasons, combine, reasons_from_scores

CONSTANT_TARGETS = "constant_targets"


def spearman(scores: Scores, targets: Targets) -> PerProbe:
    """Rank correlation of each probe's scores with the targets; NaN where either is constant."""
    from scipy.stats import rankdata

    ranks, wanted = rankdata(scores, axis=1), rankdata(targets)
    ranks, wanted = ranks - ranks.mean(1, keepdims=True), wanted - wanted.mean()
    size = np.sqrt((ranks**2).sum(1) * (wanted**2).sum())
    return np.divide(ranks @ wanted, size, out=np.full(len(scores), np.nan), where=size > 0)


def spearman_resamples(scores: Scores, targets: Targets, row_weights: RowWeights) -> Resampled:
    """Rank correlation of each probe in each resample; `row_weights` says how often each row occurs in it."""
    wanted = _average_ranks(targets, row_weights)
    size = row_weights.sum(1)
    middle = ((size + 1) / 2)[:, None]  # the mean of all ranks
    values = np.empty((len(scores), len(row_weights)))
    for probe, row in enumerate(scores):
        ranks = _average_ranks(row, row_weights)
        products = ((a - middle) * (b - middle) for a, b in ((ranks, wanted), (ranks, ranks), (wanted, wanted)))
        cross, own, other = ((row_weights * p).sum(1) for p in products)
        values[probe] = np.divide(cross, np.sqrt(own * other), out=np.full(len(own), np.nan), where=own * other > 0)
    return values


def _average_ranks(values: Targets, row_weights: RowWeights) -> RowWeights:
    """The average rank of each row among the rows of a resample, repeats counted."""
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.diff(values[order], prepend=np.nan) != 0)
    tied = np.add.reduceat(row_weights[:, order], starts, axis=1)
    of_value = np.cumsum(tied, axis=1) - (tied - 1) / 2
    ranks = np.empty_like(row_weights)
    ranks[:, order] = np.repeat(of_value, np.diff(starts, append=len(values)), axis=1)
    return ranks


def explained_variance(predictions: Scores, targets: Targets) -> PerProbe:
    """1 - squared errors / squared deviations from the mean: 1 is perfect, 0 the mean, negative worse than the mean."""
    return 1 - ((predictions - targets) ** 2).sum(1) / ((targets - targets.mean()) ** 2).sum()


def measure_regression(
    predictions: Scores,
    targets: Targets,
    groups: Groups | None = None,
    *,
    n_resamples: int = 1000,
    seed: int = 0,
) -> tuple[Measure, Measure]:
    """`spearman` and `r2` of every probe on one test set, with percentile bootstrap intervals over questions.

    Args:
        predictions: in the units of the targets.
        targets: used to count only.
        groups: the question of each row; None when rows are independent.
        n_resamples: drawn once and shared by all probes.
        seed: of the resamples.
    """
    reasons = combine(_reason_from_targets(targets), reasons_from_scores(predictions))
    defined = [i for i, reason in enumerate(reasons) if reason is None]
    weights = row_weights(groups, len(targets), n_resamples, seed)
    kind = intervals.BOOTSTRAP_ROWS if groups is None else intervals.BOOTSTRAP_QUESTIONS
    found = predictions[defined].astype(np.float64)
    estimates = (
        (_bounded(spearman(found, targets), spearman_resamples(found, targets, weights), kind),
         _bounded(explained_variance(found, targets), _variance_resamples(found, targets, weights), kind))
        if defined else (None, None)
    )  # fmt: skip
    counts = {"n": len(targets), "n_kind": "rows", "chance": 0.0}
    first, second = (
        spread_out(name, e, reasons, **counts) for name, e in zip(("spearman", "r2"), estimates, strict=True)
    )
    return first, second


def _reason_from_targets(targets: Targets) -> str | None:
    if len(targets) < 2:
        return TOO_FEW_ROWS
    return CONSTANT_TARGETS if np.ptp(targets) <= CONSTANT_BELOW * np.abs(targets).max() else None


def _variance_resamples(predictions: Scores, targets: Targets, row_weights: RowWeights) -> Resampled:
    errors = (predictions - targets) ** 2 @ row_weights.T
    total = row_weights @ targets**2 - (row_weights @ targets) ** 2 / row_weights.sum(1)
    return 1 - np.divide(errors, total, out=np.full(errors.shape, np.nan), where=total > 0)


def _bounded(value: PerProbe, resampled: Resampled, kind: str) -> Estimate:
    """Percentile bounds; none where every resample is equal, since then they say nothing."""
    kept = np.isfinite(resampled).all(axis=0)  # a resample may hold one value only
    interval = intervals.percentile(resampled[:, kept])
    low, high = (np.where(interval.degenerate, np.nan, bound) for bound in (interval.low, interval.high))
    kinds = tuple(NO_INTERVAL if flat else kind for flat in interval.degenerate)
    return Estimate(value, low, high, kinds, n_excluded=int((~kept).sum()))


def rank_scores(scores: Scores, targets: Targets) -> tuple[PerProbe, Reasons]:
    """Spearman without intervals, and why it is undefined; for comparing many candidates."""
    reasons = combine(_reason_from_targets(targets), reasons_from_scores(scores))
    defined = np.array([reason is None for reason in reasons])
    values = np.full(len(scores), np.nan)
    values[defined] = spearman(scores[defined], targets)
    return values, reasons
