"""The three metrics as estimates: a value and a 95 % interval per probe, and how the interval was made."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probeshift.arrays import Correct, PerProbe, Scores
from probeshift.metrics import intervals
from probeshift.metrics.intervals import Interval, ResampleWeights
from probeshift.metrics.questions import Questions, probe_chunks
from probeshift.metrics.ranking import auroc, auroc_resamples


@dataclass(frozen=True)
class Estimate:
    """Values in [0, 1] with bounds, one per probe; `n_excluded` counts resamples left out as they held one class."""

    value: PerProbe
    low: PerProbe
    high: PerProbe
    ci_kind: tuple[str, ...]
    n_excluded: int = 0


def question_accuracy(correct: Correct, weights: ResampleWeights) -> Estimate:
    """Mean over questions: exact binomial interval where no question is a draw, else bootstrap over questions."""
    n = correct.shape[1]
    value = correct.mean(axis=1)
    plain = ((correct == 0.0) | (correct == 1.0)).all(axis=1)
    low, high = intervals.clopper_pearson(value * n, n)
    kinds = np.full(len(correct), intervals.CLOPPER_PEARSON, dtype=object)
    if not plain.all():
        interval = intervals.bootstrap_ratio(correct[~plain], np.ones(n), weights)
        low[~plain], high[~plain], kinds[~plain] = _with_bound(
            interval, (low[~plain], high[~plain]), intervals.BOOTSTRAP_QUESTIONS, intervals.DEGENERATE_QUESTIONS
        )
    return Estimate(value, low, high, tuple(kinds))


def row_accuracy(hits: Scores, questions: Questions, weights: ResampleWeights) -> Estimate:
    """Share of rows predicted right. Rows of a question depend on each other: grouped sets resample whole questions."""
    value = hits.mean(axis=1)
    exact = intervals.clopper_pearson(value * questions.n_questions, questions.n_questions)
    if not questions.grouped:
        return Estimate(value, *exact, (intervals.CLOPPER_PEARSON,) * len(hits))
    interval = intervals.bootstrap_ratio(questions.sum_by_question(hits), questions.n_rows.astype(np.float64), weights)
    low, high, kinds = _with_bound(interval, exact, intervals.BOOTSTRAP_QUESTIONS, intervals.DEGENERATE_QUESTIONS)
    return Estimate(value, low, high, tuple(kinds))


def auroc_estimate(scores: Scores, questions: Questions, weights: ResampleWeights) -> Estimate:
    """AUROC over rows with a percentile bootstrap over questions (rows when ungrouped); both classes present.

    Where all resamples are equal the bounds come from `intervals.independent_pairs`.
    """
    value = auroc(scores, questions.labels)
    kept = weights[_has_both_classes(questions, weights)]
    bound = _pair_bound(value, questions)
    if not len(kept):
        return Estimate(value, *bound, (intervals.DEGENERATE_PAIRS,) * len(value), n_excluded=len(weights))
    row_weights = kept.astype(np.float32)[:, questions.group_of_row]
    interval = _auroc_interval(scores, questions, row_weights)
    kind = intervals.BOOTSTRAP_QUESTIONS if questions.grouped else intervals.BOOTSTRAP_ROWS
    low, high, kinds = _with_bound(interval, bound, kind, intervals.DEGENERATE_PAIRS)
    return Estimate(value, low, high, tuple(kinds), n_excluded=len(weights) - len(kept))


def _auroc_interval(scores, questions, row_weights) -> Interval:
    chunks = probe_chunks(len(scores), max(len(row_weights), len(questions.labels)))
    parts = [intervals.percentile(auroc_resamples(scores[chunk], questions.labels, row_weights)) for chunk in chunks]
    columns = zip(*((part.low, part.high, part.degenerate) for part in parts), strict=True)
    return Interval(*map(np.concatenate, columns))


def _has_both_classes(questions, weights):
    n_true = weights @ questions.n_true
    return (n_true > 0) & (n_true < weights @ questions.n_rows)


def _pair_bound(value, questions) -> tuple[PerProbe, PerProbe]:
    pairs = intervals.independent_pairs(questions)
    return intervals.clopper_pearson(value * pairs, pairs)


def _with_bound(interval, bound, kind, degenerate_kind):
    flat = interval.degenerate
    kinds = np.where(flat, degenerate_kind, kind).astype(object)
    return np.where(flat, bound[0], interval.low), np.where(flat, bound[1], interval.high), kinds
