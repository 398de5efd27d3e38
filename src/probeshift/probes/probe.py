"""A probe is a direction and a bias in raw activation space; what learns one is not what is applied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from probeshift.arrays import Activations, AnswerTypes, Groups, Labels, LayerActivations, LayerDirections, PerLayer
from probeshift.errors import UsageError


@dataclass(frozen=True)
class LinearProbe:
    """Score = activation . direction + bias; a statement is called true when its score is above 0.

    `direction` is [d_model] in raw activation space; `layer` and `position` say where it was found.
    """

    direction: np.ndarray
    bias: float
    layer: int = -1
    position: str = "last"

    def score(self, acts: Activations) -> np.ndarray:
        """Scores [example], float64; larger = "truer"."""
        return acts.astype(np.float64) @ self.direction.astype(np.float64) + self.bias


@dataclass(frozen=True)
class TrainingSet:
    """Labelled activations of one mixture at several layers: what a method may see.

    `acts` is [layer, example, d_model] float32; `labels` True = true statement; `groups` the question of each row and
    `answer_types` the kind of answer it offers, None where the data has none.

    Raises:
        UsageError: one class only, or activations that are not finite.
    """

    name: str
    layers: tuple[int, ...]
    acts: LayerActivations
    labels: Labels
    groups: Groups | None = None
    answer_types: AnswerTypes | None = None

    def __post_init__(self) -> None:
        true = int(self.labels.sum())
        if true in (0, len(self.labels)):
            kind = "true" if true else "false"
            raise UsageError(
                f"training set `{self.name}` has one class only: all {len(self.labels)} rows are {kind}. Train on both."
            )
        if not np.isfinite(self.acts).all():
            raise UsageError(
                f"training set `{self.name}` holds activations that are not finite. Extract it again with --dtype float32."
            )


@dataclass(frozen=True)
class Fitted:
    """What a method found: [layer, d_model] directions and [layer] biases, or None where the threshold is still open."""

    directions: LayerDirections
    biases: PerLayer | None = None


@dataclass(frozen=True)
class Method:
    """One way to find a direction. Its file says what it assumes and what it costs.

    `sign`: "fitted" (labels decided it) or "train labels" (found without labels, then oriented once by the training labels).
    """

    name: str
    source: str
    fit: Callable[[TrainingSet, Sequence[int]], Fitted]
    sign: Literal["fitted", "train labels"]
    threshold: str
    needs_groups: bool = False
    control: bool = False
