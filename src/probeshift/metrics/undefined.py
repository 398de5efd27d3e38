"""When a metric is undefined, and the word that says why. Undefined is never 0, 0.5 or 1."""

from __future__ import annotations

import numpy as np

from probeshift.arrays import Scores
from probeshift.metrics.questions import Questions

NON_FINITE = "non_finite_scores"
CONSTANT = "constant_scores"
TOO_FEW_QUESTIONS = "too_few_questions"
TOO_FEW_ROWS = "too_few_rows"
CONSTANT_BELOW = 1e-9  # range of the scores relative to their largest magnitude

Reasons = tuple[str | None, ...]


def reasons_from_scores(scores: Scores) -> Reasons:
    """Why each probe's scores cannot be measured: some are not finite, or all are the same number."""
    finite = np.isfinite(scores).all(axis=1)
    safe = np.where(finite[:, None], scores, 0.0)
    scale = np.abs(safe).max(axis=1, initial=0.0)
    spread = safe.max(axis=1, initial=-np.inf) - safe.min(axis=1, initial=np.inf)
    constant = spread <= CONSTANT_BELOW * scale
    return tuple(NON_FINITE if not f else CONSTANT if c else None for f, c in zip(finite, constant, strict=True))


def reason_from_rows(questions: Questions) -> str | None:
    """Why no probe can be measured on these rows: one class only, or fewer than two questions (rows when ungrouped)."""
    labels = questions.labels
    if len(labels) and labels.all():
        return "single_class:positive"
    if len(labels) and not labels.any():
        return "single_class:negative"
    if questions.n_questions < 2:
        return TOO_FEW_QUESTIONS if questions.grouped else TOO_FEW_ROWS
    return None


def reason_to_rank(questions: Questions) -> str | None:
    """Why accuracy by question is undefined: beyond the above, fewer than two questions have a true and a false row."""
    return reason_from_rows(questions) or (TOO_FEW_QUESTIONS if questions.rankable.sum() < 2 else None)


def combine(of_set: str | None, of_probes: Reasons) -> Reasons:
    """One reason per probe; what is wrong with the test set comes first."""
    return tuple(of_set or reason for reason in of_probes)
