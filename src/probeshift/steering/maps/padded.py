"""Padded: the source vector cut, or filled with zeros, to the target's width. A control: there is no reason for it to work."""

from __future__ import annotations

import torch

from probeshift.steering.maps.evidence import Evidence
from probeshift.steering.maps.method import MapMethod, Solved


def solve_padded(evidence: Evidence, seed: int) -> Solved:
    return Solved(torch.eye(*evidence.shape, dtype=torch.float64))


PADDED = MapMethod("padded", "control", solve_padded, control=True)
