"""What each source adds to a mixture, over all subsets of the others: in the order it was added, last, and on average.

Source: Shapley 1953. Subsets that cannot be trained (one class, or none) have no value; the average is then over the pairs that
have one, with Shapley's weights made to sum to 1 again, and the count of pairs says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial

Values = Mapping[frozenset[str], float]
"""The value of each subset of sources that has one."""


@dataclass(frozen=True)
class MarginalGain:
    """Of one source: weighted mean over all subsets of the others, gain when added to all others, lowest and highest gain.

    None where no pair of subsets is defined. `n_pairs` of `n_pairs_in_all` pairs (with and without the source) had values.
    """

    source: str
    shapley: float | None
    add_last: float | None
    lowest: float | None
    highest: float | None
    n_pairs: int
    n_pairs_in_all: int


def marginal_gains(values: Values, sources: Sequence[str]) -> list[MarginalGain]:
    """One entry per source, in order. The empty mixture counts where `values` has it."""
    return [_gain(values, source, [s for s in sources if s != source]) for source in sources]


def _gain(values: Values, source: str, others: Sequence[str]) -> MarginalGain:
    found: list[tuple[float, float]] = []
    n = len(others) + 1
    subsets = [frozenset(chosen) for size in range(n) for chosen in combinations(others, size)]
    for subset in subsets:
        if subset in values and subset | {source} in values:
            weight = factorial(len(subset)) * factorial(n - len(subset) - 1) / factorial(n)
            found.append((weight, values[subset | {source}] - values[subset]))
    everything, rest = frozenset({*others, source}), frozenset(others)
    last = values[everything] - values[rest] if everything in values and rest in values else None
    if not found:
        return MarginalGain(source, None, last, None, None, 0, len(subsets))
    total = sum(weight for weight, _ in found)
    gains = [gain for _, gain in found]
    shapley = sum(weight * gain for weight, gain in found) / total
    return MarginalGain(source, shapley, last, min(gains), max(gains), len(found), len(subsets))
