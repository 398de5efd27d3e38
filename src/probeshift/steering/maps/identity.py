"""Identity: the source vector as it is.

Source: the document's first transfer method. Assumes that both models use the same axes, which only copies and fine-tunes
of one model do. Needs equal widths. Nothing is fitted.
"""

from __future__ import annotations

import torch

from probeshift.steering.maps.evidence import Evidence
from probeshift.steering.maps.method import MapMethod, Solved, require_equal_widths


def solve_identity(evidence: Evidence, seed: int) -> Solved:
    require_equal_widths(evidence)
    return Solved(torch.eye(evidence.shape[0], dtype=torch.float64))


IDENTITY = MapMethod("identity", "none", solve_identity)
