"""Linear: ridge regression from source to target activations, its lambda chosen on held-out text.

Source: affine maps between residual streams, e.g. Bello et al. 2025 (2506.00653). Assumes that the target's activations are
a linear function of the source's. Regularisation: lambda, in multiples of the mean variance of a source axis. Cost: one
eigendecomposition of [d_source, d_source]; every lambda is then judged without another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from probeshift.steering.maps.evidence import Evidence
from probeshift.steering.maps.method import MapMethod, Solved
from probeshift.steering.maps.moments import r_squared

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


def solve_linear(evidence: Evidence, seed: int) -> Solved:
    path = RidgePath.of(evidence)
    scores = {one: r_squared(path.weight(one), evidence.train, evidence.heldout) for one in LAMBDAS}
    best = max(scores, key=lambda one: (scores[one], one))
    return Solved(
        path.weight(best),
        {"lambda": best, "lambda_unit": path.unit, "lambda_at_edge": best in (LAMBDAS[0], LAMBDAS[-1])},
    )


LINEAR = MapMethod("linear", "Bello et al. 2025", solve_linear)
