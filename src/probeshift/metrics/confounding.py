"""Does the source of a row give its label away?

Source: Cramér 1946, ch. 21 (the association of two nominal variables).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int

from probeshift.arrays import Labels
from probeshift.metrics.ranking import auroc

Sources = Int[np.ndarray, " example"]


def cramers_v(sources: Sources, labels: Labels) -> float | None:
    """Association of source and label: 0 none, 1 the source is the label. None with one source or one class."""
    table = _counts(sources, labels)
    if min(table.shape) < 2 or (table.sum(axis=0) == 0).any():
        return None
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    return float(np.sqrt(((table - expected) ** 2 / expected).sum() / table.sum()))  # two columns: min(r, c) - 1 = 1


def source_only_auroc(sources: Sources, labels: Labels) -> float | None:
    """AUROC, on these rows, of a classifier that knows nothing but the source and says its share of positives.

    At least 0.5 by construction, and above it by chance too when there are many small sources. None with one class.
    """
    table = _counts(sources, labels)
    shares = (table[:, 1] / table.sum(axis=1))[np.unique(sources, return_inverse=True)[1]]
    value = auroc(shares[None], labels)[0]
    return None if np.isnan(value) else float(value)


def _counts(sources: Sources, labels: Labels) -> np.ndarray:
    """Rows by source and label [source, 2]."""
    _, codes = np.unique(sources, return_inverse=True)
    return np.bincount(2 * codes + labels, minlength=2 * (codes.max() + 1)).reshape(-1, 2).astype(np.float64)
