"""Training rows, factored once for all solvers.

Every solution found here lies in the span of the training rows (the penalty or the minimum norm keeps it there), so a problem in
d_model dimensions is a problem in min(example, d_model) dimensions: `gram` [example, example] is the small side when there are
fewer rows than dimensions, `scatter` [d_model, d_model] else. All in float64: with massive activations a float32 Gram loses the
small directions. All layers of a chunk at once; the same code runs on CPU and GPU.

Centring, choosing and subtracting rows are linear operators on the examples. With fewer rows than dimensions only the Gram matrix
goes through them; the rows themselves are read where a solution is written as a combination of them, through the adjoint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from probeshift.arrays import Activations

BLOCK = 256  # rows of a product computed at once; below half of the rows it saves up to half of the work


@dataclass(frozen=True)
class RowOperator:
    """A linear map of [layer, example, column] along the examples, and its adjoint."""

    apply: Callable[[Tensor], Tensor]
    adjoint: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Rows:
    """Rows [layer, example, d_model] in float64: `operators`, the first first, applied to `source` + `shift`."""

    source: Tensor
    given_gram: Tensor | None = field(default=None, repr=False)
    operators: tuple[RowOperator, ...] = ()
    shift: Tensor | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Layers, examples, d_model."""
        small = self.source if self.given_gram is None else self.given_gram
        return (*small.shape[:2], self.source.shape[2])

    @property
    def wide(self) -> bool:
        """Whether the rows are no more than their dimensions, so that the Gram matrix is the small side."""
        return self.shape[1] <= self.shape[2]

    @cached_property
    def values(self) -> Tensor:
        """The rows themselves [layer, example, d_model]."""
        return self._through(self.source if self.shift is None else self.source + self.shift[:, None])

    @cached_property
    def gram(self) -> Tensor:
        """Inner products of the rows [layer, example, example]."""
        return products(self.values) if self.given_gram is None else self.given_gram

    @cached_property
    def scatter(self) -> Tensor:
        """Sum of outer products of the rows [layer, d_model, d_model]."""
        return products(self.values.mT)

    def _through(self, columns: Tensor) -> Tensor:
        for operator in self.operators:
            columns = operator.apply(columns)
        return columns

    def map(self, operator: RowOperator) -> Rows:
        """The rows after a linear operation on the examples; a Gram matrix follows without a new product."""
        if not self.wide:
            return Rows(operator.apply(self.values))
        gram = operator.apply(operator.apply(self.gram).mT)
        return replace(self, given_gram=gram, operators=(*self.operators, operator))

    def shifted(self, by: Tensor) -> Rows:
        """The rows with one vector [layer, d_model] added to each."""
        if not self.wide:
            return Rows(self.values + by[:, None])
        along = self.times(by[..., None]).squeeze(-1)
        gram = self.gram + along[:, None] + along[..., None] + by.square().sum(-1)[:, None, None]
        if self.operators or self.shift is not None:
            return Rows(self.values + by[:, None], gram)
        return Rows(self.source, gram, shift=by)

    def at(self, index: Tensor) -> Rows:
        """The rows [layer, chosen] of each layer."""
        return self.map(choose(index, self.shape[1]))

    @property
    def squares(self) -> Tensor:
        """Squared lengths of the rows [layer, example]."""
        return self.gram.diagonal(dim1=1, dim2=2) if self.wide else self.values.square().sum(-1)

    def times(self, vectors: Tensor) -> Tensor:
        """Inner products [layer, example, k] of the rows with vectors [layer, d_model, k]."""
        columns = self.source @ vectors
        return self._through(columns if self.shift is None else columns + self.shift[:, None] @ vectors)

    def combine(self, coefficients: Tensor) -> Tensor:
        """The vectors [layer, d_model] that [layer, example] coefficients make of the rows."""
        column = coefficients[..., None]
        for operator in reversed(self.operators):
            column = operator.adjoint(column)
        found = (self.source.mT @ column).squeeze(-1)
        return found if self.shift is None else found + column.sum(1) * self.shift


def products(rows: Tensor) -> Tensor:
    """Inner products of all pairs of rows [layer, n, n]; half of them are copied, not computed."""
    n_layers, size, _ = rows.shape
    found = rows.new_empty(n_layers, size, size)
    for start in range(0, size, BLOCK):
        stop = min(start + BLOCK, size)
        found[:, start:stop, :stop] = rows[:, start:stop] @ rows[:, :stop].mT
        found[:, :start, start:stop] = found[:, start:stop, :start].mT
    return found


def centre_by(codes: Tensor) -> RowOperator:
    """Subtract from each row the mean of the rows with its code; codes are dense."""
    counts = torch.bincount(codes).to(torch.float64)

    def centre(values: Tensor) -> Tensor:
        sums = values.new_zeros(values.shape[0], len(counts), values.shape[2]).index_add_(1, codes, values)
        return values - (sums / counts[:, None])[:, codes]

    return RowOperator(centre, centre)


def _less_mean(values: Tensor) -> Tensor:
    return values - values.mean(1, keepdim=True)


CENTRE = RowOperator(_less_mean, _less_mean)  # subtract the mean row


def choose(index: Tensor, size: int) -> RowOperator:
    """The rows [layer, chosen] of `size` rows."""

    def apply(values: Tensor) -> Tensor:
        return torch.take_along_dim(values, index[..., None], dim=1)

    def adjoint(values: Tensor) -> Tensor:
        found = values.new_zeros(len(values), size, values.shape[2])
        return found.scatter_add_(1, index[..., None].expand_as(values), values)

    return RowOperator(apply, adjoint)


def subtract(first: Tensor, second: Tensor, size: int) -> RowOperator:
    """The differences [layer, pair] of two selections of `size` rows."""
    plus, minus = choose(first, size), choose(second, size)
    return RowOperator(
        lambda values: plus.apply(values) - minus.apply(values),
        lambda values: plus.adjoint(values) - minus.adjoint(values),
    )


def in_float64(acts: Activations, device: str, *, centred: bool) -> tuple[Tensor, Tensor]:
    """Rows [example, d_model] in float64 less a shift [d_model]: their mean, or nothing.

    Centring changes no solution that has a free intercept; it keeps numbers small.
    """
    rows = torch.from_numpy(np.ascontiguousarray(acts)).to(device, torch.float64)
    if not centred:
        return rows, torch.zeros_like(rows[0])
    shift = rows.mean(0)
    return rows - shift, shift
