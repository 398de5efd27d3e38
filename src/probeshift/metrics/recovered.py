"""Recovered accuracy: how much of the in-distribution ceiling a probe keeps on a test set it was not trained on.

Plain (accuracy / ceiling) flatters: a random direction recovers more than half of a binary ceiling. The
chance-corrected value, (accuracy - chance) / (ceiling - chance), is 0 for knowing nothing and 1 for the ceiling.
Neither is clipped here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from probeshift.arrays import Correct, PerProbe
from probeshift.metrics.intervals import BOOTSTRAP_QUESTIONS, NO_INTERVAL, TAIL, percentile, resample_weights
from probeshift.metrics.questions import PerQuestion, probe_chunks
from probeshift.metrics.undefined import Reasons

UNDEFINED_ACCURACY = "undefined_accuracy"
ZERO_CEILING = "ceiling_is_zero"
CEILING_NOT_ABOVE_CHANCE = "ceiling_not_above_chance"
CHANCE_UNKNOWN = "chance_unknown"
CEILING_NOT_CLEAR = "ceiling_not_clear_of_chance"  # in some resample it is at or below chance: no bounds
DEGENERATE_DISCORDANCE = "degenerate_discordance"


@dataclass(frozen=True)
class Ratio:
    """A ratio per probe with a 95 % interval. Where NaN, `reason` (value) and `ci_reason` (bounds) say why."""

    value: PerProbe
    low: PerProbe
    high: PerProbe
    ci_kind: tuple[str, ...]
    reason: Reasons
    ci_reason: Reasons


@dataclass(frozen=True)
class Recovered:
    """Recovered accuracy of many probes against one ceiling: `plain` is the ratio, `corrected` that above chance."""

    plain: Ratio
    corrected: Ratio

    @property
    def clipped(self) -> PerProbe:
        """The plain value held within [0, 1], as published."""
        return np.clip(self.plain.value, 0.0, 1.0)


def recovered_accuracy(
    correct: Correct, ceiling_correct: PerQuestion, *, chance: float, n_resamples: int = 1000, seed: int = 0
) -> Recovered:
    """Recovered accuracy with intervals from a paired bootstrap over the test questions.

    Args:
        correct: questions won by each probe (rows of `Measurement.correct`); a probe with NaN is undefined.
        ceiling_correct: the same questions won by the ceiling probe.
        chance: accuracy of a random pick on this test set; NaN when unknown.
        n_resamples: each resample draws the same questions for the probe and for the ceiling.
        seed: of the resamples.

    Where probe and ceiling keep the same ratio in all resamples (say, both win every question), the bound comes from
    the number of questions on which they differ: none of n, so at most 1 - 0.025^(1/n) of all questions (exact
    binomial).
    """
    weights = resample_weights(len(ceiling_correct), n_resamples, seed)
    paired = correct, ceiling_correct, weights
    return Recovered(plain=_ratio(*paired, floor=0.0), corrected=_ratio(*paired, floor=chance))


def ratio_of_values(accuracy: PerProbe, ceiling: PerProbe, floor: PerProbe) -> tuple[PerProbe, Reasons]:
    """(accuracy - floor) / (ceiling - floor) by cell, and why a cell is undefined. `floor` is 0 for the plain value."""
    reasons = tuple(map(_why_undefined, accuracy, ceiling, floor))
    defined = np.array([reason is None for reason in reasons], dtype=bool)
    span = np.where(defined, ceiling - floor, 1.0)
    return np.where(defined, (accuracy - floor) / span, np.nan), reasons


def _why_undefined(accuracy, ceiling, floor) -> str | None:
    if not (np.isfinite(accuracy) and np.isfinite(ceiling)):
        return UNDEFINED_ACCURACY
    if not np.isfinite(floor):
        return CHANCE_UNKNOWN
    if ceiling <= floor:
        return ZERO_CEILING if floor == 0.0 else CEILING_NOT_ABOVE_CHANCE
    return None


def _ratio(correct, ceiling_correct, weights, *, floor) -> Ratio:
    accuracy, ceiling = correct.mean(axis=1), float(ceiling_correct.mean())
    value, reasons = ratio_of_values(accuracy, np.full(len(correct), ceiling), np.full(len(correct), floor))
    bounds = np.full((2, len(correct)), np.nan)
    kinds, ci_reasons = [NO_INTERVAL] * len(correct), list(reasons)
    defined = np.flatnonzero(np.isfinite(value))
    spans = weights @ ceiling_correct / len(ceiling_correct) - floor
    if len(defined) and (spans <= 0).any():
        ci_reasons = [reason or CEILING_NOT_CLEAR for reason in reasons]
    elif len(defined):
        bounds[:, defined], found = _bounds(correct[defined], weights, spans, floor, ceiling - floor)
        for probe, kind in zip(defined, found, strict=True):
            kinds[probe] = kind
    return Ratio(value, bounds[0], bounds[1], tuple(kinds), reasons, tuple(ci_reasons))


def _bounds(correct, weights, spans, floor, span):
    bounds, kinds = np.empty((2, len(correct))), np.full(len(correct), BOOTSTRAP_QUESTIONS, dtype=object)
    for chunk in probe_chunks(len(correct), max(weights.shape)):
        interval = percentile((correct[chunk] @ weights.T / correct.shape[1] - floor) / spans)
        reach = np.where(interval.degenerate, (1.0 - TAIL ** (1.0 / correct.shape[1])) / span, 0.0)
        bounds[:, chunk] = interval.low - reach, interval.high + reach
        kinds[chunk][interval.degenerate] = DEGENERATE_DISCORDANCE
    bounds[0] = np.maximum(bounds[0], -floor / span)  # accuracy cannot fall below 0
    return bounds, kinds
