"""A probe is a direction and a bias in raw activation space; what learns one is not what is applied."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from probeshift.arrays import Activations, AnswerTypes, Groups, Labels, LayerActivations, LayerDirections, PerLayer
from probeshift.errors import UsageError

if TYPE_CHECKING:
    import torch

    from probeshift.probes.rows import Rows

ON_TRAINING_ROWS = "best balanced accuracy on the training rows"


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
    `answer_types` the kind of answer it offers, None where the data has none; `device` is where solvers run.

    Raises:
        UsageError: one class only, or activations that are not finite or the same in every row.
    """

    name: str
    layers: tuple[int, ...]
    acts: LayerActivations
    labels: Labels
    groups: Groups | None = None
    answer_types: AnswerTypes | None = None
    device: str = "cpu"

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
        constant = [layer for layer, a in zip(self.layers, self.acts, strict=True) if (a == a[:1]).all()]
        if constant:
            raise UsageError(
                f"training set `{self.name}` has the same activation in every row at layer {', '.join(map(str, constant))}. "
                "Choose layers or a token position at which the texts differ."
            )

    @cached_property
    def rows(self) -> Rows:
        """The rows relative to their mean, in float64, factored once for all methods."""
        from probeshift.probes.rows import Rows

        values = self._float64()
        return Rows(values.sub_(self.mean[:, None]))

    @cached_property
    def mean(self) -> torch.Tensor:
        """The mean row [layer, d_model]."""
        return self._float64().mean(1)

    def _float64(self) -> torch.Tensor:
        import torch

        return torch.from_numpy(self.acts).to(self.device, torch.float64)

    def tensor(self, name: Literal["labels", "groups", "answer_types"]) -> torch.Tensor:
        """Labels, groups or answer types as a tensor where the rows are."""
        import torch

        return torch.tensor(getattr(self, name)).to(self.device)

    def given_groups(self) -> Groups:
        """The groups, for methods that cannot do without.

        Raises:
            UsageError: the data has no questions.
        """
        if self.groups is None:
            raise UsageError(
                f"this method compares the answers of one question, `{self.name}` has no questions. Use `dim`."
            )
        return self.groups

    def require(self, enough: bool, what: str) -> None:
        """Refuse a training set that is too small for a method.

        Raises:
            UsageError: not `enough`.
        """
        if not enough:
            raise UsageError(f"training set `{self.name}` is too small: this method needs {what}. Raise --train-limit.")


@dataclass(frozen=True)
class Fitted:
    """What a method found: [layer, d_model] directions and [layer] biases, or None where the threshold is still open.

    `failures` says per layer why a fit is no solution, None where it is one; empty when all are.
    """

    directions: LayerDirections
    biases: PerLayer | None = None
    failures: tuple[str | None, ...] = ()

    @classmethod
    def failed(cls, training: TrainingSet, why: str) -> Fitted:
        """No solution at any layer."""
        n_layers, _, d_model = training.acts.shape
        return cls(np.full((n_layers, d_model), np.nan), None, (why,) * n_layers)


@dataclass(frozen=True)
class Method:
    """One way to find a direction. Its file says what it assumes and what it costs.

    `sign`: "fitted" (labels decided it) or "train labels" (found without labels, then oriented once by the training labels).
    `procedure` is "published" for a variant that stands in for the method of the same name under that protocol.
    """

    name: str
    source: str
    solve: Callable[[TrainingSet, Sequence[int]], Fitted]
    sign: Literal["fitted", "train labels"]
    threshold: str
    needs_groups: bool = False
    control: bool = False
    least_rows: int = 2
    procedure: str = ""

    def fit(self, training: TrainingSet, seeds: Sequence[int]) -> Fitted:
        """Directions at all layers of the training set, one seed a layer.

        Raises:
            UsageError: the training set lacks the questions or rows the method needs.
        """
        if self.needs_groups:
            groups = training.given_groups()
            training.require(len(np.unique(groups)) < len(groups), "questions with more than one answer")
        training.require(len(training.labels) >= self.least_rows, f"at least {self.least_rows} rows")
        from torch.linalg import LinAlgError

        try:
            return self.solve(training, seeds)
        except LinAlgError as error:
            return Fitted.failed(training, f"numerically singular ({str(error).splitlines()[0]})")
