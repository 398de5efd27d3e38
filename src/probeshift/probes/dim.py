"""DIM: the difference between the mean of the true and the mean of the false statements.

Source: Marks and Tegmark 2023 (arXiv 2310.06824), there called mass-mean probing. Needs labels, no groups. Assumes that the
classes differ by a shift. No regularisation, no centring, no unit norm. Sign: points from false to true. Threshold: midpoint of
the projected class means. Cost: one pass over the training rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from probeshift.probes.probe import Fitted, Method, TrainingSet


def fit_dim(training: TrainingSet, seeds: Sequence[int]) -> Fitted:
    """Mean difference per layer; `seeds` are unused, the fit is deterministic."""
    labels = torch.tensor(training.labels)
    acts = torch.from_numpy(training.acts)
    # float64: with massive activations the float32 sum of one coordinate outweighs the signal of the others
    true, false = acts[:, labels].double().mean(1), acts[:, ~labels].double().mean(1)
    directions = true - false
    biases = -(directions * (true + false) / 2).sum(1)
    return Fitted(directions.numpy(), biases.numpy())


DIM = Method("dim", "arXiv 2310.06824", fit_dim, sign="fitted", threshold="midpoint of the training class means")
