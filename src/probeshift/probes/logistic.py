"""LR and LR-G: logistic regression with an L2 penalty, solved to its optimum.

Source: scikit-learn's `LogisticRegression` (C = 1, free intercept, no class weights, activations not scaled), as in the report "How
well do truth probes generalise?" (2024). Needs labels; LR-G centres rows by question first and so needs groups. Regularisation:
C = 1 on raw activations, so its strength differs between layers and models. Sign: as fitted. Threshold: LR the intercept; LR-G was
fitted on centred rows and is applied to others, so its threshold is set on the training rows as they are. Cost: ten to twenty
factorisations of the small side.
"""

from __future__ import annotations

from collections.abc import Sequence

from probeshift.probes.newton import Logistic, solve_logistic
from probeshift.probes.probe import ON_TRAINING_ROWS, Fitted, Method, TrainingSet
from probeshift.probes.rows import centre_by

SOURCE = "scikit-learn LogisticRegression, C = 1"


def fit_lr(training: TrainingSet, seeds: Sequence[int]) -> Fitted:
    """The optimum per layer; `seeds` are unused, it is unique."""
    found = solve_logistic(training.rows, training.tensor("labels"))
    biases = found.intercepts - (found.directions * training.mean).sum(-1)
    return Fitted(found.directions.cpu().numpy(), biases.cpu().numpy(), _failures(found))


def fit_lr_grouped(training: TrainingSet, seeds: Sequence[int]) -> Fitted:
    """The optimum per layer on rows centred by question; `seeds` are unused, it is unique."""
    within = training.rows.map(centre_by(training.tensor("groups")))
    found = solve_logistic(within, training.tensor("labels"))
    return Fitted(found.directions.cpu().numpy(), None, _failures(found))


def _failures(found: Logistic) -> tuple[str | None, ...]:
    return tuple(
        None if converged else f"not converged (Newton decrement {decrement:.1e})"
        for converged, decrement in zip(found.converged.tolist(), found.decrements.tolist(), strict=True)
    )


LR = Method("lr", SOURCE, fit_lr, sign="fitted", threshold="the intercept")
LR_G = Method("lr-g", SOURCE, fit_lr_grouped, sign="fitted", threshold=ON_TRAINING_ROWS, needs_groups=True)
