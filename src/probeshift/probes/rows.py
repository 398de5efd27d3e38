"""Training rows, factored once for all solvers.

Every solution found here lies in the span of the training rows (the penalty or the minimum norm keeps it there), so a problem in
d_model dimensions is a problem in min(example, d_model) dimensions: `gram` [example, example] is the small side when there are
fewer rows than dimensions, `scatter` [d_model, d_model] else. All in float64: with massive activations a float32 Gram loses the
small directions. All layers of a chunk at once; the same code runs on CPU and GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from probeshift.arrays import Activations

BLOCK = 256  # rows of a product computed at once; below half of the rows it saves up to half of the work

RowOperator = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Rows:
    """Rows [layer, example, d_model] in float64, or a linear image of them (centred, selected, subtracted from each other)."""

    values: Tensor
    given_gram: Tensor | None = field(default=None, repr=False)

    @property
    def wide(self) -> bool:
        """Whether the rows are no more than their dimensions, so that the Gram matrix is the small side."""
        return self.values.shape[1] <= self.values.shape[2]

    @cached_property
    def gram(self) -> Tensor:
        """Inner products of the rows [layer, example, example]."""
        return products(self.values) if self.given_gram is None else self.given_gram

    @cached_property
    def scatter(self) -> Tensor:
        """Sum of outer products of the rows [layer, d_model, d_model]."""
        return products(self.values.mT)

    def map(self, operator: RowOperator) -> Rows:
        """The rows after a linear operation on the example axis (axis -2); a Gram matrix follows without a new product."""
        if not self.wide:
            return Rows(operator(self.values))
        return Rows(operator(self.values), operator(operator(self.gram).mT))

    def shifted(self, by: Tensor) -> Rows:
        """The rows with one vector [layer, d_model] added to each."""
        moved = self.values + by[:, None]
        if not self.wide:
            return Rows(moved)
        along = (self.values @ by[..., None]).squeeze(-1)
        return Rows(moved, self.gram + along[:, None] + along[..., None] + by.square().sum(-1)[:, None, None])

    def at(self, index: Tensor) -> Rows:
        """The rows [layer, chosen] of each layer."""
        values = torch.take_along_dim(self.values, index[..., None], dim=1)
        if not self.wide:
            return Rows(values)
        chosen = torch.take_along_dim(torch.take_along_dim(self.gram, index[..., None], dim=1), index[:, None], dim=2)
        return Rows(values, chosen)

    @property
    def squares(self) -> Tensor:
        """Squared lengths of the rows [layer, example]."""
        return self.gram.diagonal(dim1=1, dim2=2) if self.wide else self.values.square().sum(-1)

    def combine(self, coefficients: Tensor) -> Tensor:
        """The vectors [layer, d_model] that [layer, example] coefficients make of the rows."""
        return (self.values.mT @ coefficients[..., None]).squeeze(-1)


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

    return centre


def centre(values: Tensor) -> Tensor:
    """Subtract the mean row."""
    return values - values.mean(1, keepdim=True)


def in_float64(acts: Activations, device: str, *, centred: bool) -> tuple[Tensor, Tensor]:
    """Rows [example, d_model] in float64 less a shift [d_model]: their mean, or nothing.

    Centring changes no solution that has a free intercept; it keeps numbers small.
    """
    rows = torch.from_numpy(np.ascontiguousarray(acts)).to(device, torch.float64)
    shift = rows.mean(0) if centred else torch.zeros_like(rows[0])
    return rows - shift, shift
