"""Random direction: the control. What a probe scores that has learnt nothing but one sign and one threshold.

Source: none. Needs labels only for its sign and threshold, like every method found without labels. Drawn uniformly on the unit
sphere, anew for each layer and training set. Cost: nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from probeshift.probes.probe import ON_TRAINING_ROWS, Fitted, Method, TrainingSet


def fit_random(training: TrainingSet, seeds: Sequence[int]) -> Fitted:
    """One unit vector per layer from that layer's seed."""
    d_model = training.acts.shape[2]
    drawn = [torch.randn(d_model, generator=torch.Generator().manual_seed(s), dtype=torch.float64) for s in seeds]
    return Fitted(torch.stack([v / v.norm() for v in drawn]).numpy())


RANDOM = Method(
    "random",
    "control",
    fit_random,
    sign="train labels",
    threshold=ON_TRAINING_ROWS,
    control=True,
)
