"""Sums over pairs of activations, in float64: all that a linear map is fitted and judged by. The activations are not kept."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Moments:
    """Running sums over pairs (x, y): how many, their sums, and the sums of their products."""

    n: int
    x: Tensor
    y: Tensor
    xx: Tensor
    xy: Tensor
    yy: Tensor

    @classmethod
    def empty(cls, d_source: int, d_target: int) -> Moments:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64)

        x, y = zeros(d_source), zeros(d_target)
        return cls(0, x, y, zeros(d_source, d_source), zeros(d_source, d_target), zeros(d_target, d_target))

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> Moments:
        """The sums over given pairs [pair, d_source] and [pair, d_target]."""
        moments = cls.empty(x.shape[1], y.shape[1])
        moments.add(x, y)
        return moments

    def add(self, x: Tensor, y: Tensor) -> None:
        x, y = x.double().cpu(), y.double().cpu()
        self.n += len(x)
        self.x += x.sum(0)
        self.y += y.sum(0)
        self.xx.addmm_(x.T, x)
        self.xy.addmm_(x.T, y)
        self.yy.addmm_(y.T, y)

    @property
    def mean_x(self) -> Tensor:
        return self.x / self.n

    @property
    def mean_y(self) -> Tensor:
        return self.y / self.n

    def about(self, x: Tensor, y: Tensor) -> Centred:
        """Sums of products of the differences from given centres."""
        n = self.n

        def shifted(products: Tensor, a: Tensor, b: Tensor, at: Tensor, bt: Tensor) -> Tensor:
            return products - torch.outer(a, bt) - torch.outer(at, b) + n * torch.outer(at, bt)

        return Centred(
            n,
            shifted(self.xx, self.x, self.x, x, x),
            shifted(self.xy, self.x, self.y, x, y),
            shifted(self.yy, self.y, self.y, y, y),
        )

    def centred(self) -> Centred:
        """Sums of products of the differences from the means."""
        return self.about(self.mean_x, self.mean_y)


@dataclass(frozen=True)
class Centred:
    """Sums over `n` pairs of products of differences from a centre: [d_source, d_source], [d_source, d_target], ..."""

    n: int
    xx: Tensor
    xy: Tensor
    yy: Tensor


def r_squared(weight: Tensor, train: Moments, heldout: Moments) -> float:
    """Share of the held-out variance of y that `mean_y + (x - mean_x) weight` explains, its centres from the training pairs.

    At most 1; below 0 where the held-out mean itself would do better.
    """
    pairs = heldout.about(train.mean_x, train.mean_y)
    errors = pairs.yy.trace() - 2 * (weight * pairs.xy).sum() + (weight * (pairs.xx @ weight)).sum()
    return float(1 - errors / heldout.centred().yy.trace())


def linear_cka(moments: Moments) -> float:
    """Linear centred kernel alignment of both sides, in [0, 1] (Kornblith et al. 2019)."""
    pairs = moments.centred()
    return float(pairs.xy.norm() ** 2 / (pairs.xx.norm() * pairs.yy.norm()))
