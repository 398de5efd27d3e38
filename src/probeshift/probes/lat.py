"""LAT: the first principal component of differences between random pairs of training rows, found without labels.

Source: linear artificial tomography, Zou et al. 2023 (arXiv 2310.01405), as in the report "How well do truth probes generalise?"
(2024): rows centred by answer type where there are any, all rows permuted, one dropped if odd, the first half minus the second
half; pairs ignore questions and labels. No regularisation. Unit norm. Sign and threshold: from training labels. Cost: as PCA.

Rows are brought into the order of their norms before the seeded permutation, so that the order in which they are given does not
choose the pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from probeshift.probes.components import first_component
from probeshift.probes.pca import SOURCE, without_answer_types
from probeshift.probes.probe import ON_TRAINING_ROWS, Fitted, Method, TrainingSet
from probeshift.probes.rows import CENTRE, subtract


def fit_lat(training: TrainingSet, seeds: Sequence[int]) -> Fitted:
    """First component of the differences per layer; the layer's seed draws its pairs."""
    rows = without_answer_types(training, training.rows)
    first, second = random_pairs(rows.squares, seeds)
    differences = rows.map(subtract(first, second, rows.shape[1]))
    return Fitted(first_component(differences.map(CENTRE)).cpu().numpy())


def random_pairs(squares: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Indices [layer, pair] of the first and the second row of each pair."""
    size = squares.shape[1]
    drawn = [torch.randperm(size, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    order = torch.gather(squares.argsort(dim=-1, stable=True), 1, torch.stack(drawn).to(squares.device))
    half = size // 2
    return order[:, :half], order[:, half : 2 * half]


LAT = Method("lat", SOURCE, fit_lat, sign="train labels", threshold=ON_TRAINING_ROWS, least_rows=4)
