"""Statistics over independent units (concepts, rules): means with BCa intervals, ratios of sums, sign-flip tests, Holm.

A unit is what was drawn; prompts and samples within it depend on each other, so a unit enters as one number.

Sources: Efron 1987 (BCa); Fisher 1935 (sign flips); Holm 1979; Clopper and Pearson 1934.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from probeshift.metrics.intervals import LEVEL, NO_INTERVAL, TAIL, clopper_pearson, resample_weights

PerUnit = Float[np.ndarray, " unit"]

N_RESAMPLES = 10_000
FEWEST_UNITS = 5  # a bootstrap of fewer draws the same few means again and again

BCA, PERCENTILE = "bca_units", "percentile_units"
TOO_FEW_UNITS = "too_few_units"
ALL_EQUAL = "all_units_equal"
NOT_FINITE = "non_finite_values"
BOTTOM_NOT_CLEAR = "denominator_not_clear_of_zero"

_EXACT_UNITS = 13  # 2^13 sign patterns are fewer than the 10,000 that would be drawn
_FLIP_CHUNK = 1_000


@dataclass(frozen=True)
class Estimate:
    """A number with bounds. NaN where undefined: `reason` says why the value is, `ci_reason` why the bounds are."""

    value: float
    low: float
    high: float
    n: int
    ci_kind: str = NO_INTERVAL
    reason: str | None = None
    ci_reason: str | None = None


def mean_estimate(values: PerUnit, *, level: float = LEVEL, seed: int = 0) -> Estimate:
    """Mean over units with a two-sided BCa bootstrap interval; percentile where BCa is undefined."""
    problem = _problem(values)
    value = float(values.mean()) if problem != NOT_FINITE and len(values) else float("nan")
    if problem:
        return _without_bounds(value, len(values), problem)
    for kind, method in ((BCA, "BCa"), (PERCENTILE, "percentile")):
        low, high = _bootstrap(values, method, level, seed)
        if np.isfinite([low, high]).all():
            return Estimate(value, low, high, len(values), kind)
    raise AssertionError


def ratio_of_sums(top: PerUnit, bottom: PerUnit, *, seed: int = 0, n_resamples: int = N_RESAMPLES) -> Estimate:
    """Sum of `top` over sum of `bottom`, paired by unit, with a 95 % percentile interval over resampled units.

    Undefined unless the interval of the bottom's mean lies above 0. Resamples whose bottom is not above 0 say nothing of the
    ratio: they count as below the lower bound and as above the upper one.
    """
    unknown, n = float("nan"), len(top)
    reason = why_not_above_zero(bottom, seed=seed) if np.isfinite(top).all() else NOT_FINITE
    if reason:
        return Estimate(unknown, unknown, unknown, n, reason=reason, ci_reason=reason)
    value, weights = float(top.sum() / bottom.sum()), resample_weights(n, n_resamples, seed)
    tops, bottoms = weights @ top, weights @ bottom
    positive = bottoms > 0.0
    ratios = tops / np.where(positive, bottoms, 1.0)
    low = float(np.quantile(np.where(positive, ratios, -np.inf), TAIL, method="lower"))
    high = float(np.quantile(np.where(positive, ratios, np.inf), 1.0 - TAIL, method="higher"))
    if not np.isfinite([low, high]).all():
        return Estimate(value, unknown, unknown, n, ci_reason=BOTTOM_NOT_CLEAR)
    return Estimate(value, low, high, n, PERCENTILE)


def why_not_above_zero(values: PerUnit, *, seed: int = 0) -> str | None:
    """None when the interval of the mean lies above 0 (or all units are the same number above 0), else what is in the way."""
    mean = mean_estimate(values, seed=seed)
    if mean.ci_reason == ALL_EQUAL:
        return None if mean.value > 0.0 else BOTTOM_NOT_CLEAR
    return mean.ci_reason or (None if mean.low > 0.0 else BOTTOM_NOT_CLEAR)


def share_estimate(hits: Sequence[bool]) -> Estimate:
    """Share of units with an exact binomial 95 % interval."""
    n = len(hits)
    if not n:
        return _without_bounds(float("nan"), 0, TOO_FEW_UNITS)
    low, high = clopper_pearson(np.array([float(sum(hits))]), n)
    return Estimate(sum(hits) / n, float(low[0]), float(high[0]), n, "clopper_pearson")


def sign_flip_p(
    differences: PerUnit, *, one_sided: bool = False, seed: int = 0, n_resamples: int = N_RESAMPLES
) -> float:
    """p of a mean difference under random signs: two-sided, or `one_sided` for a mean above 0. NaN without units.

    Exact up to 13 units; beyond, `n_resamples` random patterns, p = (1 + as extreme) / (1 + patterns).
    """
    n = len(differences)
    if not n or not np.isfinite(differences).all():
        return float("nan")
    exact = n <= _EXACT_UNITS
    generator = np.random.default_rng(seed)
    extreme = n_patterns = 0
    while n_patterns < (2**n if exact else n_resamples):
        signs = (
            _all_signs(n)
            if exact
            else generator.integers(0, 2, (min(_FLIP_CHUNK, n_resamples - n_patterns), n)) * 2 - 1
        )
        extreme += _n_extreme(signs @ differences, differences, one_sided)
        n_patterns += len(signs)
    return extreme / n_patterns if exact else (1 + extreme) / (1 + n_patterns)


def holm(p: Sequence[float]) -> list[float]:
    """Holm's adjusted p of a family of tests, in their order; undefined tests stay NaN and count for none."""
    values = np.asarray(p, dtype=np.float64)
    adjusted = np.full(len(values), np.nan)
    tested = np.flatnonzero(np.isfinite(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return adjusted.tolist()


def _problem(values: PerUnit) -> str | None:
    if not np.isfinite(values).all():
        return NOT_FINITE
    if len(values) < FEWEST_UNITS:
        return TOO_FEW_UNITS
    return ALL_EQUAL if np.ptp(values) == 0.0 else None


def _without_bounds(value: float, n: int, why: str) -> Estimate:
    reason = why if np.isnan(value) else None
    return Estimate(value, float("nan"), float("nan"), n, reason=reason, ci_reason=why)


def _bootstrap(values: PerUnit, method: str, level: float, seed: int) -> tuple[float, float]:
    import warnings

    from scipy.stats import bootstrap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a degenerate BCa says so by NaN
        found = bootstrap(
            (values,),
            np.mean,
            n_resamples=N_RESAMPLES,
            confidence_level=level,
            method=method,
            random_state=np.random.default_rng(seed),
        ).confidence_interval
    return float(found.low), float(found.high)


def _all_signs(n: int) -> np.ndarray:
    return (np.arange(2**n)[:, None] >> np.arange(n) & 1) * 2 - 1


def _n_extreme(sums: np.ndarray, differences: PerUnit, one_sided: bool) -> int:
    """Sums at least as extreme as the observed one; sums that differ by rounding only are equal."""
    observed, slack = differences.sum(), 1e-12 * np.abs(differences).sum()
    return int((sums >= observed - slack).sum() if one_sided else (np.abs(sums) >= abs(observed) - slack).sum())
