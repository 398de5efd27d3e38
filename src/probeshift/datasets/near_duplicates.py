"""Texts that are nearly the same: word n-grams compared by MinHash, candidates checked exactly.

Two texts are near-duplicates when their sets of word trigrams share at least `threshold` of their union (Jaccard). Augmented
copies of a test text in a training set are found this way; paraphrases are not.

Sources: Broder 1997 (MinHash); Leskovec, Rajaraman and Ullman 2020, ch. 3 (bands).
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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


def near_duplicates(
    first: Sequence[str], second: Sequence[str] | None = None, *, threshold: float = THRESHOLD
) -> list[TextPair]:
    """Pairs across two lists, or within one (each pair once), most similar first."""
    grams = [_n_grams(text) for text in first]
    signatures = [_signature(found) for found in grams]
    others = grams if second is None else [_n_grams(text) for text in second]
    buckets: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for row, signature in enumerate(signatures if second is None else map(_signature, others)):
        for key in _keys(signature):
            buckets[key].append(row)
    found = []
    for row, signature in enumerate(signatures):
        candidates = {other for key in _keys(signature) for other in buckets.get(key, ())}
        for other in sorted(candidates):
            if second is None and other <= row:
                continue
            similarity = len(grams[row] & others[other]) / len(grams[row] | others[other])
            if similarity >= threshold:
                found.append(TextPair(row, other, similarity))
    return sorted(found, key=lambda pair: (-pair.similarity, pair.first, pair.second))


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


def _n_grams(text: str) -> frozenset[str]:
    words = _WORD.findall(text.lower())
    return frozenset(" ".join(words[i : i + _N_GRAM]) for i in range(max(1, len(words) - _N_GRAM + 1)))


_FACTORS = np.random.default_rng(0).integers(0, 2**63, size=(2, _BANDS * _ROWS), dtype=np.uint64) | np.uint64(1)


def _signature(grams: frozenset[str]) -> np.ndarray:
    """The smallest of all hashed n-grams under each hash function (multiply-add modulo 2^64, upper half)."""
    hashed = np.array(
        [int.from_bytes(hashlib.blake2b(g.encode(), digest_size=8).digest(), "little") for g in grams], dtype=np.uint64
    )
    return ((hashed[:, None] * _FACTORS[0] + _FACTORS[1]) >> np.uint64(32)).min(axis=0)


def _keys(signature: np.ndarray) -> Iterator[tuple[int, bytes]]:
    for band, part in enumerate(signature.reshape(_BANDS, _ROWS)):
        yield band, part.tobytes()
