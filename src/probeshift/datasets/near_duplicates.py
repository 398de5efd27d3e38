"""Texts that are nearly the same: word n-grams compared by MinHash, candidates checked exactly.

Two texts are near-duplicates when their sets of word trigrams share at least `threshold` of their union (Jaccard). Augmented
copies of a test text in a training set are found this way; paraphrases are not.

Sources: Broder 1997 (MinHash); Leskovec, Rajaraman and Ullman 2020, ch. 3 (bands).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

THRESHOLD = 0.5
_N_GRAM = 3
_BANDS, _ROWS = 100, 3  # a pair at the threshold is missed with probability (1 - 0.5^3)^100 = 2e-6
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class TextPair:
    """Row of the first list, row of the second, and the share of their trigrams in common."""

    first: int
    second: int
    similarity: float


@dataclass(frozen=True)
class TextSketches:
    """Texts as near-duplicates are looked for: hashes of each one's trigrams, and its bands [text, band]."""

    grams: tuple[frozenset[int], ...]
    bands: np.ndarray

    @classmethod
    def of(cls, texts: Sequence[str]) -> TextSketches:
        """Sketches of texts; make them once where the same texts are compared with several others."""
        hashed = [_hashed_n_grams(text) for text in texts]
        signatures = [_signature(of_text) for of_text in hashed]
        return cls(
            tuple(frozenset(h.tolist()) for h in hashed),
            _mixed(np.array(signatures, dtype=np.uint64).reshape(len(texts), _BANDS, _ROWS)),
        )


def near_duplicates(
    first: Sequence[str] | TextSketches,
    second: Sequence[str] | TextSketches | None = None,
    *,
    threshold: float = THRESHOLD,
) -> list[TextPair]:
    """Pairs across two lists, or within one (each pair once), most similar first."""
    one = first if isinstance(first, TextSketches) else TextSketches.of(first)
    other = one if second is None else second if isinstance(second, TextSketches) else TextSketches.of(second)
    found = [
        TextPair(row, match, similarity)
        for row, match in _candidates(one.bands, other.bands)
        if (second is not None or match > row)
        and (similarity := _jaccard(one.grams[row], other.grams[match])) >= threshold
    ]
    return sorted(found, key=lambda pair: (-pair.similarity, pair.first, pair.second))


def _candidates(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[int, int]]:
    """Rows of both lists that agree in a band, each pair once."""
    orders = np.argsort(second, axis=0).T
    ordered = [others[order] for others, order in zip(second.T, orders, strict=True)]
    low, high = (
        np.stack([np.searchsorted(others, keys, side) for others, keys in zip(ordered, first.T, strict=True)], axis=1)
        for side in ("left", "right")
    )
    for row in range(len(first)):
        agrees = np.zeros(len(second), dtype=bool)
        for band in np.flatnonzero(high[row] > low[row]):
            agrees[orders[band, low[row, band] : high[row, band]]] = True
        yield from ((row, int(match)) for match in np.flatnonzero(agrees))


def _jaccard(first: frozenset[int], second: frozenset[int]) -> float:
    common = len(first & second)
    return common / (len(first) + len(second) - common)


def duplicate_groups(n_rows: int, pairs: Sequence[TextPair]) -> list[int]:
    """A number per row; rows joined by pairs, directly or through others, have the same one (that of their first row)."""
    leader = list(range(n_rows))

    def find(row: int) -> int:
        while leader[row] != row:
            leader[row] = leader[leader[row]]
            row = leader[row]
        return row

    for pair in pairs:
        low, high = sorted((find(pair.first), find(pair.second)))
        leader[high] = low
    return [find(row) for row in range(n_rows)]


_FACTORS = np.random.default_rng(0).integers(0, 2**63, size=(2, _BANDS * _ROWS), dtype=np.uint64) | np.uint64(1)
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: odd, with no pattern in its bits


def _hashed_n_grams(text: str) -> np.ndarray:
    """A text of fewer words is one n-gram."""
    words = np.array([_hashed(word) for word in _WORD.findall(text.lower())], dtype=np.uint64)
    n_grams = max(1, len(words) - _N_GRAM + 1)
    parts = (
        np.stack([words[i : i + n_grams] for i in range(_N_GRAM)], axis=-1) if len(words) >= _N_GRAM else words[None]
    )
    return _mixed(parts)


@lru_cache(maxsize=1 << 17)
def _hashed(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def _mixed(parts: np.ndarray) -> np.ndarray:
    """One hash of the hashes along the last axis, in their order."""
    mixed = np.zeros(parts.shape[:-1], dtype=np.uint64)
    for part in np.moveaxis(parts, -1, 0):
        mixed = (mixed ^ part) * _MIX
        mixed ^= mixed >> np.uint64(29)
    return mixed


def _signature(hashed: np.ndarray) -> np.ndarray:
    """The smallest of all n-grams under each hash function (multiply-add modulo 2^64, upper half)."""
    values = hashed[:, None] * _FACTORS[0]
    values += _FACTORS[1]
    return values.min(axis=0) >> np.uint64(32)
