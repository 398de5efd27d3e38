"""All metrics of many probes on one test set: n, chance, a 95 % interval, a reason where undefined."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from probeshift.arrays import Correct, Groups, Labels, PerProbe, Scores
from probeshift.errors import UsageError, nearest
from probeshift.metrics.accuracy import correct_by_question, correct_by_row
from probeshift.metrics.estimates import auroc_estimate, question_accuracy, row_accuracy
from probeshift.metrics.intervals import NO_INTERVAL, resample_weights
from probeshift.metrics.published import corner_thresholds, sign_flips
from probeshift.metrics.questions import Counts, Flags, lay_out
from probeshift.metrics.undefined import Reasons, combine, reason_from_rows, reason_to_rank, reasons_from_scores

PROTOCOLS = ("strict", "published")
FROM_TRAINING = "training data"
FROM_EVALUATION = "evaluation labels"


@dataclass(frozen=True)
class Measure:
    """One metric of every probe on one test set.

    `value`, `low`, `high` are in [0, 1] (correlations in [-1, 1]) and NaN where undefined, with the word for it in
    `reason`. `n` counts `n_kind` ("questions" or "rows"). `chance` is what no knowledge gets. `ci_kind` says how each
    interval was made, see `metrics.intervals`. `n_excluded` counts bootstrap resamples left out because they held one
    class only.
    """

    name: str
    value: PerProbe
    low: PerProbe
    high: PerProbe
    n: int
    n_kind: str
    chance: float
    ci_kind: tuple[str, ...]
    reason: Reasons
    n_excluded: int = 0


@dataclass(frozen=True)
class Measurement:
    """What many probes score on one test set.

    `accuracy` is the headline: by question when the set has questions, else by row. `correct` holds it unit by unit,
    NaN for probes where it is undefined; `units` numbers its columns: rankable questions in ascending order of id, or
    all rows. `flipped` marks signs turned by the published protocol; `n_dropped` counts questions that cannot be
    ranked.
    """

    accuracy: Measure
    accuracy_row: Measure
    auroc: Measure
    correct: Correct
    units: Counts
    flipped: Flags
    n_dropped: int
    protocol: str
    sign_source: str
    threshold_source: str


def measure(
    scores: Scores,
    labels: Labels,
    groups: Groups | None = None,
    *,
    protocol: str = "strict",
    n_resamples: int = 1000,
    seed: int = 0,
) -> Measurement:
    """Accuracy and AUROC of every probe on one test set, with intervals.

    Args:
        scores: larger means "truer"; 0 is the threshold, so bias and threshold are already added.
        labels: used to count only, unless `protocol` is "published".
        groups: the question each row answers; None when rows are independent statements.
        protocol: "strict", or "published" to choose sign and (ungrouped) threshold on these very labels.
        n_resamples: bootstrap resamples, drawn once and shared by all probes.
        seed: of the resamples; equal inputs and seed give equal bits.

    Raises:
        UsageError: `protocol` is neither of the two.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"protocol `{protocol}` is not known. {nearest(protocol, PROTOCOLS)}")
    questions = lay_out(labels, groups)
    reasons = combine(reason_from_rows(questions), reasons_from_scores(scores))
    oriented = _orient(scores.astype(np.float64, copy=False), questions, reasons, protocol)
    weights = resample_weights(max(1, questions.n_questions), n_resamples, seed)
    by_row, hits = _by_row(oriented, questions, reasons, weights)
    headline, correct = replace(by_row, name="accuracy"), hits
    if questions.grouped:
        reasons_to_rank = combine(reason_to_rank(questions), reasons)
        headline, correct = _by_question(oriented, questions, reasons_to_rank, n_resamples=n_resamples, seed=seed)
    return Measurement(
        accuracy=headline,
        accuracy_row=by_row,
        auroc=_auroc(oriented, questions, reasons, weights),
        correct=correct,
        units=np.flatnonzero(questions.rankable) if questions.grouped else np.arange(len(labels)),
        flipped=oriented.flipped,
        n_dropped=int((~questions.rankable).sum()) if questions.grouped else 0,
        protocol=protocol,
        sign_source=FROM_EVALUATION if protocol == "published" else FROM_TRAINING,
        threshold_source=FROM_EVALUATION if protocol == "published" and not questions.grouped else FROM_TRAINING,
    )


@dataclass(frozen=True)
class _Oriented:
    """Scores after the protocol's sign flips, and the threshold above which a row is predicted true."""

    scores: Scores
    threshold: PerProbe
    flipped: Flags


def _orient(scores, questions, reasons, protocol) -> _Oriented:
    flipped, threshold = np.zeros(len(scores), dtype=bool), np.zeros(len(scores))
    defined = _defined(reasons)
    if protocol == "published" and len(defined):
        flipped[defined] = sign_flips(scores[defined], questions)
        scores = np.where(flipped[:, None], -scores, scores)
        if not questions.grouped:
            threshold[defined] = corner_thresholds(scores[defined], questions.labels)
    return _Oriented(scores, threshold, flipped)


def _by_row(oriented, questions, reasons, weights) -> tuple[Measure, Correct]:
    defined = _defined(reasons)
    hits = np.full(oriented.scores.shape, np.nan)
    hits[defined] = correct_by_row(oriented.scores[defined] - oriented.threshold[defined, None], questions)
    counts = {"n": len(questions.labels), "n_kind": "rows", "chance": questions.chance_by_row}
    estimate = row_accuracy(hits[defined], questions, weights) if len(defined) else None
    return spread("accuracy_row", estimate, reasons, **counts), hits


def _by_question(oriented, questions, reasons, *, n_resamples, seed) -> tuple[Measure, Correct]:
    defined = _defined(reasons)
    n = int(questions.rankable.sum())
    correct = np.full((len(reasons), n), np.nan)
    estimate = None
    if len(defined):
        correct[defined] = correct_by_question(oriented.scores[defined], questions)
        estimate = question_accuracy(correct[defined], resample_weights(n, n_resamples, seed))
    return spread("accuracy", estimate, reasons, n=n, n_kind="questions", chance=questions.chance_by_question), correct


def _auroc(oriented, questions, reasons, weights) -> Measure:
    defined = _defined(reasons)
    estimate = auroc_estimate(oriented.scores[defined], questions, weights) if len(defined) else None
    return spread("auroc", estimate, reasons, n=len(questions.labels), n_kind="rows", chance=0.5)


def _defined(reasons):
    return np.flatnonzero([reason is None for reason in reasons])


def spread(name, estimate, reasons, *, n, n_kind, chance) -> Measure:
    """An estimate of the defined probes as a measure of all of them, NaN in between."""
    value, low, high = np.full((3, len(reasons)), np.nan)
    kinds = [NO_INTERVAL] * len(reasons)
    if estimate is not None:
        defined = _defined(reasons)
        value[defined], low[defined], high[defined] = estimate.value, estimate.low, estimate.high
        for probe, kind in zip(defined, estimate.ci_kind, strict=True):
            kinds[probe] = kind
    n_excluded = 0 if estimate is None else estimate.n_excluded
    return Measure(name, value, low, high, n, n_kind, chance, tuple(kinds), reasons, n_excluded)
