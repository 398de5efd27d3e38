"""Logistic probes on standardised features, one for each of many selections of the same rows.

Folds, mixtures and subsets of sources are selections of shared rows. Minimises C * sum of log losses + |w|^2 / 2 with a free
intercept on (row - mean) / scale, mean and scale of the selected rows, as scikit-learn's StandardScaler before
LogisticRegression does. Rows whose smaller side can be factored are solved one by one with that, others together, by products with
the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from scipy import sparse
from torch import Tensor

from probeshift.arrays import Labels, PerProbe
from probeshift.probes.newton import solve_logistic
from probeshift.probes.newton_cg import GRADIENT, ScaledRows, product, solve_by_products, squared
from probeshift.probes.rows import Rows

TOGETHER = 16  # selections solved at once: enough to share the reading of rows, few enough to stay in cache
FACTORED = 2048  # smaller side up to which it is factored: correlated features take thousands of products
_CONSTANT = 1e-13  # variance relative to the mean square below which a feature is constant: rounding of the difference

Members = Bool[np.ndarray, "probe example"]
Directions = Float[np.ndarray, "probe feature"]


@dataclass(frozen=True)
class Standardised:
    """Directions [probe, feature] and biases in raw feature space, what was standardised, and what the Newton decrement is at most."""

    directions: Directions
    biases: PerProbe
    means: Directions
    scales: Directions
    gradients: PerProbe

    @property
    def converged(self) -> np.ndarray:
        return self.gradients <= GRADIENT

    @property
    def coefficients(self) -> Directions:
        """Weights of the standardised features."""
        return self.directions * self.scales

    @property
    def intercepts(self) -> PerProbe:
        """Scores of the mean row."""
        return self.biases + (self.directions * self.means).sum(1)


def solve_standardised(
    values: Any,
    labels: Labels,
    members: Members,
    *,
    penalty_c: float = 1.0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Standardised:
    """The unique minimiser for each selection of rows; each must hold both classes.

    Args:
        values: [example, feature], a float64 array or scipy sparse array.
        labels: of all rows.
        members: which rows each probe is fitted on.
        penalty_c: as scikit-learn's C.
        on_progress: called with (probes done, probes in all).
    """
    turned = values.T.tocsr() if sparse.issparse(values) else values.T
    targets = torch.tensor(labels, dtype=torch.float64)
    parts = []
    for start in range(0, len(members), TOGETHER):
        selected = torch.tensor(members[start : start + TOGETHER], dtype=torch.float64)
        means, scales = _standardisation(turned, selected)
        scaled = ScaledRows(values, turned, means, scales)
        solve = _factored if _small(values, selected) else solve_by_products
        w, intercepts, gradients = solve(scaled, targets, penalty_c * selected)
        directions = w / scales
        biases = intercepts - (means * directions).sum(-1)
        parts.append(tuple(x.numpy() for x in (directions, biases, means, scales, gradients)))
        if on_progress:
            on_progress(min(start + TOGETHER, len(members)), len(members))
    return Standardised(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _small(values: Any, selected: Tensor) -> bool:
    return min(int(selected.sum(-1).max()), values.shape[1]) <= FACTORED


def _factored(rows: ScaledRows, targets: Tensor, c: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """As `solve_by_products`, by factoring; sparse rows are made plain, one selection at a time."""
    found = []
    for mean, scale, of_probe in zip(rows.means, rows.scales, c, strict=True):
        used = of_probe > 0
        chosen = rows.values[used.numpy()]
        plain = torch.from_numpy(chosen.toarray() if sparse.issparse(chosen) else chosen)
        scaled = (plain - mean) / scale
        found.append(solve_logistic(Rows(scaled[None]), targets[used], penalty_c=float(of_probe.max())))
    parts = zip(*((f.directions, f.intercepts, f.decrements) for f in found), strict=True)
    directions, intercepts, decrements = (torch.cat(part) for part in parts)
    return directions, intercepts, decrements


def _standardisation(turned: Any, selected: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [probe, feature] of the selected rows; 1 where a feature is constant."""
    share = selected / selected.sum(-1, keepdim=True)
    means, squares = product(turned, share), product(squared(turned), share)
    variance = squares - means**2
    return means, torch.where(variance > _CONSTANT * squares, variance, 1.0).sqrt()
