"""L2-regularised logistic regression solved to its optimum: damped Newton on the smaller side of the training rows.

Minimises C * sum of log losses + |w|^2 / 2 with a free intercept (or none), as scikit-learn does. With fewer rows than dimensions
w = F' a is kept as row coefficients `a` and a step solves with I + S K S, K the Gram matrix, S^2 = C p (1 - p) (Rasmussen and
Williams 2006, sec. 3.4); otherwise with I + F' S^2 F. Both are positive definite whatever the rows, so separable or repeated
rows need no special case. Stops on the Newton decrement, which bounds the distance to the optimum.

A Cholesky factor is by far the dearest part of a step. With fewer rows than dimensions it also serves the steps after it, as the
preconditioner of conjugate gradients (Nocedal and Wright 2006, sec. 5.1): near the optimum the weights S hardly change.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import softplus

from probeshift.probes.factors import factorise_in_place, solve_factored
from probeshift.probes.rows import Rows, products

MAX_STEPS = 100
# |change of any probability| <= decrement / 2 at C = 1 near the optimum (see docs/design/solver.md).
DECREMENT = 1e-9
_HALVINGS = 40
_LINE_STEPS = 4
_NEAR = 1.0  # decrement of a step after which its factor serves the next


@dataclass(frozen=True)
class Logistic:
    """Directions [layer, d_model], intercepts [layer], and the Newton decrement each layer ended at.

    `point` is where a search on the same rows with another penalty may start.
    """

    directions: Tensor
    intercepts: Tensor
    decrements: Tensor
    point: Point

    @property
    def converged(self) -> Tensor:
        return self.decrements <= DECREMENT


@dataclass(frozen=True)
class Point:
    """Where the search stands: `w` (row coefficients when wide), intercept, scores, |w|^2."""

    w: Tensor
    intercept: Tensor
    scores: Tensor
    square: Tensor

    def at(self, layers: Tensor) -> Point:
        return Point(self.w[layers], self.intercept[layers], self.scores[layers], self.square[layers])


def solve_logistic(
    rows: Rows, labels: Tensor, *, penalty_c: float = 1.0, intercept: bool = True, start: Point | None = None
) -> Logistic:
    """The unique minimiser per layer; with an intercept, centring rows beforehand changes the intercept only.

    `labels` are [example], or [layer, example] where they differ.
    """
    n_layers, n_rows, d_model = rows.shape
    targets = labels.to(torch.float64).expand(n_layers, -1)
    steps: _Steps = _WideSteps(rows.gram) if rows.wide else _TallSteps(rows.values)
    size = n_rows if rows.wide else d_model
    active = torch.arange(n_layers, device=rows.source.device)
    zeros = rows.source.new_zeros
    none = Point(zeros(n_layers, size), zeros(n_layers), zeros(n_layers, n_rows), zeros(n_layers))
    point = (none if start is None else start).at(active)
    decrements = torch.full((n_layers,), float("inf"), dtype=torch.float64, device=active.device)
    for _ in range(MAX_STEPS):
        here, wanted = point.at(active), targets[active]
        step, decrement = steps.step(here, wanted, penalty_c, intercept)
        moved, progress = search(here, step, decrement, wanted, penalty_c)
        for whole, part in zip(vars(point).values(), vars(moved).values(), strict=True):
            whole[active] = part
        decrements[active] = decrement
        going = (decrement > DECREMENT) & progress
        if not going.any():
            break
        if not going.all():
            active, steps = active[going], steps.at(going)
    directions = rows.combine(point.w) if rows.wide else point.w
    return Logistic(directions, point.intercept, decrements, point)


@dataclass
class _Steps(ABC):
    """Newton steps. `factor` was made with the weights `root` squared, `last` is the decrement of the step before."""

    corrections: ClassVar[int]  # products after which a new factor is cheaper
    held: Tensor  # the Gram matrix of the rows, or the rows
    factor: Tensor | None = None
    root: Tensor | None = None
    last: Tensor | None = None

    def at(self, layers: Tensor) -> _Steps:
        parts = (None if part is None else part[layers] for part in vars(self).values())
        return type(self)(*parts)  # type: ignore[arg-type]

    def step(self, here: Point, targets: Tensor, c: float, free_level: bool) -> tuple[Point, Tensor]:
        """The Newton step and its decrement; `square` of the step holds |step|^2."""
        chance = torch.sigmoid(here.scores)
        errors, root = c * (chance - targets), (c * chance * (1 - chance)).sqrt()
        step, decrement = self._step(here, errors, root, free_level)
        self.last = decrement.clamp_min(0.0).sqrt()
        return step, self.last

    @abstractmethod
    def _step(self, here: Point, errors: Tensor, root: Tensor, free_level: bool) -> tuple[Point, Tensor]:
        """The step, and the fall of the objective along it: its slope, whatever its precision, makes the search safe."""

    @abstractmethod
    def _system(self, root: Tensor) -> Tensor:
        """The matrix of a step's equations."""

    @abstractmethod
    def _times(self, root: Tensor, columns: Tensor) -> Tensor:
        """The product with that matrix, without it."""

    @abstractmethod
    def _near(self, root: Tensor, columns: Tensor) -> Tensor:
        """The product with something like its inverse, from the factor at hand."""

    def _solve(self, root: Tensor, right: Tensor) -> Tensor:
        """The system's solutions for right sides [layer, n, k]."""
        if self.last is not None and self.last.max() < _NEAR:
            likely = self.last.square()  # the next decrement; precise where the one after it can be the last
            solved = self._correct(root, right, torch.maximum(likely, 0.1 * DECREMENT / likely).clamp(1e-6, 1e-2))
            if solved is not None:
                return solved
        self.factor = None  # free before the next is made
        self.factor, self.root = factorise_in_place(self._system(root)), root
        return solve_factored(self.factor, right)

    def _correct(self, root: Tensor, right: Tensor, precision: Tensor) -> Tensor | None:
        """The same by conjugate gradients, each right side on its own; None where a new factor is cheaper."""
        tiny = torch.finfo(root.dtype).tiny
        solved, residual = torch.zeros_like(right), right.clone()
        near = self._near(root, residual)
        ahead, size = near, (residual * near).sum(1, keepdim=True)
        enough = size * precision[:, None, None] ** 2
        for _ in range(self.corrections):
            image = self._times(root, ahead)
            length = size / (ahead * image).sum(1, keepdim=True).clamp_min(tiny)
            solved, residual = solved + length * ahead, residual - length * image
            near = self._near(root, residual)
            before, size = size, (residual * near).sum(1, keepdim=True)
            if (size <= enough).all():
                return solved
            ahead = near + size / before.clamp_min(tiny) * ahead
        return None


class _WideSteps(_Steps):
    """In row coefficients: I + S K S with S = `root` on the diagonal, K the Gram matrix."""

    corrections = 25

    def _step(self, here: Point, errors: Tensor, root: Tensor, free_level: bool) -> tuple[Point, Tensor]:
        gram = self.held
        lack = -(here.w + errors)  # minus the gradient of w, in row coefficients
        kernel_lack = _by(gram, lack[..., None]).squeeze(-1)
        solved = self._solve(root, torch.stack([root * kernel_lack, root], dim=-1))
        free, pull = lack - root * solved[..., 0], root * solved[..., 1]
        intercept = (here.w + free).sum(-1) / pull.sum(-1) if free_level else torch.zeros_like(here.intercept)
        w = free - pull * intercept[:, None]
        scores = _by(gram, w[..., None]).squeeze(-1)
        fall = (lack * scores).sum(-1) - errors.sum(-1) * intercept
        return Point(w, intercept, scores + intercept[:, None], (w * scores).sum(-1)), fall

    def _system(self, root: Tensor) -> Tensor:
        inner = self.held * root[:, :, None]
        inner.mul_(root[:, None]).diagonal(dim1=1, dim2=2).add_(1.0)
        return inner

    def _times(self, root: Tensor, columns: Tensor) -> Tensor:
        return columns + root[..., None] * _by(self.held, root[..., None] * columns)

    def _near(self, root: Tensor, columns: Tensor) -> Tensor:
        """D (I + S0 K S0) D with D = S / S0 is off by the diagonal matrix D^2 - I only."""
        assert self.factor is not None and self.root is not None
        tiny = torch.finfo(root.dtype).tiny
        age = ((root + tiny) / (self.root + tiny)).clamp(1e-4, 1e4)[..., None]
        return solve_factored(self.factor, columns / age) / age


class _TallSteps(_Steps):
    """In the coordinates of the rows F: I + F' S^2 F."""

    corrections = 10

    def _step(self, here: Point, errors: Tensor, root: Tensor, free_level: bool) -> tuple[Point, Tensor]:
        values, weight = self.held, root.square()
        back = values.mT @ torch.stack([errors, weight], dim=-1)
        lack, slope = -(here.w + back[..., 0]), back[..., 1]
        solved = self._solve(root, torch.stack([lack, slope], dim=-1))
        free, pull = solved[..., 0], solved[..., 1]
        level = (-errors.sum(-1) - (slope * free).sum(-1)) / (weight.sum(-1) - (slope * pull).sum(-1))
        intercept = level if free_level else torch.zeros_like(level)
        w = free - pull * intercept[:, None]
        scores = (values @ w[..., None]).squeeze(-1)
        fall = (lack * w).sum(-1) - errors.sum(-1) * intercept
        return Point(w, intercept, scores + intercept[:, None], (w * w).sum(-1)), fall

    def _system(self, root: Tensor) -> Tensor:
        hessian = products((root[..., None] * self.held).mT)
        hessian.diagonal(dim1=1, dim2=2).add_(1.0)
        return hessian

    def _times(self, root: Tensor, columns: Tensor) -> Tensor:
        return columns + self.held.mT @ (root.square()[..., None] * (self.held @ columns))

    def _near(self, root: Tensor, columns: Tensor) -> Tensor:
        assert self.factor is not None
        return solve_factored(self.factor, columns)


def _by(gram: Tensor, columns: Tensor) -> Tensor:
    """gram @ columns of a symmetric matrix: few columns are three times as fast from the left."""
    return (columns.mT @ gram).mT


def search(here: Point, step: Point, decrement: Tensor, targets: Tensor, c: float | Tensor) -> tuple[Point, Tensor]:
    """Move each layer to the lowest point along its step; layers that cannot fall further stay where they are.

    On separable rows full steps are too short for many iterations; the exact minimum costs a few passes over the scores.
    """
    along = _cross(here, step, targets, c, decrement)
    start = _objective(here.scores, here.square, targets, c)
    length = _lowest(here, step, along, targets, c)
    falls = torch.zeros_like(start, dtype=torch.bool)
    for _ in range(_HALVINGS):
        square = here.square + 2 * length * along + length**2 * step.square
        value = _objective(here.scores + length[:, None] * step.scores, square, targets, c)
        # The slack is the rounding of the objective itself.
        falls = value <= start - 1e-4 * length * decrement**2 + 1e-14 * start.abs()
        if falls.all():
            break
        length = torch.where(falls, length, length / 2)
    length = torch.where(falls, length, 0.0)
    moved = Point(
        here.w + length[:, None] * step.w,
        here.intercept + length * step.intercept,
        here.scores + length[:, None] * step.scores,
        here.square + 2 * length * along + length**2 * step.square,
    )
    return moved, falls


def _lowest(here: Point, step: Point, along: Tensor, targets: Tensor, c: float | Tensor) -> Tensor:
    """Step lengths near the minimum of the objective along the step: Newton in one dimension, at most quadrupling."""
    length = torch.ones_like(along)
    for _ in range(_LINE_STEPS):
        chance = torch.sigmoid(here.scores + length[:, None] * step.scores)
        slope = (c * (chance - targets) * step.scores).sum(-1) + along + length * step.square
        bend = (c * chance * (1 - chance) * step.scores**2).sum(-1) + step.square
        length = torch.minimum(torch.maximum(length - slope / bend, length / 4), length * 4)
    return torch.where(torch.isfinite(length), length, 1.0)


def _cross(here: Point, step: Point, targets: Tensor, c: float | Tensor, decrement: Tensor) -> Tensor:
    """Inner product of w and its step: the objective's slope along the step, less the slope of the losses."""
    errors = c * (torch.sigmoid(here.scores) - targets)
    return -(decrement**2) - (errors * step.scores).sum(-1)


def _objective(scores: Tensor, square: Tensor, targets: Tensor, c: float | Tensor) -> Tensor:
    # Not softplus(scores) - targets * scores, whose rounding at large scores hides the last falls.
    return (c * softplus((1 - 2 * targets) * scores)).sum(-1) + square / 2
