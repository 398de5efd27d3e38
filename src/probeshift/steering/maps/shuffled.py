"""Shuffled: the linear map fitted on pairs that do not belong together. A control; one is no null, average at least twenty.

The target side of the sampled pairs is permuted, within training and within held-out pairs; everything else, the choice of
lambda included, is that of the linear map.
"""

from __future__ import annotations

import torch

from probeshift.steering.maps.evidence import Evidence, Pairs
from probeshift.steering.maps.linear import solve_linear
from probeshift.steering.maps.method import MapMethod, Solved
from probeshift.steering.maps.moments import Moments


def solve_shuffled(evidence: Evidence, seed: int) -> Solved:
    draw = torch.Generator().manual_seed(seed)
    train, heldout = (_permuted(pairs, draw) for pairs in (evidence.sample, evidence.sample_heldout))
    moments = [Moments.of(pairs.x, pairs.y) for pairs in (train, heldout)]
    return solve_linear(Evidence(moments[0], moments[1], train, heldout), seed)


def _permuted(pairs: Pairs, draw: torch.Generator) -> Pairs:
    return Pairs(pairs.x, pairs.y[torch.randperm(len(pairs.y), generator=draw)])


SHUFFLED = MapMethod("shuffled", "control", solve_shuffled, control=True, needs_sample=True)
