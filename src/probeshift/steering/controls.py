"""Vectors that are there to be beaten: random directions, and the mean over concepts. And the other half: a ceiling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from probeshift.errors import UsageError
from probeshift.provenance import sha256_text
from probeshift.steering.contrasts import Contrast
from probeshift.steering.vectors import SteeringVector, normalised


def random_vector(like: SteeringVector, seed: int) -> SteeringVector:
    """A random unit vector in the place of another: the same concept, layer, length and unit of strength."""
    direction = np.random.default_rng(seed).normal(size=like.direction.shape)
    card = replace(like.card, method="random direction", details={"seed": seed, "in place of": like.card.method})
    return replace(normalised(direction, card), card=replace(card, norm=like.card.norm))


def mean_vector(vectors: Sequence[SteeringVector], concept: str = "mean") -> SteeringVector:
    """The mean of unit vectors of one model and layer: what concepts have in common. Its unit of strength is theirs on average.

    Raises:
        UsageError: no vectors, or of several layers or models.
    """
    if len({(v.card.weights, v.layer) for v in vectors}) != 1:
        raise UsageError("a mean vector needs vectors of one layer of one model.")
    card = replace(
        vectors[0].card,
        concept=concept,
        method="mean of vectors",
        data="",
        n_positive=None,
        n_negative=None,
        details={"of": [v.concept for v in vectors]},
    )
    units = [v.card.max_activation for v in vectors]
    measured = None if None in units else float(np.mean([u for u in units if u is not None]))
    mean = np.mean([v.direction.astype(np.float64) for v in vectors], axis=0)
    return normalised(mean, replace(card, max_activation=measured, max_activation_rows=None))


def halves(rows: Sequence[Contrast]) -> tuple[list[Contrast], list[Contrast]]:
    """Two disjoint halves of each concept's positives and of its negatives, by hash of the prompt (of the response, where
    a concept has one prompt only). Their vectors agree as well as any other could with either.

    Where positives and negatives answer the same prompts, the answers to one prompt stay together.
    """
    prompts: dict[str, set[str]] = {}
    for row in rows:
        prompts.setdefault(row.concept, set()).add(row.prompt)
    kinds: dict[tuple[str, bool], dict[str, list[Contrast]]] = {}
    for row in rows:
        key = row.prompt if len(prompts[row.concept]) > 1 else row.response
        kinds.setdefault((row.concept, row.positive), {}).setdefault(key, []).append(row)
    found: tuple[list[Contrast], list[Contrast]] = ([], [])
    for by_key in kinds.values():
        for number, key in enumerate(sorted(by_key, key=sha256_text)):
            found[number % 2].extend(by_key[key])
    return found
