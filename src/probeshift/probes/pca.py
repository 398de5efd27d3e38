"""PCA and PCA-G: the first principal component of the training rows, found without labels.

Source: Zou et al. 2023 (arXiv 2310.01405) and the report "How well do truth probes generalise?" (2024). Rows are centred by answer
type where the data has answer types (else the component is the wording of the answer), then by the mean; PCA-G centres by
question first and so needs groups. Assumes that truth is what varies most. No regularisation. Unit norm. Sign and threshold: from
training labels, for the component has neither. Cost: one Gram matrix shared with the other methods, then tens of products.
"""

from __future__ import annotations

from collections.abc import Sequence

from probeshift.probes.components import first_component
from probeshift.probes.probe import ON_TRAINING_ROWS, Fitted, Method, TrainingSet
from probeshift.probes.rows import CENTRE, Rows, centre_by

SOURCE = "arXiv 2310.01405"


def fit_pca(training: TrainingSet, seeds: Sequence[int]) -> Fitted:
    """First component per layer; `seeds` are unused, the solution is unique up to its sign."""
    return Fitted(first_component(without_answer_types(training, training.rows)).cpu().numpy())


def fit_pca_grouped(training: TrainingSet, seeds: Sequence[int]) -> Fitted:
    """First component per layer of rows centred by question; `seeds` are unused."""
    within = training.rows.map(centre_by(training.tensor("groups")))
    return Fitted(first_component(without_answer_types(training, within)).cpu().numpy())


def without_answer_types(training: TrainingSet, rows: Rows) -> Rows:
    """Rows centred by answer type where there are any, then by their mean."""
    if training.answer_types is not None:
        rows = rows.map(centre_by(training.tensor("answer_types")))
    return rows.map(CENTRE)


PCA = Method("pca", SOURCE, fit_pca, sign="train labels", threshold=ON_TRAINING_ROWS, least_rows=2)
PCA_G = Method(
    "pca-g", SOURCE, fit_pca_grouped, sign="train labels", threshold=ON_TRAINING_ROWS, needs_groups=True, least_rows=3
)
