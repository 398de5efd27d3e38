"""Linear: ridge regression from source to target activations, its lambda chosen on held-out text.

Source: affine maps between residual streams, e.g. Bello et al. 2025 (2506.00653). Assumes that the target's activations are
a linear function of the source's. Regularisation: lambda, in multiples of the mean variance of a source axis. Cost: one
eigendecomposition of [d_source, d_source]; every lambda is then judged without another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from probeshift.steering.maps.evidence import Evidence
from probeshift.steering.maps.method import MapMethod, Solved
from probeshift.steering.maps.moments import Moments

LAMBDAS = tuple(float(x) for x in np.logspace(-8, 2, 21))


@dataclass(frozen=True)
class RidgePath:
    """Ridge solutions of one set of training pairs for any lambda."""

    values: Tensor  # eigenvalues of the source covariance
    vectors: Tensor
    turned: Tensor  # eigenvectors' share of the cross-covariance
    unit: float  # mean variance of a source axis

    @classmethod
    def of(cls, evidence: Evidence) -> RidgePath:
        pairs = evidence.train.centred()
        values, vectors = torch.linalg.eigh(pairs.xx / pairs.n)
        values = values.clamp_min(0)
        return cls(values, vectors, vectors.T @ pairs.xy / pairs.n, float(values.mean()))

    def weight(self, relative: float) -> Tensor:
        """(C + lambda I)^-1 C_xy with lambda = relative x unit."""
        return self.vectors @ (self.turned / (self.values + relative * self.unit)[:, None])

    def r_squared(self, relatives: Sequence[float], train: Moments, heldout: Moments) -> list[float]:
        """`moments.r_squared` of each solution, from three matrix products for all: in the eigenvectors' axes they only differ in scale."""
        pairs = heldout.about(train.mean_x, train.mean_y)
        found = (self.turned * (self.vectors.T @ pairs.xy)).sum(1)
        spread = (self.vectors.T @ pairs.xx @ self.vectors) * (self.turned @ self.turned.T)
        left, whole = pairs.yy.trace(), heldout.centred().yy.trace()
        scales = [1 / (self.values + relative * self.unit) for relative in relatives]
        return [float(1 - (left - 2 * scale @ found + scale @ spread @ scale) / whole) for scale in scales]


def solve_linear(evidence: Evidence, seed: int) -> Solved:
    path = RidgePath.of(evidence)
    scores = dict(zip(LAMBDAS, path.r_squared(LAMBDAS, evidence.train, evidence.heldout), strict=True))
    best = max(scores, key=lambda one: (scores[one], one))
    return Solved(
        path.weight(best),
        {"lambda": best, "lambda_unit": path.unit, "lambda_at_edge": best in (LAMBDAS[0], LAMBDAS[-1])},
    )


LINEAR = MapMethod("linear", "Bello et al. 2025", solve_linear)
