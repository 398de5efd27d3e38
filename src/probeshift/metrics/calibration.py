"""Are predicted probabilities the shares that come true? Brier score and expected calibration error over bins of equal mass.

Sources: Brier 1950; Nixon et al. 2019 (equal-mass bins: with equal widths most bins of a confident probe are empty).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from probeshift.arrays import Labels

Probabilities = Float[np.ndarray, " example"]
N_BINS = 10


def brier(probabilities: Probabilities, labels: Labels) -> float:
    """Mean squared distance of the probability from 0 or 1; 0 is perfect, 0.25 is always saying a half."""
    return float(np.mean((probabilities - labels) ** 2))


def calibration_error(probabilities: Probabilities, labels: Labels, *, n_bins: int = N_BINS) -> float:
    """Mean distance between predicted and observed share over bins of (nearly) as many rows each.

    Equal probabilities stay in one bin, so the value does not depend on the order of rows. Even perfect calibration has a value
    above 0 on few rows: about sqrt(n_bins / rows) / 4.
    """
    ascending = np.sort(probabilities)
    bins = (np.searchsorted(ascending, probabilities, "left") * n_bins) // len(probabilities)
    gaps = np.bincount(bins, weights=probabilities - labels, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(probabilities))
