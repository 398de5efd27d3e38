"""What a steering method is worth, over concepts: gains, recovery of the native gain, harm, non-inferiority.

The unit is the concept: its score is the mean over its test prompts. All conditions of a comparison hold the same concepts in
the same order. Strengths must have been chosen on other prompts than the scores come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from probeshift.errors import UsageError
from probeshift.metrics.units import (
    BOTTOM_NOT_CLEAR,
    Estimate,
    PerUnit,
    mean_estimate,
    ratio_of_sums,
    share_estimate,
    sign_flip_p,
    why_not_above_zero,
)

KEPT_SHARE = 0.8  # default margin of non-inferiority: at least this share of the native gain is kept
_ONE_SIDED = 0.90  # the lower bound of a two-sided 90 % interval is a one-sided 95 % bound

NO_NATIVE_GAIN = "native_gain_not_above_zero"

PerPrompt = Float[np.ndarray, " example"]


@dataclass(frozen=True)
class Comparison:
    """One condition against another: mean difference over concepts, with its test and how many concepts it harms.

    `p` is two-sided (sign flips); `improved` and `harmed` are shares of concepts, the rest is unchanged.
    """

    difference: Estimate
    p: float
    improved: Estimate
    harmed: Estimate


@dataclass(frozen=True)
class NonInferiority:
    """Whether a transferred vector keeps at least `kept_share` of the native gain: a one-sided test at 5 %.

    `surplus` is the mean of (transfer - none) - kept_share x (native - none); its `low` is the one-sided 95 % bound. `shown` is
    True when that is above 0, False when not (which is no proof of inferiority), None with a `reason` when undefined.
    """

    kept_share: float
    surplus: Estimate
    p: float
    shown: bool | None
    reason: str | None


def concept_means(scores: PerPrompt, concepts: Sequence[str]) -> dict[str, float]:
    """Mean score of each concept over its prompts; missing ratings (NaN) are left out, a concept without any is NaN."""
    if len(scores) != len(concepts):
        raise UsageError(f"{len(scores)} scores for {len(concepts)} concept names; each score needs its concept.")
    grouped: dict[str, list[float]] = {concept: [] for concept in concepts}
    for score, concept in zip(scores, concepts, strict=True):
        if np.isfinite(score):
            grouped[concept].append(float(score))
    return {concept: float(np.mean(some)) if some else float("nan") for concept, some in grouped.items()}


def align(conditions: Mapping[str, Mapping[str, float]]) -> tuple[dict[str, PerUnit], list[str], list[str]]:
    """The conditions as arrays over the concepts defined in all of them, those concepts, and the ones left out."""
    named = list(dict.fromkeys(concept for scores in conditions.values() for concept in scores))
    kept = [one for one in named if all(np.isfinite(scores.get(one, np.nan)) for scores in conditions.values())]
    arrays = {name: np.array([scores[one] for one in kept], dtype=float) for name, scores in conditions.items()}
    return arrays, kept, [one for one in named if one not in set(kept)]


def compare(scores: PerUnit, other: PerUnit, *, tolerance: float = 0.0, seed: int = 0) -> Comparison:
    """`scores` minus `other`, concept by concept. Changes of at most `tolerance` count as unchanged."""
    differences = scores - other
    return Comparison(
        difference=mean_estimate(differences, seed=seed),
        p=sign_flip_p(differences, seed=seed),
        improved=share_estimate((differences > tolerance).tolist()),
        harmed=share_estimate((differences < -tolerance).tolist()),
    )


def recovery(*, transfer: PerUnit, none: PerUnit, native: PerUnit, seed: int = 0) -> Estimate:
    """Share of the native gain that the transferred vector reaches, as a ratio of sums over concepts with a 95 % interval.

    0 is no steering, 1 the native vector; it may be negative or above 1. NaN ("n/a") with a reason unless the interval of the
    native gain lies above 0.
    """
    found = ratio_of_sums(transfer - none, native - none, seed=seed)
    return replace(found, reason=_told(found.reason), ci_reason=_told(found.ci_reason))


def native_gain_problem(*, none: PerUnit, native: PerUnit, seed: int = 0) -> str | None:
    """Why nothing can be recovered of the native gain; None when its 95 % interval lies above 0."""
    return _told(why_not_above_zero(native - none, seed=seed))


def non_inferiority(
    *, transfer: PerUnit, none: PerUnit, native: PerUnit, kept_share: float = KEPT_SHARE, seed: int = 0
) -> NonInferiority:
    """Test of "keeps at least `kept_share` of the native gain". Fix the share before looking at results.

    Raises:
        UsageError: `kept_share` is not between 0 and 1.
    """
    if not 0.0 < kept_share <= 1.0:
        raise UsageError(f"the share of the native gain to keep must be in (0, 1], got {kept_share}.")
    surpluses = (transfer - none) - kept_share * (native - none)
    surplus = mean_estimate(surpluses, level=_ONE_SIDED, seed=seed)
    reason = surplus.ci_reason or native_gain_problem(none=none, native=native, seed=seed)
    p = float("nan") if reason else sign_flip_p(surpluses, one_sided=True, seed=seed)
    return NonInferiority(kept_share, surplus, p, None if reason else surplus.low > 0.0, reason)


def _told(reason: str | None) -> str | None:
    return NO_NATIVE_GAIN if reason == BOTTOM_NOT_CLEAR else reason
