"""How close carried vectors come to a model's own: cosines, raw and without what concepts have in common, and retrieval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Directions = Mapping[str, np.ndarray]
_NOTHING = 1e-4  # of a unit vector in float32


@dataclass(frozen=True)
class Closeness:
    """One concept: cosine with its own native vector, the same without what concepts have in common, and its rank.

    `cosine_specific` is the cosine of what is left of both when the common direction is taken out of each; None where
    nothing is left. `rank` counts from 1 how many native vectors are at least as close as its own.
    """

    cosine: float
    cosine_specific: float | None
    rank: int


def closeness(carried: Directions, native: Directions, common: np.ndarray | None) -> dict[str, Closeness]:
    """How close each carried vector is to the native vector of its concept, by concept id, never by order.

    `common` [d_model] is the mean of the native vectors of other concepts; None leaves `cosine_specific` out. Its direction is
    projected out: subtracting it from both sides would put the same vector into both, and random vectors would look alike.
    """
    found = {}
    for concept, direction in carried.items():
        cosines = {other: cosine(direction, own) for other, own in native.items()}
        specific = None
        if common is not None:
            specific = _specific(direction, native[concept], common)
        rank = sum(value >= cosines[concept] for value in cosines.values())
        found[concept] = Closeness(cosines[concept], specific, rank)
    return found


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Cosine of two vectors, in float64."""
    a, b = one.astype(np.float64), other.astype(np.float64)
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def _specific(one: np.ndarray, other: np.ndarray, common: np.ndarray) -> float | None:
    shared = common.astype(np.float64) / np.linalg.norm(common)
    left = [v - (v @ shared) * shared for v in (one.astype(np.float64), other.astype(np.float64))]
    return cosine(*left) if min(np.linalg.norm(v) for v in left) > _NOTHING else None
