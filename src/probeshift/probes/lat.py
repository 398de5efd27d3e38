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
from probeshift.probes.rows import Rows, centre


def fit_lat(training: TrainingSet, seeds: Sequence[int]) -> Fitted:
    """First component of the differences per layer; the layer's seed draws its pairs."""
    rows = without_answer_types(training, training.rows)
    first, second = random_pairs(rows.values.norm(dim=-1), seeds)
    differences = Rows(
        _take(rows.values, first) - _take(rows.values, second),
        _gram_of_differences(rows.gram, first, second) if rows.wide else None,
    )
    return Fitted(first_component(differences.map(centre)).cpu().numpy())


def random_pairs(norms: Tensor, seeds: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Indices [layer, pair] of the first and the second row of each pair."""
    size = norms.shape[1]
    drawn = [torch.randperm(size, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    order = torch.gather(norms.argsort(dim=-1, stable=True), 1, torch.stack(drawn).to(norms.device))
    half = size // 2
    return order[:, :half], order[:, half : 2 * half]


def _take(values: Tensor, index: Tensor) -> Tensor:
    return torch.gather(values, 1, index[..., None].expand(-1, -1, values.shape[2]))


def _gram_of_differences(gram: Tensor, first: Tensor, second: Tensor) -> Tensor:
    half = _take(gram, first) - _take(gram, second)
    return _take(half.mT, first) - _take(half.mT, second)


LAT = Method("lat", SOURCE, fit_lat, sign="train labels", threshold=ON_TRAINING_ROWS, least_rows=4)
