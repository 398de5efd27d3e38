"""Logistic regression for many held-out subsets and penalties at once, each solved to its optimum.

Source: scikit-learn's `LogisticRegression` with C = 1 / penalty (an L2 penalty on the direction, none on the intercept). Subsets
of one size are solved side by side, and every penalty starts from the solution of the larger one before it. Cost: a few
factorisations of the small side per subset and penalty; see `newton`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from probeshift.arrays import Activations, Targets
from probeshift.errors import UsageError
from probeshift.probes.folds import Folds
from probeshift.probes.newton import Logistic, solve_logistic
from probeshift.probes.rows import Rows, in_float64, products

# float64 rows copied at once, for subsets solved side by side.
SUBSET_BYTES = {"cpu": 64 << 20, "cuda": 2 << 30}


@dataclass(frozen=True)
class FoldLogistic:
    """One (layer, position): its rows, targets of 0 and 1, and how rows fall into folds. Predictions are log odds."""

    acts: Activations
    targets: Targets
    folds: Folds
    intercept: bool = True
    device: str = "cpu"
    _rows: Tensor = field(init=False, repr=False)
    _shift: Tensor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        rows, shift = in_float64(self.acts, self.device, centred=self.intercept)
        object.__setattr__(self, "_rows", rows)
        object.__setattr__(self, "_shift", shift)

    def predict(self, held_out: Sequence[tuple[int, ...]], penalties: Sequence[float]) -> list[np.ndarray]:
        """For each set of held-out folds, the log odds of its rows when fitted on all others: [penalty, held-out row]."""
        found = [np.empty((len(penalties), int(self.folds.held_out(*folds).sum()))) for folds in held_out]
        for numbers in self._batches(held_out):
            kept = [~self.folds.held_out(*held_out[number]) for number in numbers]
            for penalty, fitted in self._path(kept, penalties):
                for number, chosen, w, level in zip(numbers, kept, fitted.directions, fitted.intercepts, strict=True):
                    found[number][penalty] = (self._rows[torch.from_numpy(~chosen)] @ w + level).cpu().numpy()
        return found

    def fit(self, penalty: float) -> tuple[np.ndarray, float]:
        """Direction [d_model] and intercept on all rows, for activations as they are."""
        fitted = next(self._path([np.ones(len(self._rows), dtype=bool)], [penalty]))[1]
        w = fitted.directions[0]
        return w.cpu().numpy(), float(fitted.intercepts[0] - self._shift @ w)

    def _batches(self, held_out: Sequence[tuple[int, ...]]) -> Iterator[list[int]]:
        """Numbers of subsets that have the same size, a few at a time."""
        by_size: dict[int, list[int]] = defaultdict(list)
        for number, folds in enumerate(held_out):
            by_size[int(self.folds.held_out(*folds).sum())].append(number)
        step = max(1, SUBSET_BYTES[self._rows.device.type] // self._rows.nbytes)
        for numbers in by_size.values():
            yield from (numbers[i : i + step] for i in range(0, len(numbers), step))

    def _path(self, kept: Sequence[np.ndarray], penalties: Sequence[float]) -> Iterator[tuple[int, Logistic]]:
        """The solutions on each subset, from the largest penalty down.

        Raises:
            UsageError: a penalty of 0 or below: separable rows have no solution.
        """
        if min(penalties) <= 0:
            raise UsageError(
                "logistic regression without a penalty has no solution on separable rows. Use an alpha above 0."
            )
        chosen = [torch.from_numpy(np.flatnonzero(k)).to(self._rows.device) for k in kept]
        values = torch.stack([self._rows[rows] for rows in chosen])
        wide = values.shape[1] <= values.shape[2]
        rows = Rows(values, torch.stack([self._gram[c][:, c] for c in chosen]) if wide else None)
        labels = torch.stack([self._labels[c] for c in chosen])
        start = None
        for penalty in np.argsort(penalties)[::-1].tolist():
            fitted = solve_logistic(
                rows, labels, penalty_c=1 / penalties[penalty], intercept=self.intercept, start=start
            )
            _must_converge(fitted)
            start = fitted.point
            yield penalty, fitted

    @cached_property
    def _labels(self) -> Tensor:
        return torch.from_numpy(self.targets).to(self._rows.device) > 0.5

    @cached_property
    def _gram(self) -> Tensor:
        return products(self._rows[None])[0]


def _must_converge(fitted: Logistic) -> None:
    if not bool(fitted.converged.all()):
        worst = float(fitted.decrements.max())
        raise UsageError(f"logistic regression did not converge (Newton decrement {worst:.1e}). Use a larger alpha.")
