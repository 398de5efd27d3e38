"""How much a text repeats itself. Low perplexity can mean loops; these two numbers tell.

Sources: Li et al. 2016 (distinct-n); Welleck et al. 2020 (share of repeated 4-grams).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence


def distinct_n(items: Sequence[Hashable], n: int) -> float | None:
    """Different n-grams over all n-grams of a sequence of token ids or words, in (0, 1]; None when it is shorter than n."""
    if n < 1:
        raise ValueError(f"n-grams need n of at least 1, got {n}")
    grams = [tuple(items[start : start + n]) for start in range(len(items) - n + 1)]
    return len(set(grams)) / len(grams) if grams else None


def repetition_rate(items: Sequence[Hashable], n: int = 4) -> float | None:
    """Share of n-grams that occurred earlier in the sequence, in [0, 1): 1 - distinct-n. None when it is shorter than n."""
    distinct = distinct_n(items, n)
    return None if distinct is None else 1.0 - distinct
