"""L2-regularised logistic regression solved to its optimum: damped Newton on the smaller side of the training rows.

Minimises C * sum of log losses + |w|^2 / 2 with a free intercept (or none), as scikit-learn does. With fewer rows than dimensions
w = F' a is kept as row coefficients `a` and a step solves with I + S K S, K the Gram matrix, S^2 = C p (1 - p) (Rasmussen and
Williams 2006, sec. 3.4); otherwise with I + F' S^2 F. Both are positive definite whatever the rows, so separable or repeated
rows need no special case. Stops on the Newton decrement, which bounds the distance to the optimum.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from probeshift.probes.rows import Rows, products

MAX_STEPS = 100
# |change of any probability| <= decrement / 2 at C = 1 near the optimum (see docs/design/solver.md).
DECREMENT = 1e-9
_HALVINGS = 40
_LINE_STEPS = 4


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
    n_layers, n_rows, d_model = rows.values.shape
    targets = labels.to(torch.float64).expand(n_layers, -1)
    side = rows.gram if rows.wide else rows.values
    size = n_rows if rows.wide else d_model
    zeros = rows.values.new_zeros
    none = Point(zeros(n_layers, size), zeros(n_layers), zeros(n_layers, n_rows), zeros(n_layers))
    point = (none if start is None else start).at(torch.arange(n_layers, device=side.device))
    decrements = torch.full((n_layers,), float("inf"), dtype=torch.float64, device=side.device)
    active, held = torch.arange(n_layers, device=side.device), side
    for _ in range(MAX_STEPS):
        here, wanted = point.at(active), targets[active]
        step, decrement = (_wide_step if rows.wide else _tall_step)(held, here, wanted, penalty_c, intercept)
        moved, progress = search(here, step, decrement, wanted, penalty_c)
        for whole, part in zip(vars(point).values(), vars(moved).values(), strict=True):
            whole[active] = part
        decrements[active] = decrement
        going = (decrement > DECREMENT) & progress
        if not going.all():
            active, held = active[going], held[going]
        if not len(active):
            break
    directions = rows.combine(point.w) if rows.wide else point.w
    return Logistic(directions, point.intercept, decrements, point)


def _wide_step(gram: Tensor, here: Point, targets: Tensor, c: float, free_level: bool) -> tuple[Point, Tensor]:
    """The Newton step in row coefficients; `square` of the step holds |step|^2."""
    chance = torch.sigmoid(here.scores)
    root = (c * chance * (1 - chance)).sqrt()
    inner = root[:, :, None] * gram * root[:, None, :]
    inner.diagonal(dim1=1, dim2=2).add_(1.0)
    lack = -(here.w + c * (chance - targets))  # minus the gradient of w, in row coefficients
    kernel_lack = (gram @ lack[..., None]).squeeze(-1)
    solved = torch.cholesky_solve(torch.stack([root * kernel_lack, root], dim=-1), torch.linalg.cholesky(inner))
    free, pull = lack - root * solved[..., 0], root * solved[..., 1]
    intercept = (here.w + free).sum(-1) / pull.sum(-1) if free_level else torch.zeros_like(here.intercept)
    w = free - pull * intercept[:, None]
    scores_w = (gram @ w[..., None]).squeeze(-1)
    decrement = (lack * scores_w).sum(-1) - (c * (chance - targets)).sum(-1) * intercept
    return Point(w, intercept, scores_w + intercept[:, None], (w * scores_w).sum(-1)), _root(decrement)


def _tall_step(values: Tensor, here: Point, targets: Tensor, c: float, free_level: bool) -> tuple[Point, Tensor]:
    """The Newton step in the coordinates of the rows."""
    chance = torch.sigmoid(here.scores)
    weight = c * chance * (1 - chance)
    hessian = products((weight.sqrt()[..., None] * values).mT)
    hessian.diagonal(dim1=1, dim2=2).add_(1.0)
    errors = c * (chance - targets)
    lack = -(here.w + (values.mT @ errors[..., None]).squeeze(-1))
    slope = (values.mT @ weight[..., None]).squeeze(-1)
    solved = torch.cholesky_solve(torch.stack([lack, slope], dim=-1), torch.linalg.cholesky(hessian))
    free, pull = solved[..., 0], solved[..., 1]
    level = (-errors.sum(-1) - (slope * free).sum(-1)) / (weight.sum(-1) - (slope * pull).sum(-1))
    intercept = level if free_level else torch.zeros_like(level)
    w = free - pull * intercept[:, None]
    scores_w = (values @ w[..., None]).squeeze(-1)
    decrement = (lack * w).sum(-1) - errors.sum(-1) * intercept
    return Point(w, intercept, scores_w + intercept[:, None], (w * w).sum(-1)), _root(decrement)


def _root(decrement: Tensor) -> Tensor:
    return decrement.clamp_min(0.0).sqrt()


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
