"""Low-rank: reduced-rank regression, which shows how many directions two models share.

Source: Izenman 1975. The linear map, followed by a projection on the directions of the target in which its predictions vary
most. Regularisation: that of the linear map; the rank is the smallest within one percent of variance of the full map's
held-out share. Cost: that of the linear map and one more eigendecomposition.
"""

from __future__ import annotations

import torch

from probeshift.steering.maps.evidence import Evidence
from probeshift.steering.maps.linear import solve_linear
from probeshift.steering.maps.method import MapMethod, Solved
from probeshift.steering.maps.moments import r_squared

_TOLERANCE = 0.01


def solve_low_rank(evidence: Evidence, seed: int, rank: int | None = None) -> Solved:
    """With `rank` the map of that rank, else of the chosen one."""
    full = solve_linear(evidence, seed)
    predicted = full.weight.T @ evidence.train.centred().xx @ full.weight
    _, vectors = torch.linalg.eigh((predicted + predicted.T) / 2)
    vectors = vectors.flip(1)  # most variance first

    def of_rank(k: int) -> torch.Tensor:
        return full.weight @ vectors[:, :k] @ vectors[:, :k].T

    goal = r_squared(full.weight, evidence.train, evidence.heldout) - _TOLERANCE
    largest = min(evidence.shape)
    grid = sorted({*(2**i for i in range(largest.bit_length())), largest} & set(range(1, largest + 1)))
    chosen = rank or next(
        k for k in grid if k == largest or r_squared(of_rank(k), evidence.train, evidence.heldout) >= goal
    )
    return Solved(of_rank(chosen), {**full.choices, "rank": chosen})


LOW_RANK = MapMethod("lowrank", "Izenman 1975", solve_low_rank)
