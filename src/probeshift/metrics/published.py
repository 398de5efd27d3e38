"""The literature's procedure: sign and threshold chosen on the evaluation labels themselves.

It folds a probe that points the wrong way above chance, so its numbers are for comparison with published ones only.
Source: the evaluation of "How well do truth probes generalise?" (2024); docs/metrics.md lists what it does.
"""

from __future__ import annotations

import numpy as np

from probeshift.arrays import Labels, PerProbe, Scores
from probeshift.metrics.accuracy import correct_by_question
from probeshift.metrics.questions import Flags, Questions
from probeshift.metrics.ranking import auroc


def sign_flips(scores: Scores, questions: Questions) -> Flags:
    """Where the negated score does better on the evaluation labels: by accuracy by question if grouped, else by AUROC.

    A draw keeps the sign as it is. Scores must be finite.
    """
    if questions.grouped and questions.rankable.any():
        kept, flipped = (correct_by_question(signed, questions).mean(axis=1) for signed in (scores, -scores))
        return flipped > kept
    return auroc(scores, questions.labels) < 0.5


def corner_thresholds(scores: Scores, labels: Labels) -> PerProbe:
    """The score at the ROC point nearest to (no false positives, all true positives), per probe; both classes present.

    Predictions are made strictly above it, as published, so the threshold row itself counts as false: perfectly
    separated rows give (n - 1) / n.
    """
    return np.array([_corner(row, labels) for row in scores]).reshape(len(scores))


def _corner(scores, labels) -> float:
    thresholds, where = np.unique(-scores, return_inverse=True)  # descending in the score
    true_positives = np.cumsum(np.bincount(where, weights=labels)) / labels.sum()
    false_positives = np.cumsum(np.bincount(where, weights=~labels)) / (~labels).sum()
    distance = false_positives**2 + (1.0 - true_positives) ** 2
    best = int(np.argmin(distance))
    # The ROC curve starts at (0, 0), where nothing is predicted true.
    return float(-thresholds[best]) if distance[best] < 1.0 else float("inf")
