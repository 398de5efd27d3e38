"""Ridge regression for many held-out subsets and penalties at once, exactly.

Source: Hoerl and Kennard 1970; scikit-learn's `Ridge` is the oracle. With fewer training rows than dimensions the Gram matrix of
the rows is the small side, else their scatter matrix; the scatter of a subset is a sum over its folds, and a Gram matrix of a
subset is a part of the whole one, so nothing of size d_model x example is computed twice. All in float64: with massive
activations a float32 Gram is off in the second digit. Cost: one Cholesky factor of the small side per subset and penalty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from probeshift.arrays import Activations, Targets
from probeshift.probes.factors import factorise_in_place, solve_factored
from probeshift.probes.folds import Folds
from probeshift.probes.rows import in_float64, products


@dataclass(frozen=True)
class FoldRidge:
    """One (layer, position): its rows, the numbers to predict, and how rows fall into folds.

    Without `intercept` nothing is centred (scikit-learn's `fit_intercept=False`); with it the intercept is not penalised.
    """

    acts: Activations
    targets: Targets
    folds: Folds
    intercept: bool = True
    device: str = "cpu"
    _rows: Tensor = field(init=False, repr=False)
    _wanted: Tensor = field(init=False, repr=False)
    _shift: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rows, shift = in_float64(self.acts, self.device, centred=self.intercept)
        object.__setattr__(self, "_rows", rows)
        object.__setattr__(self, "_shift", shift)
        object.__setattr__(self, "_wanted", torch.tensor(self.targets, dtype=torch.float64, device=self.device))

    def predict(self, held_out: Sequence[tuple[int, ...]], penalties: Sequence[float]) -> list[np.ndarray]:
        """For each set of held-out folds, what ridge on all other rows predicts for theirs: [penalty, held-out row]."""
        return [self._predict(folds, penalties).cpu().numpy() for folds in held_out]

    def fit(self, penalty: float) -> tuple[np.ndarray, float]:
        """Direction [d_model] and intercept of ridge on all rows, for activations as they are."""
        everything = torch.ones(len(self._rows), dtype=torch.bool, device=self._rows.device)
        mean, level = self._centre(everything)
        if self._wide:
            coefficients = self._solve(self._centred_gram(everything), self._wanted - level, [penalty])[0]
            w = (self._rows - mean).T @ coefficients
        else:
            w = self._solve(*self._normal_equations(()), [penalty])[0]
        return w.cpu().numpy(), float(level - (mean + self._shift) @ w)

    def _predict(self, folds: tuple[int, ...], penalties: Sequence[float]) -> Tensor:
        held = torch.from_numpy(self.folds.held_out(*folds)).to(self._rows.device)
        mean, level = self._centre(~held)
        if not self._wide:
            w = self._solve(*self._normal_equations(folds), penalties)
            return w @ self._rows[held].T - (w @ mean)[:, None] + level
        coefficients = self._solve(self._centred_gram(~held), self._wanted[~held] - level, penalties)
        across = self._gram[held][:, ~held]
        if self.intercept:  # (x - mean) . (x_t - mean); what is constant in t meets coefficients that sum to 0
            across = across - self._gram[~held][:, ~held].mean(0)
        return coefficients @ across.T + level

    @property
    def _wide(self) -> bool:
        return self._rows.shape[0] <= self._rows.shape[1]

    def _centre(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Mean row and mean target of the chosen rows; zeros without an intercept."""
        if not self.intercept:
            return torch.zeros_like(self._shift), self._wanted.new_zeros(())
        return self._rows[chosen].mean(0), self._wanted[chosen].mean()

    @cached_property
    def _gram(self) -> Tensor:
        return products(self._rows[None])[0]

    def _centred_gram(self, chosen: Tensor) -> Tensor:
        gram = self._gram[chosen][:, chosen]
        if not self.intercept:
            return gram
        means = gram.mean(0)
        return gram - means - means[:, None] + means.mean()

    @cached_property
    def _parts(self) -> list[tuple[Tensor, Tensor]]:
        """Scatter and products with the targets of each fold."""
        of_row = torch.from_numpy(self.folds.of_row).to(self._rows.device)
        parts = []
        for fold in range(self.folds.n):
            rows = self._rows[of_row == fold]
            parts.append((products(rows.T[None])[0], rows.T @ self._wanted[of_row == fold]))
        return parts

    def _normal_equations(self, folds: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Centred scatter and cross products of all rows outside the given folds."""
        kept = [part for fold, part in enumerate(self._parts) if fold not in folds]
        scatter, cross = (part.clone() for part in kept[0])
        for part in kept[1:]:
            scatter, cross = scatter.add_(part[0]), cross.add_(part[1])
        if not self.intercept:
            return scatter, cross
        chosen = torch.from_numpy(~self.folds.held_out(*folds)).to(self._rows.device)
        mean, level = self._centre(chosen)
        n = int(chosen.sum())
        return scatter - n * torch.outer(mean, mean), cross - n * level * mean

    def _solve(self, system: Tensor, wanted: Tensor, penalties: Sequence[float]) -> Tensor:
        """(system + penalty I)^-1 wanted for each penalty: [penalty, size]. A penalty of 0 takes the shortest solution."""
        found, space = [], torch.empty_like(system)  # new memory for each factor costs as much as filling it
        for penalty in penalties:
            if penalty == 0:
                found.append(torch.linalg.pinv(system, hermitian=True) @ wanted)
                continue
            space.copy_(system).diagonal().add_(penalty)
            found.append(solve_factored(factorise_in_place(space), wanted[:, None])[:, 0])
        return torch.stack(found)
