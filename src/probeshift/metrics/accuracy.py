"""Accuracy by question (is the top-scored row true?) and by row (is the sign of the score right?)."""

from __future__ import annotations

import numpy as np

from probeshift.arrays import Correct, Scores
from probeshift.metrics.questions import Questions, probe_chunks


def correct_by_question(scores: Scores, questions: Questions) -> Correct:
    """Share of each rankable question won: 1 when its top-scored row is true, 0 when it is false.

    Among tied top rows it is the share that is true, the expected value under random tie breaking. Columns are the
    rankable questions in ascending order; the others are left out. Scores must be finite.
    """
    kept_rows = np.flatnonzero(questions.rankable[questions.group_of_row])
    order = kept_rows[np.argsort(questions.group_of_row[kept_rows], kind="stable")]
    sizes = questions.n_rows[questions.rankable]
    correct = np.empty((len(scores), len(sizes)))
    if len(sizes):
        starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        for chunk in probe_chunks(len(scores), len(order)):
            correct[chunk] = _share_of_top_true(scores[chunk][:, order], questions.labels[order], starts, sizes)
    return correct


def correct_by_row(scores: Scores, questions: Questions) -> Scores:
    """1 where the prediction equals the label, else 0. A row is predicted true when its score is strictly above 0."""
    return ((scores > 0) == questions.labels).astype(np.float64)


def _share_of_top_true(scores, labels, starts, sizes) -> Correct:
    best = np.maximum.reduceat(scores, starts, axis=1)
    top = scores == np.repeat(best, sizes, axis=1)
    n_top = np.add.reduceat(top, starts, axis=1, dtype=np.int64)
    n_top_true = np.add.reduceat(top & labels, starts, axis=1, dtype=np.int64)
    return n_top_true / n_top
