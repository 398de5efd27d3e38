"""What the words alone predict, without a language model: a probe that does not beat these has read nothing of its own.

Both are chosen and fitted on training rows only, with the same folds as the probes. Source of the pair: length and TF-IDF are the
baselines of the difficulty-probing literature (2025-2026).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probeshift.arrays import Targets
from probeshift.probes.folds import Folds, Task

ALPHAS = (100.0, 10.0, 1.0, 0.1)


@dataclass(frozen=True)
class TextBaseline:
    """Predictions for test texts (numbers, or log odds), and the penalty that the folds chose."""

    name: str
    test_predictions: np.ndarray
    alpha: float


def fit_text_baselines(
    texts: Sequence[str], targets: Targets, test_texts: Sequence[str], *, task: Task, folds: Folds
) -> tuple[TextBaseline, ...]:
    """The length of the question (characters and words, and their logarithms), and its words and word pairs by TF-IDF."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler

    lengths = make_pipeline(FunctionTransformer(_lengths), StandardScaler())
    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2)
    kinds = (("question length", lengths), ("TF-IDF of the question", words))
    return tuple(_fit(name, kind, texts, targets, test_texts, task, folds) for name, kind in kinds)


def _lengths(texts: Sequence[str]) -> np.ndarray:
    counts = np.array([[len(text), len(text.split())] for text in texts], dtype=np.float64)
    return np.hstack([counts, np.log1p(counts)])


def _fit(
    name: str,
    features: Any,
    texts: Sequence[str],
    targets: Targets,
    test_texts: Sequence[str],
    task: Task,
    folds: Folds,
) -> TextBaseline:
    from sklearn.model_selection import GridSearchCV, PredefinedSplit
    from sklearn.pipeline import make_pipeline

    learner, option, scoring = _learner(task)
    values = [alpha if task == "regression" else 1 / alpha for alpha in ALPHAS]
    search = GridSearchCV(
        make_pipeline(features, learner), {option: values}, scoring=scoring, cv=PredefinedSplit(folds.of_row)
    )
    search.fit(texts, targets)
    chosen = search.best_params_[option]
    score = search.predict if task == "regression" else search.decision_function
    return TextBaseline(name, np.asarray(score(test_texts)), chosen if task == "regression" else 1 / chosen)


def _learner(task: Task) -> tuple[Any, str, str]:
    from sklearn.linear_model import LogisticRegression, Ridge

    if task == "regression":
        return Ridge(), "ridge__alpha", "neg_mean_squared_error"
    return LogisticRegression(max_iter=5000), "logisticregression__C", "roc_auc"
