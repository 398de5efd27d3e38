"""Regularised logistic regression by Newton steps that are solved by conjugate gradients: products with the rows are all it needs.

Rows stay as sparse as they are: centring and scaling are part of the product. Several selections of the same rows are solved at
once. Stops where the gradient proves the optimum: the penalty makes the objective 1-strongly convex, so the Newton decrement and
the distance to the best w are at most its norm.

Sources: Nocedal and Wright 2006, algorithm 7.1; the precision of each step after Eisenstat and Walker 1996; the leading directions
of correlated rows, which alone would take most of the products, after Frangella, Tropp and Udell 2023.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from probeshift.probes.newton import Point, search

GRADIENT = 1e-8  # |change of a training row's probability| <= GRADIENT / (2 sqrt(C)) at this norm
MAX_STEPS = 100
MAX_PRODUCTS = 2000
THREADED = 200_000  # values that are not 0 from which threads take less time than they cost
LEADING = 32  # directions that are known to the preconditioner; they cost four products each, once for all selections
_LOOK = 4  # products between two looks at the residual, which cost half a product
_LEAST = 1e-12  # curvature of a row's loss, so that a row far on the wrong side still moves


@dataclass(frozen=True)
class ScaledRows:
    """(rows - means) / scales for each selection, never formed."""

    values: Any
    turned: Any
    means: Tensor
    scales: Tensor

    def at(self, probes: Tensor) -> ScaledRows:
        return ScaledRows(self.values, self.turned, self.means[probes], self.scales[probes])

    @cached_property
    def squares(self) -> Tensor:
        """Squared norms [probe, example] of the rows."""
        weight = self.scales**-2
        shift = self.means * weight
        norms = product(squared(self.values), weight) - 2 * product(self.values, shift)
        return (norms + (self.means * shift).sum(-1, keepdim=True)).clamp_min(0.0)

    def times(self, w: Tensor) -> Tensor:
        """Inner products [probe, example] of the rows with w [probe, feature]."""
        raw = w / self.scales
        return product(self.values, raw) - (self.means * raw).sum(-1, keepdim=True)

    def combine(self, coefficients: Tensor) -> Tensor:
        """The vectors [probe, feature] that [probe, example] coefficients make of the rows."""
        summed = product(self.turned, coefficients)
        return (summed - self.means * coefficients.sum(-1, keepdim=True)) / self.scales


def solve_by_products(rows: ScaledRows, targets: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Directions [probe, feature] of the scaled rows, intercepts and gradient norms at the end [probe].

    `targets` [example] are 0 or 1, `c` [probe, example] is C on the rows of each selection and 0 elsewhere.
    """
    zeros = rows.means.new_zeros
    n_probes = len(c)
    point = Point(zeros(c.shape), zeros(n_probes), zeros(c.shape), zeros(n_probes))
    leading = leading_directions(rows)
    gradients, first = torch.full((2, n_probes), float("inf"), dtype=torch.float64)
    active = torch.arange(n_probes)
    for count in range(MAX_STEPS):
        here, held = point.at(active), c[active]
        system = _System.of(rows.at(active), here, targets, held)
        gradients[active] = system.size
        if not count:
            first = system.size
        going = system.size > GRADIENT
        if not going.any():
            break
        step, decrement = system.step(leading, torch.clamp((system.size / first[active]).sqrt(), max=0.1))
        moved, progress = search(here, step, decrement, targets, held)
        for whole, part in zip(vars(point).values(), vars(moved).values(), strict=True):
            whole[active[going]] = part[going]
        active = active[going & progress]
        if not len(active):
            break
    return rows.combine(point.w), point.intercept, gradients


@dataclass(frozen=True)
class _System:
    """The Newton system at a point, in row coefficients: (I + S^2 K) da + S^2 db = q, sum(da) = 0, K = R R', R the rows."""

    rows: ScaledRows
    weight: Tensor
    errors: Tensor
    lack: Tensor

    @classmethod
    def of(cls, rows: ScaledRows, here: Point, targets: Tensor, c: Tensor) -> _System:
        chance = torch.sigmoid(here.scores)
        errors = c * (chance - targets)
        return cls(rows, c * (chance * (1 - chance)).clamp_min(_LEAST), errors, -(here.w + errors))

    @property
    def size(self) -> Tensor:
        """What the Newton decrement is at most: the norm of the gradient, that of the intercept in units of its curvature."""
        total, curvature = self.errors.sum(-1), self.weight.sum(-1)
        without_intercept = self.rows.combine(self.lack + self.weight * (total / curvature)[:, None])
        return ((without_intercept**2).sum(-1) + total**2 / curvature).sqrt()

    def step(self, leading: Tensor, precision: Tensor) -> tuple[Point, Tensor]:
        """A step of that relative precision, and the root of the objective's fall along it to first order.

        With da = S t the system is (I + Q S K S Q) t = Q q / S, Q the projection that keeps sum(S t) = 0: symmetric, and the
        weights of rows, orders of magnitude apart, are on the diagonal, which preconditions it. Its residual r stands for the
        residual R' S r of the step itself, which is what has to be small: with more rows than features most of r is nothing.
        """
        root = self.weight.sqrt()
        near = _Preconditioner.of(root, self.rows.squares, leading)
        unit = root / root.norm(dim=-1, keepdim=True)

        def keep(t: Tensor) -> Tensor:
            return t - unit * (unit * t).sum(-1, keepdim=True)

        t = _conjugate_gradients(
            lambda t: t + keep(root * self.rows.times(self.rows.combine(root * t))),
            keep(torch.where(root > 0, self.lack / root, 0.0)),
            lambda r: keep(near.solve(r)),
            lambda r: self.rows.combine(root * r).norm(dim=-1),
            precision,
        )
        w = root * t
        scores = self.rows.times(self.rows.combine(w))
        intercept = (self.lack - self.weight * scores).sum(-1) / self.weight.sum(-1)
        slope = (self.lack * scores).sum(-1) - self.errors.sum(-1) * intercept
        return Point(w, intercept, scores + intercept[:, None], (w * scores).sum(-1)), slope.clamp_min(0.0).sqrt()


@dataclass(frozen=True)
class _Preconditioner:
    """The inverse of D + U U', U the leading directions L in units of the weights and D the diagonal of what they leave of I + S K S."""

    inverse_diagonal: Tensor
    scaled: Tensor
    factor: Tensor

    @classmethod
    def of(cls, root: Tensor, squares: Tensor, leading: Tensor) -> _Preconditioner:
        inverse = 1 / (1 + root**2 * (squares - leading.square().sum(-1)).clamp_min(0.0))
        inner = leading.mT @ ((root**2 * inverse)[..., None] * leading)
        inner.diagonal(dim1=1, dim2=2).add_(1.0)
        return cls(inverse, (root * inverse)[..., None] * leading, torch.linalg.cholesky(inner))

    def solve(self, right: Tensor) -> Tensor:
        along = torch.cholesky_solve(self.scaled.mT @ right[..., None], self.factor)
        return self.inverse_diagonal * right - (self.scaled @ along).squeeze(-1)


def leading_directions(rows: ScaledRows) -> Tensor:
    """L [example, LEADING], L L' what the leading directions of the rows make of K = R R'; at the mean of the selections' scalings."""
    n_rows = rows.values.shape[0]
    number = min(LEADING, n_rows)
    shared = ScaledRows(
        rows.values, rows.turned, rows.means.mean(0).expand(number, -1), rows.scales.mean(0).expand(number, -1)
    )
    drawn = torch.from_numpy(np.random.default_rng(0).standard_normal((n_rows, number)))
    for _ in range(2):
        basis = torch.linalg.qr(drawn).Q
        drawn = shared.times(shared.combine(basis.T)).T
    inner = basis.T @ drawn
    sizes, axes = torch.linalg.eigh((inner + inner.T) / 2)
    kept = sizes > 1e-10 * sizes.max()  # rows of fewer directions have no others: what is there is rounding
    return drawn @ (axes[:, kept] / sizes[kept].sqrt())


def _conjugate_gradients(
    times: Callable[[Tensor], Tensor],
    right: Tensor,
    precondition: Callable[[Tensor], Tensor],
    size: Callable[[Tensor], Tensor],
    precision: Tensor,
) -> Tensor:
    """z with times(z) = right for several systems at once, each until the `size` of its residual has shrunk to `precision`."""
    z, residual = torch.zeros_like(right), right.clone()
    ahead = precondition(residual)
    product = (residual * ahead).sum(-1)
    enough = size(residual) * precision
    open_ = product > 0
    for count in range(1, MAX_PRODUCTS + 1):
        image = times(ahead)
        length = torch.where(open_, product / (ahead * image).sum(-1), 0.0)[:, None]
        z, residual = z + length * ahead, residual - length * image
        if count % _LOOK == 0:
            open_ = open_ & (size(residual) > enough)
            if not open_.any():
                break
        scaled, before = precondition(residual), product
        product = torch.where(open_, (residual * scaled).sum(-1), before)
        ahead = scaled + torch.where(open_, product / before, 0.0)[:, None] * ahead
    return z


def squared(values: Any) -> Any:
    """Every value squared."""
    return values.power(2) if sparse.issparse(values) else values**2


def product(values: Any, vectors: Tensor) -> Tensor:
    """values @ vectors' as [probe, ...]; sparse values a block of rows per thread, which scipy leaves to one."""
    right, threads = np.ascontiguousarray(vectors.numpy().T), n_threads()
    if not sparse.issparse(values) or values.nnz < THREADED or threads == 1:
        return torch.from_numpy(np.ascontiguousarray((values @ right).T))
    with ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(lambda block: block @ right, _row_blocks(values, threads)))
    return torch.from_numpy(np.ascontiguousarray(np.concatenate(found).T))


n_threads = torch.get_num_threads


def _row_blocks(values: Any, n_blocks: int) -> list[Any]:
    """A sparse array cut into blocks of rows with as many values each; they share its memory."""
    cuts = np.searchsorted(values.indptr, np.linspace(0, values.nnz, n_blocks + 1)[1:-1])
    blocks = []
    for start, stop in pairwise([0, *cuts.tolist(), values.shape[0]]):
        first, last = values.indptr[start], values.indptr[stop]
        parts = (values.data[first:last], values.indices[first:last], values.indptr[start : stop + 1] - first)
        blocks.append(sparse.csr_array(parts, shape=(stop - start, values.shape[1])))
    return blocks
