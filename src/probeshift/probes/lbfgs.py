"""Limited-memory BFGS over many small problems at once, each with its own history and step length.

Source: Nocedal and Wright 2006, algorithms 7.4 and 7.5; updates only where curvature is positive.

`minimise` looks for a step that falls far enough. `descend` takes steps of one length, and stops, as `torch.optim.LBFGS` does.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Objective = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Points [..., n] -> losses [...] and gradients [..., n]."""

_Pair = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""A move s, the turn y of the gradient along it, both divided by s.y, and the scale s.y / y.y of the inverse Hessian."""

HISTORY = 10
_BISECTIONS = 12
_FLAT, _STILL = 1e-7, 1e-9  # torch's tolerances, of gradients and of changes


def minimise(objective: Objective, start: Tensor, *, max_steps: int, small_fall: float) -> tuple[Tensor, Tensor]:
    """Points [..., n] and losses [...] where each problem falls no further than `small_fall` times its loss in a step."""
    point = start.clone()
    loss, gradient = objective(point)
    history: list[_Pair] = []
    done = torch.zeros_like(loss, dtype=torch.bool)
    for _ in range(max_steps):
        step = -_inverse_hessian_times(gradient, history)
        slope = (step * gradient).sum(-1)
        step = torch.where((slope < 0)[..., None], step, -gradient)
        if not history:  # nothing is known about curvature yet
            step = step / gradient.norm(dim=-1, keepdim=True).clamp_min(1.0)
        reached, new_loss, new_gradient, fell = _search(objective, point, loss, gradient, step, done)
        move, turn = reached - point, new_gradient - gradient
        history = [*history, _pair(move, turn, 1e-10 * turn.square().sum(-1, keepdim=True))][-HISTORY:]
        done = done | ~fell | (loss - new_loss <= small_fall * loss.abs())
        point, loss, gradient = reached, new_loss, new_gradient
        if done.all():
            break
    return point, loss


def descend(objective: Objective, start: Tensor, *, rate: float, max_steps: int) -> tuple[Tensor, Tensor]:
    """Points [..., n] and losses [...] where one `torch.optim.LBFGS(lr=rate, max_iter=max_steps).step` would leave each problem.

    No step may be forgotten, so `max_steps` is at most torch's default history of 100.
    """
    point = start.clone()
    loss, gradient = objective(point)
    history: list[_Pair] = []
    done = gradient.abs().amax(-1) <= _FLAT
    for _ in range(max_steps):
        step = -_inverse_hessian_times(gradient, history)
        done = done | ((step * gradient).sum(-1) > -_STILL)
        if done.all():
            break
        length = torch.full_like(loss, rate) if history else rate / gradient.abs().sum(-1).clamp_min(1.0)
        move = torch.where(done, 0.0, length)[..., None] * step
        new_loss, new_gradient = objective(point + move)
        scale = history[-1][-1] if history else torch.ones_like(loss)[..., None]
        history.append(_pair(move, new_gradient - gradient, 1e-10, scale))
        settled = (new_loss - loss).abs() < _STILL
        done = done | settled | (move.abs().amax(-1) <= _STILL) | (new_gradient.abs().amax(-1) <= _FLAT)
        point, loss, gradient = point + move, new_loss, new_gradient
    return point, loss


def _inverse_hessian_times(vector: Tensor, history: list[_Pair]) -> Tensor:
    """The two-loop recursion; pairs without positive curvature leave their problem unchanged."""
    shares = []
    for _, y, s_weighted, _, _ in reversed(history):
        shares.append((s_weighted * vector).sum(-1, keepdim=True))
        vector = torch.addcmul(vector, shares[-1], y, value=-1)
    if history:
        vector = history[-1][-1] * vector
    for s, _, _, y_weighted, _ in history:
        vector = torch.addcmul(vector, shares.pop() - (y_weighted * vector).sum(-1, keepdim=True), s)
    return vector


def _pair(s: Tensor, y: Tensor, least: Tensor | float, scale_else: Tensor | float = 1.0) -> _Pair:
    """What the recursion reads; weights of 0 and the other scale where the curvature is not above the `least`."""
    curvature, size = (s * y).sum(-1, keepdim=True), (y * y).sum(-1, keepdim=True)
    good = curvature > least
    inverse = torch.where(good, 1.0 / torch.where(good, curvature, 1.0), 0.0)
    scale = torch.where(good, curvature / torch.where(good, size, 1.0), scale_else)
    return s, y, inverse * s, inverse * y, scale


def _search(
    objective: Objective, point: Tensor, loss: Tensor, gradient: Tensor, step: Tensor, done: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Bisect to a weak Wolfe step: far enough down (Armijo), and past the steepest part. Finished problems stay.

    The second condition is what keeps the method going across kinks (Lewis and Overton 2013).
    """
    slope = (step * gradient).sum(-1)
    low, high = torch.zeros_like(loss), torch.full_like(loss, float("inf"))
    length = torch.where(done, 0.0, torch.ones_like(loss))
    best = (point, loss, gradient)
    for _ in range(_BISECTIONS):
        reached = point + length[..., None] * step
        new_loss, new_gradient = objective(reached)
        falls = (new_loss <= loss + 1e-4 * length * slope) & (length > 0)
        best = tuple(
            torch.where(falls[..., None] if new.ndim > loss.ndim else falls, new, old)
            for new, old in zip((reached, new_loss, new_gradient), best, strict=True)
        )  # type: ignore[assignment]
        flat = (step * new_gradient).sum(-1) >= 0.9 * slope
        if ((falls & flat) | done).all():
            break
        low, high = torch.where(falls & ~flat, length, low), torch.where(falls, high, length)
        between = torch.where(torch.isinf(high), 2 * low, (low + high) / 2)
        length = torch.where((falls & flat) | done, length, between)
    return *best, best[1] < loss
