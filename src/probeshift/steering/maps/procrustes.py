"""Procrustes: the rotation (and one scale) that brings the source's activations closest to the target's.

Source: Schoenemann 1966; between models e.g. Atlas-Alignment (2510.27413). Assumes equal geometry up to rotation: angles and
relative lengths of vectors are kept. Between two widths the map is a rotation of the directions both share and drops, or
leaves empty, the rest. Cost: one singular value decomposition of [d_source, d_target].
"""

from __future__ import annotations

import torch

from probeshift.steering.maps.evidence import Evidence
from probeshift.steering.maps.method import MapMethod, Solved


def solve_procrustes(evidence: Evidence, seed: int) -> Solved:
    pairs = evidence.train.centred()
    u, values, vt = torch.linalg.svd(pairs.xy, full_matrices=False)
    rotation = u @ vt
    # With two widths u u' keeps part of the source's variance only; the best scale counts that part.
    scale = float(values.sum() / (rotation * (pairs.xx @ rotation)).sum())
    return Solved(scale * rotation, {"scale": scale})


PROCRUSTES = MapMethod("procrustes", "Schoenemann 1966", solve_procrustes)
