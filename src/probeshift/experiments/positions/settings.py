"""What `train` is told. Kept apart, so that its options are known without loading numpy."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from probeshift.experiments.inputs import Settings


class TrainSettings(Settings):
    """Which activations, and how probes are fitted, chosen and judged."""

    train_activations: Path
    """Training activations: a .pt file or a store, from `probeshift extract`."""
    test_activations: Path | None = None
    """Test activations, made the same way. They choose nothing."""
    test_share: float | None = None
    """Share of the questions to keep as test rows instead, by a hash of the question."""
    output_dir: Path
    """Where results, probes and figures go."""
    task_type: Literal["auto", "regression", "classification"] = "auto"
    """auto: two different labels are classification, more are regression."""
    threshold: float | None = None
    """Turn numbers into two classes: labels above it are positive."""
    alpha: float | None = None
    """One L2 penalty (logistic: C = 1 / alpha) instead of a choice by nested cross-validation."""
    alpha_grid: str | None = None
    """Penalties to choose from, separated by commas."""
    k_fold: bool = True
    """Cross-validate. Without it the published protocol chooses on test scores, and says so."""
    n_folds: int = 5
    """Number of folds."""
    seed: int = 42
    """Seed of folds, resamples and controls."""
    protocol: Literal["strict", "published"] = "strict"
    """strict: centred, with an intercept, questions kept together, nested choices. published: no intercept, plain folds, alpha 1."""
    n_resamples: int = 1000
    """Bootstrap resamples behind each interval."""
    n_draws: int = 20
    """Draws of each random control."""
    device: str = "cpu"
    """Where the solvers run: cpu or cuda."""
