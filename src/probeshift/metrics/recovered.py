"""Recovered accuracy: how much of the in-distribution ceiling a probe keeps on a test set it was not trained on.

Plain (accuracy / ceiling) flatters: a random direction recovers more than half of a binary ceiling. The
chance-corrected value, (accuracy - chance) / (ceiling - chance), is 0 for knowing nothing and 1 for the ceiling.
Neither is clipped here. Which probe is the ceiling was chosen on some hundred questions, often among near ties: each
resample chooses anew, so intervals hold for other selection questions too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from probeshift.arrays import Correct, PerProbe
from probeshift.metrics.intervals import (
    BOOTSTRAP_QUESTIONS,
    NO_INTERVAL,
    TAIL,
    Resampled,
    ResampleWeights,
    clopper_pearson,
    percentile,
)
from probeshift.metrics.questions import probe_chunks
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


@dataclass(frozen=True)
class Ceiling:
    """The accuracy that the cells of one test set are divided by: as it is, and in each resample.

    `chosen` is the place of the ceiling probe among the candidates in each resample, `weights` are those of the test questions.
    """

    value: float
    drawn: Float[np.ndarray, " resample"]
    chosen: Int[np.ndarray, " resample"]
    weights: ResampleWeights

    @classmethod
    def choose(
        cls,
        selection: Float[np.ndarray, "probe selected"],
        test: Correct,
        selection_weights: Float[np.ndarray, "resample selected"],
        weights: ResampleWeights,
    ) -> Ceiling:
        """The best candidate on the selection questions (the first of ties), judged on the test questions.

        Args:
            selection: selection questions won by each candidate, all of them defined.
            test: test questions won by the same candidates.
            selection_weights: resamples of the selection questions, by each of which a candidate is chosen.
            weights: as many resamples of the test questions.
        """
        chosen = (selection @ selection_weights.T).argmax(axis=0)
        best = test[int(selection.mean(axis=1).argmax())]
        drawn = np.einsum("rq,rq->r", weights, test[chosen]) / test.shape[1]
        return cls(float(best.mean()), drawn, chosen, weights)

    @property
    def bounds(self) -> tuple[float, float]:
        """95 % bounds of `value`, moved to lie around it (`centred`), within [0, 1]; exact where all resamples agree."""
        value, n = np.array([self.value]), self.weights.shape[1]
        interval = percentile(centred(value, self.drawn[None]))
        low, high = clopper_pearson(value * n, n) if interval.degenerate[0] else (interval.low, interval.high)
        return max(0.0, float(low[0])), min(1.0, float(high[0]))


def recovered_accuracy(correct: Correct, ceiling: Ceiling, *, chance: float) -> Recovered:
    """Recovered accuracy with intervals from a paired bootstrap over the test questions.

    Args:
        correct: questions won by each probe (rows of `Measurement.correct`); a probe with NaN is undefined.
        ceiling: of the same test questions; each resample draws the same ones for the probe and for the ceiling.
        chance: accuracy of a random pick on this test set; NaN when unknown.

    Where probe and ceiling keep the same ratio in all resamples (say, both win every question), the bound comes from
    the number of questions on which they differ: none of n, so at most 1 - 0.025^(1/n) of all questions (exact
    binomial).
    """
    return Recovered(plain=_ratio(correct, ceiling, floor=0.0), corrected=_ratio(correct, ceiling, floor=chance))


def centred(value: PerProbe, replicates: Resampled) -> Resampled:
    """Replicates moved to lie around the value itself.

    Clipping pulls a resampled mean down, a ceiling that is resampled or chosen anew pulls it up, and many cells narrow its spread:
    not centred, an interval can miss what it is an interval of.
    """
    return replicates + (value - replicates.mean(axis=1))[:, None]


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


def _ratio(correct, ceiling, *, floor) -> Ratio:
    tops, floors = np.full(len(correct), ceiling.value), np.full(len(correct), floor)
    value, reasons = ratio_of_values(correct.mean(axis=1), tops, floors)
    bounds = np.full((2, len(correct)), np.nan)
    kinds, ci_reasons = [NO_INTERVAL] * len(correct), list(reasons)
    defined = np.flatnonzero(np.isfinite(value))
    if len(defined) and (ceiling.drawn <= floor).any():
        ci_reasons = [reason or CEILING_NOT_CLEAR for reason in reasons]
    elif len(defined):
        bounds[:, defined], found = _bounds(correct[defined], value[defined], ceiling, floor)
        for probe, kind in zip(defined, found, strict=True):
            kinds[probe] = kind
    return Ratio(value, bounds[0], bounds[1], tuple(kinds), reasons, tuple(ci_reasons))


def _bounds(correct, value, ceiling, floor):
    bounds, kinds = np.empty((2, len(correct))), np.full(len(correct), BOOTSTRAP_QUESTIONS, dtype=object)
    weights, span = ceiling.weights, ceiling.value - floor
    for chunk in probe_chunks(len(correct), max(weights.shape)):
        drawn = (correct[chunk] @ weights.T / correct.shape[1] - floor) / (ceiling.drawn - floor)
        interval = percentile(centred(value[chunk], drawn))
        reach = np.where(interval.degenerate, (1.0 - TAIL ** (1.0 / correct.shape[1])) / span, 0.0)
        bounds[:, chunk] = interval.low - reach, interval.high + reach
        kinds[chunk][interval.degenerate] = DEGENERATE_DISCORDANCE
    bounds[0] = np.maximum(bounds[0], -floor / span)  # accuracy cannot fall below 0
    return bounds, kinds
