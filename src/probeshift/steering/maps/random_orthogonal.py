"""Random-orthogonal: a seeded rotation into the target's width, which keeps lengths and angles and knows nothing. A control."""

from __future__ import annotations

import torch

from probeshift.steering.maps.evidence import Evidence
from probeshift.steering.maps.method import MapMethod, Solved


def solve_random(evidence: Evidence, seed: int) -> Solved:
    d_source, d_target = evidence.shape
    draw = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(
        torch.randn(*sorted((d_source, d_target), reverse=True), generator=draw, dtype=torch.float64)
    )
    q = q * r.diagonal().sign()
    return Solved(q if d_source >= d_target else q.T.contiguous())


RANDOM_ORTHOGONAL = MapMethod("random-orthogonal", "control", solve_random, control=True)
