"""What the chosen probe must beat: the length and the words of the question, shuffled labels, random directions.

All of them see training rows only until they are scored, as the probe does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from probeshift.activations import LabelledActivations
from probeshift.arrays import Activations, Targets
from probeshift.grid.fitting import FittedCell, GridOptions, make_problem, score_rows
from probeshift.probes.folds import Folds
from probeshift.probes.text_baselines import fit_text_baselines


@dataclass(frozen=True)
class Control:
    """Predictions [draw, test row] of one control; several draws where it is random."""

    name: str
    predictions: np.ndarray


def run_controls(
    train: LabelledActivations,
    test: LabelledActivations,
    targets: Targets,
    chosen: FittedCell,
    options: GridOptions,
    folds: Folds,
    *,
    n_draws: int,
    seed: int,
) -> Iterator[Control]:
    """The controls of the chosen cell; those of the text only where both sides have texts. `targets` are the training ones."""
    if train.texts is not None and test.texts is not None:
        found = fit_text_baselines(train.texts, targets, test.texts, task=options.task, folds=folds)
        yield from (Control(baseline.name, baseline.test_predictions[None]) for baseline in found)
    acts, rows = (side.read(chosen.layer, chosen.position) for side in (train, test))
    generator = np.random.default_rng(seed)
    yield Control("shuffled labels", _shuffled(acts, rows, targets, chosen.alpha, options, n_draws, generator))
    yield Control("random direction", _random(acts, rows, targets, options, n_draws, generator))


def _shuffled(
    acts: Activations, rows: np.ndarray, targets: Targets, alpha: float, options: GridOptions, n_draws: int, generator
) -> np.ndarray:
    """The same fit to labels that say nothing: what reading the test rows with it reaches by chance."""
    fits = (make_problem(acts, generator.permutation(targets), options).fit(alpha) for _ in range(n_draws))
    return np.stack([rows.astype(np.float64) @ direction + bias for direction, bias in fits])


def _random(
    acts: Activations, rows: np.ndarray, targets: Targets, options: GridOptions, n_draws: int, generator
) -> np.ndarray:
    """Directions that say nothing, turned by the training labels as the probe's sign is."""
    directions = generator.normal(size=(n_draws, acts.shape[1]))
    scores = score_rows(options.task, directions @ acts.astype(np.float64).T, targets)
    turned = scores < (0.0 if options.task == "regression" else 0.5)
    return np.where(turned, -1.0, 1.0)[:, None] * (directions @ rows.astype(np.float64).T)
