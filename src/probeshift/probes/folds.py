"""Which rows are held out together in cross-validation. Folds are scikit-learn's own; only the choice among them is ours."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from probeshift.arrays import Groups, Targets
from probeshift.errors import UsageError

Task = Literal["regression", "classification"]


@dataclass(frozen=True)
class Folds:
    """`of_row` is the fold of each row, 0 to n - 1; `rule` says in words how rows were put there."""

    of_row: np.ndarray
    rule: str

    @property
    def n(self) -> int:
        return int(self.of_row.max()) + 1

    def held_out(self, *folds: int) -> np.ndarray:
        """Which rows lie in the given folds."""
        return np.isin(self.of_row, folds)

    def pairs(self, *, neighbours_only: bool) -> tuple[tuple[int, int], ...]:
        """Pairs of folds held out together, so that each of them can judge a choice made without the other.

        All pairs, or only those next to each other on a ring, which gives every fold two partners.
        """
        every = tuple(combinations(range(self.n), 2))
        return tuple(p for p in every if p[1] - p[0] in (1, self.n - 1)) if neighbours_only else every


def cut_folds(targets: Targets, task: Task, *, n_folds: int, seed: int, groups: Groups | None = None) -> Folds:
    """Shuffled folds: stratified by class for classification, rows of one group kept together where groups are given.

    Raises:
        UsageError: fewer rows of a class, or fewer groups, than folds.
    """
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    grouped = groups is not None and len(np.unique(groups)) < len(groups)
    _check(targets, task, n_folds, groups)
    kinds = {
        ("regression", False): KFold,
        ("classification", False): StratifiedKFold,
        ("regression", True): GroupKFold,
        ("classification", True): StratifiedGroupKFold,
    }
    splitter = kinds[task, grouped](n_folds, shuffle=True, random_state=seed)
    of_row = np.empty(len(targets), dtype=np.int64)
    for fold, (_, held_out) in enumerate(splitter.split(targets[:, None], targets, groups if grouped else None)):
        of_row[held_out] = fold
    rule = f"{n_folds} shuffled {'stratified ' * (task == 'classification')}folds, seed {seed}"
    return Folds(of_row, rule + (", rows of one question together" if grouped else ""))


def _check(targets: Targets, task: Task, n_folds: int, groups: Groups | None) -> None:
    if n_folds < 2:
        raise UsageError(f"--n-folds must be at least 2, got {n_folds}.")
    units = len(targets) if groups is None else len(np.unique(groups))
    if task == "classification":
        units = min(units, *np.unique(targets, return_counts=True)[1])
    if units < n_folds:
        what = "rows of the smaller class" if task == "classification" else "rows"
        raise UsageError(f"{n_folds} folds need at least {n_folds} {what}, there are {units}. Lower --n-folds.")
