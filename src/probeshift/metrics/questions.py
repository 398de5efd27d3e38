"""How the rows of one test set fall into questions, and which questions can be ranked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from probeshift.arrays import Correct, Groups, Labels, Scores

Flags = Bool[np.ndarray, " probe"]
PerQuestion = Float[np.ndarray, " group"]
Counts = Int[np.ndarray, " group"]  # per question
QuestionFlags = Bool[np.ndarray, " group"]

CHUNK_ELEMENTS = 1 << 22  # 32 MB of float64 per temporary


@dataclass(frozen=True)
class Questions:
    """The layout of one test set.

    Without groups every row is a question of its own, which then serves only to count and to resample: nothing is
    ranked. `group_of_row` numbers the questions 0..n-1 in ascending order of the given ids; `n_true`, `n_rows` count
    per question.
    """

    labels: Labels
    group_of_row: Groups
    n_true: Counts
    n_rows: Counts
    grouped: bool

    @property
    def n_questions(self) -> int:
        """Questions in the set, rankable or not; rows when the set has no groups."""
        return len(self.n_rows)

    @property
    def rankable(self) -> QuestionFlags:
        """Questions with at least one true and one false row."""
        return (self.n_true > 0) & (self.n_true < self.n_rows)

    @property
    def chance_by_question(self) -> float:
        """Accuracy by question of a random pick: mean of true rows / rows, over rankable questions (NaN when none)."""
        kept = self.rankable
        return float(np.mean(self.n_true[kept] / self.n_rows[kept])) if kept.any() else float("nan")

    @property
    def chance_by_row(self) -> float:
        """Accuracy by row of the best constant answer: the share of the larger class."""
        share = float(np.mean(self.labels)) if len(self.labels) else float("nan")
        return max(share, 1.0 - share)

    def sum_by_question(self, rows: Scores) -> Correct:
        """Row values added up within each question."""
        if not self.grouped:
            return rows
        order = np.argsort(self.group_of_row, kind="stable")
        starts = np.concatenate([[0], np.cumsum(self.n_rows)[:-1]])
        return np.add.reduceat(rows[:, order], starts, axis=1)


def lay_out(labels: Labels, groups: Groups | None) -> Questions:
    """The layout of a test set. `groups` None means that the rows are independent statements."""
    if groups is None:
        ones = np.ones(len(labels), dtype=np.int64)
        return Questions(labels, np.arange(len(labels)), labels.astype(np.int64), ones, grouped=False)
    ids, group_of_row = np.unique(groups, return_inverse=True)
    n_true = np.bincount(group_of_row, weights=labels, minlength=len(ids)).astype(np.int64)
    n_rows = np.bincount(group_of_row, minlength=len(ids)).astype(np.int64)
    return Questions(labels, group_of_row.astype(np.int64), n_true, n_rows, grouped=True)


def probe_chunks(n_probes: int, width: int) -> Iterator[slice]:
    """Consecutive slices over probes such that a `[chunk, width]` array stays within the memory bound."""
    step = max(1, CHUNK_ELEMENTS // max(1, width))
    for start in range(0, n_probes, step):
        yield slice(start, min(start + step, n_probes))
