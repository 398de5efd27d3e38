"""DIM: the difference between the mean of the true and the mean of the false statements.

Source: Marks and Tegmark 2023 (arXiv 2310.06824), there called mass-mean probing. Needs labels, no groups. Assumes that the
classes differ by a shift. No regularisation, no centring, no unit norm. Sign: points from false to true. Threshold: midpoint of
the projected class means. Cost: one pass over the training rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from probeshift.probes.probe import Fitted, Method, TrainingSet


def fit_dim(training: TrainingSet, seeds: Sequence[int]) -> Fitted:
    """Mean difference per layer; `seeds` are unused, the fit is deterministic."""
    true, false = class_means(training)
    directions = true - false
    biases = -(directions * ((true + false) / 2 + training.mean)).sum(-1)
    return Fitted(directions.cpu().numpy(), biases.cpu().numpy())


def class_means(training: TrainingSet) -> tuple[Tensor, Tensor]:
    """Means [layer, d_model] of the true and of the false rows, relative to `training.mean`."""
    labels, values = training.tensor("labels"), training.rows.values
    member = torch.stack([labels, ~labels]).to(values.dtype)
    means = (member / member.sum(1, keepdim=True)) @ values
    return means[:, 0], means[:, 1]


DIM = Method("dim", "arXiv 2310.06824", fit_dim, sign="fitted", threshold="midpoint of the training class means")
