"""Signs that a table of numbers is not what its column names say."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np
from jaxtyping import Float

PerCell = Float[np.ndarray, " cell"]


def identical_columns(
    columns: Mapping[str, PerCell], *, share: float = 0.99, min_cells: int = 10
) -> tuple[str, str] | None:
    """The first two metric columns that are equal in at least `share` of their cells, or None.

    Different metrics agree by chance now and then, never throughout: one is a copy of the other. Cells where either is
    undefined, or where both sit at 0 or both at 1, say nothing and are left out; fewer than `min_cells` others raise no
    alarm.
    """
    for (name, values), (other_name, others) in combinations(columns.items(), 2):
        telling = np.isfinite(values) & np.isfinite(others) & ~((values == others) & np.isin(values, (0.0, 1.0)))
        same = np.isclose(values[telling], others[telling], rtol=0.0, atol=1e-12)
        if len(same) >= min_cells and same.mean() >= share:
            return name, other_name
    return None
