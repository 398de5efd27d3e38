"""One row of features per text from those of its tokens; several poolings in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from torch import Tensor

from probeshift.features.encoder import SparseEncoder

POOLS = ("max", "mean", "last", "fraction_active")

Pooled = Float[np.ndarray, "pool feature"]


def pool_features(encoder: SparseEncoder, states: Tensor, pools: Sequence[str] = POOLS) -> Pooled:
    """Pooled activations [pool, feature] of one text's tokens [token, d_model], which must hold no BOS and no padding."""
    pooled = np.empty((len(pools), encoder.n_features), dtype=np.float32)
    for part, acts in encoder.blocks(states):
        of = {
            "max": lambda a: a.amax(0), "mean": lambda a: a.mean(0), "last": lambda a: a[-1],
            "fraction_active": lambda a: (a > 0).float().mean(0),
        }  # fmt: skip
        for row, pool in enumerate(pools):
            pooled[row, part] = of[pool](acts).cpu().numpy()
    return pooled
