"""L2-regularised logistic regression solved to its optimum: damped Newton on the smaller side of the training rows.

Minimises C * sum of log losses + |w|^2 / 2 with a free intercept, as scikit-learn does. With fewer rows than dimensions
w = F' a is kept as row coefficients `a` and a step solves with I + S K S, K the Gram matrix, S^2 = C p (1 - p) (Rasmussen and
Williams 2006, sec. 3.4); otherwise with I + F' S^2 F. Both are positive definite whatever the rows, so separable or repeated
rows need no special case. Conjugate gradients solve as long as they are cheaper than a Cholesky factor. Stops on the Newton
decrement, which bounds the distance to the optimum.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from probeshift.probes.rows import Rows

MAX_STEPS = 100
# |change of any probability| <= decrement / 2 at C = 1 near the optimum (see docs/design/solver.md).
DECREMENT = 1e-9
_HALVINGS = 40
_CG_STEPS = 25  # about what one Cholesky factor costs

LinearMap = Callable[[Tensor], Tensor]
_LINE_STEPS = 4


@dataclass(frozen=True)
class Logistic:
    """Directions [layer, d_model], intercepts [layer], and the Newton decrement each layer ended at."""

    directions: Tensor
    intercepts: Tensor
    decrements: Tensor

    @property
    def converged(self) -> Tensor:
        return self.decrements <= DECREMENT


@dataclass(frozen=True)
class _Point:
    """Where the search stands: `w` (row coefficients when wide), intercept, scores, |w|^2."""

    w: Tensor
    intercept: Tensor
    scores: Tensor
    square: Tensor

    def at(self, layers: Tensor) -> _Point:
        return _Point(self.w[layers], self.intercept[layers], self.scores[layers], self.square[layers])


def solve_logistic(rows: Rows, labels: Tensor, *, penalty_c: float = 1.0) -> Logistic:
    """The unique minimiser per layer; centring rows beforehand changes the intercept only."""
    n_layers, n_rows, d_model = rows.values.shape
    targets = labels.to(torch.float64)
    side = rows.gram if rows.wide else rows.values
    size = n_rows if rows.wide else d_model
    zeros = rows.values.new_zeros
    point = _Point(zeros(n_layers, size), zeros(n_layers), zeros(n_layers, n_rows), zeros(n_layers))
    decrements = torch.full((n_layers,), float("inf"), dtype=torch.float64, device=side.device)
    active, held, system = torch.arange(n_layers, device=side.device), side, _System()
    for _ in range(MAX_STEPS):
        here = point.at(active)
        system = system.aiming(decrements[active])
        step, decrement = (_wide_step if rows.wide else _tall_step)(held, here, targets, penalty_c, system)
        moved, progress = _search(here, step, decrement, targets, penalty_c)
        for whole, part in zip(vars(point).values(), vars(moved).values(), strict=True):
            whole[active] = part
        decrements[active] = decrement
        going = (decrement > DECREMENT) & progress
        if not going.all():
            active, held = active[going], held[going]
        if not len(active):
            break
    directions = rows.combine(point.w) if rows.wide else point.w
    return Logistic(directions, point.intercept, decrements)


@dataclass
class _System:
    """Solves the systems of the Newton steps: by conjugate gradients, from the first that takes too long by Cholesky factors."""

    tolerance: float = 1e-2
    direct: bool = False

    def aiming(self, decrements: Tensor) -> _System:
        """As exact as the search is close: the error of a step then shrinks faster and faster."""
        return _System(min(1e-2, max(1e-8, float(decrements.min()))), self.direct)

    def solve(self, product: LinearMap, matrix: Callable[[], Tensor], wanted: Tensor) -> Tensor:
        """Solutions [layer, k, n] of x `matrix()` = wanted, where `product(x)` is x times that matrix."""
        if not self.direct:
            found, done = conjugate_gradients(product, wanted, tolerance=self.tolerance, max_steps=_CG_STEPS)
            if done:
                return found
            self.direct = True
        return torch.cholesky_solve(wanted.mT, torch.linalg.cholesky(matrix())).mT


def conjugate_gradients(product: LinearMap, wanted: Tensor, *, tolerance: float, max_steps: int) -> tuple[Tensor, bool]:
    """Solutions [layer, k, n] of positive definite systems, and whether all residuals fell below `tolerance` of their start.

    Vectors are rows: a few rows times a matrix run several times as fast as the matrix times a few columns.
    """
    tiny = torch.finfo(wanted.dtype).tiny
    found, residual, direction = torch.zeros_like(wanted), wanted, wanted
    size = residual.square().sum(-1, keepdim=True)
    goal = size * tolerance**2
    for _ in range(max_steps):
        image = product(direction)
        length = size / (direction * image).sum(-1, keepdim=True).clamp_min(tiny)
        found, residual = found + length * direction, residual - length * image
        size, before = residual.square().sum(-1, keepdim=True), size
        if (size <= goal).all():
            return found, True
        direction = residual + size / before.clamp_min(tiny) * direction
    return found, False


def _wide_step(gram: Tensor, here: _Point, targets: Tensor, c: float, system: _System) -> tuple[_Point, Tensor]:
    """The Newton step in row coefficients; `square` of the step holds |step|^2."""
    chance = torch.sigmoid(here.scores)
    root = (c * chance * (1 - chance)).sqrt()

    def inner() -> Tensor:
        matrix = root[:, :, None] * gram * root[:, None, :]
        matrix.diagonal(dim1=1, dim2=2).add_(1.0)
        return matrix

    def product(x: Tensor) -> Tensor:
        return x + ((x * root[:, None]) @ gram) * root[:, None]

    lack = -(here.w + c * (chance - targets))  # minus the gradient of w, in row coefficients
    kernel_lack = (gram @ lack[..., None]).squeeze(-1)
    solved = system.solve(product, inner, torch.stack([root * kernel_lack, root], dim=1))
    free, pull = lack - root * solved[:, 0], root * solved[:, 1]
    intercept = (here.w + free).sum(-1) / pull.sum(-1)
    w = free - pull * intercept[:, None]
    scores_w = (gram @ w[..., None]).squeeze(-1)
    decrement = (lack * scores_w).sum(-1) - (c * (chance - targets)).sum(-1) * intercept
    return _Point(w, intercept, scores_w + intercept[:, None], (w * scores_w).sum(-1)), _root(decrement)


def _tall_step(values: Tensor, here: _Point, targets: Tensor, c: float, system: _System) -> tuple[_Point, Tensor]:
    """The Newton step in the coordinates of the rows."""
    chance = torch.sigmoid(here.scores)
    weight = c * chance * (1 - chance)

    def hessian() -> Tensor:
        matrix = values.mT @ (weight[..., None] * values)
        matrix.diagonal(dim1=1, dim2=2).add_(1.0)
        return matrix

    def product(x: Tensor) -> Tensor:
        return x + ((x @ values.mT) * weight[:, None]) @ values

    errors = c * (chance - targets)
    lack = -(here.w + (values.mT @ errors[..., None]).squeeze(-1))
    slope = (values.mT @ weight[..., None]).squeeze(-1)
    solved = system.solve(product, hessian, torch.stack([lack, slope], dim=1))
    free, pull = solved[:, 0], solved[:, 1]
    intercept = (-errors.sum(-1) - (slope * free).sum(-1)) / (weight.sum(-1) - (slope * pull).sum(-1))
    w = free - pull * intercept[:, None]
    scores_w = (values @ w[..., None]).squeeze(-1)
    decrement = (lack * w).sum(-1) - errors.sum(-1) * intercept
    return _Point(w, intercept, scores_w + intercept[:, None], (w * w).sum(-1)), _root(decrement)


def _root(decrement: Tensor) -> Tensor:
    return decrement.clamp_min(0.0).sqrt()


def _search(here: _Point, step: _Point, decrement: Tensor, targets: Tensor, c: float) -> tuple[_Point, Tensor]:
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
    moved = _Point(
        here.w + length[:, None] * step.w,
        here.intercept + length * step.intercept,
        here.scores + length[:, None] * step.scores,
        here.square + 2 * length * along + length**2 * step.square,
    )
    return moved, falls


def _lowest(here: _Point, step: _Point, along: Tensor, targets: Tensor, c: float) -> Tensor:
    """Step lengths near the minimum of the objective along the step: Newton in one dimension, at most quadrupling."""
    length = torch.ones_like(along)
    for _ in range(_LINE_STEPS):
        chance = torch.sigmoid(here.scores + length[:, None] * step.scores)
        slope = c * ((chance - targets) * step.scores).sum(-1) + along + length * step.square
        bend = c * (chance * (1 - chance) * step.scores**2).sum(-1) + step.square
        length = torch.minimum(torch.maximum(length - slope / bend, length / 4), length * 4)
    return torch.where(torch.isfinite(length), length, 1.0)


def _cross(here: _Point, step: _Point, targets: Tensor, c: float, decrement: Tensor) -> Tensor:
    """Inner product of w and its step: the objective's slope along the step, less the slope of the losses."""
    errors = c * (torch.sigmoid(here.scores) - targets)
    return -(decrement**2) - (errors * step.scores).sum(-1)


def _objective(scores: Tensor, square: Tensor, targets: Tensor, c: float) -> Tensor:
    return c * (softplus(scores) - targets * scores).sum(-1) + square / 2
