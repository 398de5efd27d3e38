"""Probes at every layer and position of extracted activations: fitted, cross-validated, one chosen and judged on test rows."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from probeshift.errors import UsageError
from probeshift.experiments.positions.settings import TrainSettings

if TYPE_CHECKING:
    from probeshift.activations import LabelledActivations, Part
    from probeshift.arrays import Groups, Targets
    from probeshift.grid import Control, FittedCell, GridOptions
    from probeshift.probes.folds import Folds, Task

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]

# Strongest first. Ridge shares its factorisations among penalties; logistic fits are dearer, so they get fewer.
ALPHAS = {
    "regression": tuple(10.0**k for k in range(7, -1, -1)),
    "classification": (1e4, 1e3, 1e2, 1e1),
}
ONE_ALPHA = 1.0


@dataclass(frozen=True)
class Trained:
    """A finished grid: its cells, the chosen one, and what was decided on the way. Everything files and pages are made from."""

    settings: TrainSettings
    train: LabelledActivations
    test: LabelledActivations
    task: Task
    decision: str
    targets: Targets
    test_targets: Targets
    options: GridOptions
    cells: tuple[FittedCell, ...]
    best: int
    selected_by: str
    controls: tuple[Control, ...]
    overlap: int

    @property
    def chosen(self) -> FittedCell:
        return self.cells[self.best]

    @property
    def test_groups(self) -> Groups | None:
        return _groups(self.test)

    @cached_property
    def corrected(self) -> float:
        """What cross-validation says once the choice of the cell is part of it; NaN where that was not computed."""
        from probeshift.grid import corrected_score

        return corrected_score(self.cells) if self.options.nested and self.options.folds is not None else float("nan")


def train(settings: TrainSettings, on_progress: Progress | None = None) -> Trained:
    """Fit every cell, choose one, run the controls.

    Raises:
        UsageError: files that hold no activations or do not belong together, labels that cannot be predicted, bad options.
    """
    from probeshift.grid import GridOptions, best_cell, fit_grid, run_controls, score_rows

    sides = _sides(settings)
    task, decision = decide_task(sides[0].targets, settings)
    targets, test_targets = (as_targets(s.targets, task, sides[0].targets, settings.threshold) for s in sides)
    options = GridOptions(
        task, _alphas(settings, task), _folds(settings, task, targets, sides[0]), settings.protocol == "strict",
        settings.protocol == "strict", settings.device,
    )  # fmt: skip
    cells = fit_grid(*sides, targets, options, settings.output_dir / "cells", on_progress)
    scores, selected_by = [c.cv_score for c in cells], "cross-validation on training rows"
    if options.folds is None:
        predictions = np.stack([c.test_predictions for c in cells])
        scores, selected_by = list(score_rows(task, predictions, test_targets)), "test scores (published procedure)"
    best = best_cell(cells, scores)
    folds = options.folds or _cut(settings, task, targets, None)
    found = run_controls(*sides, targets, cells[best], options, folds, n_draws=settings.n_draws, seed=settings.seed)
    overlap = _overlap(*sides)
    if overlap:
        log.warning(
            "%d of %d test questions are also training questions: test scores are too good", overlap, len(test_targets)
        )
    return Trained(
        settings,
        *sides,
        task,
        decision,
        targets,
        test_targets,
        options,
        tuple(cells),
        best,
        selected_by,
        tuple(found),
        overlap,
    )


def _sides(settings: TrainSettings) -> tuple[LabelledActivations, LabelledActivations]:
    given, share = settings.test_activations, settings.test_share
    if (given is None) == (share is None):
        raise UsageError(
            "give --test-activations, or --test-share 0.4 to keep some of the questions as test rows; one of them."
        )
    whole = open_activations(settings.train_activations)
    if given is not None:
        return whole, open_activations(given)
    assert share is not None
    if not 0 < share < 1:
        raise UsageError(f"--test-share must lie between 0 and 1, got {share:g}.")
    return split_by_question(whole, share, settings.seed)


def split_by_question(whole: LabelledActivations, test_share: float, seed: int) -> tuple[Part, Part]:
    """Training and test rows; rows of one question, and equal questions, fall on the same side, whatever other rows there are.

    Raises:
        UsageError: one side is empty.
    """
    from probeshift.activations import Part
    from probeshift.datasets.splits import hash_fraction

    keys: list[str] = (
        [_plain(text) for text in whole.texts] if whole.texts is not None else list(map(str, range(len(whole.targets))))
    )
    if whole.groups is not None:
        keys = list(map(str, whole.groups))
    tested = np.array([hash_fraction(str(seed), key) < test_share for key in keys])
    if tested.all() or not tested.any():
        raise UsageError(
            f"--test-share {test_share:g} leaves one side of {len(keys)} rows empty. Choose another share or more rows."
        )
    return Part(whole, f"{whole.name}-train", ~tested), Part(whole, f"{whole.name}-test", tested)


def open_activations(path: Path) -> LabelledActivations:
    """A `.pt` file or a store.

    Raises:
        UsageError: there is nothing, or something else.
    """
    from probeshift.activations import ActivationStore
    from probeshift.extraction.tensor_file import TensorFile

    return ActivationStore.open(path) if path.is_dir() else TensorFile.open(path)


def decide_task(labels: Targets, settings: TrainSettings) -> tuple[Task, str]:
    """What kind of probe the labels ask for, and why, in words.

    Raises:
        UsageError: all labels are equal, or more than two values are to be classified.
    """
    values = np.unique(labels)
    if settings.threshold is not None:
        values = np.unique(labels > settings.threshold)
    shown = ", ".join(f"{v:g}" for v in values[:4]) + (", ..." if len(values) > 4 else "")
    if len(values) < 2:
        where = f" above or below {settings.threshold:g}" if settings.threshold is not None else f" {labels[0]:g}"
        raise UsageError(
            f"all {len(labels)} training labels are{where}: there is nothing to predict. Choose another label column or threshold."
        )
    if settings.threshold is not None:
        share = float((labels > settings.threshold).mean())
        return (
            "classification",
            f"classification: labels above {settings.threshold:g} are positive ({share:.0%} of training rows)",
        )
    asked = settings.task_type
    if asked == "classification" and len(values) > 2:
        raise UsageError(
            f"--task-type classification, but the labels have {len(values)} values ({shown}). Add --threshold to cut them in two, or use "
            "regression."
        )
    if asked == "regression" or len(values) > 2:
        why = "as asked" if asked != "auto" else f"the labels are numbers with {len(values)} values"
        return "regression", f"regression: {why} ({shown})"
    why = "as asked" if asked != "auto" else "the labels have two values"
    return "classification", f"classification: {why}, {values[1]:g} is positive and {values[0]:g} negative"


def as_targets(labels: Targets, task: Task, training_labels: Targets, threshold: float | None) -> Targets:
    """Labels as the task wants them: numbers, or 0 and 1.

    Raises:
        UsageError: a class that the training labels do not have.
    """
    if task == "regression":
        return labels
    if threshold is not None:
        return (labels > threshold).astype(np.float64)
    low, high = np.unique(training_labels)
    strange = sorted(set(np.unique(labels)) - {low, high})
    if strange:
        raise UsageError(
            f"test label {strange[0]:g} does not occur among the training labels {low:g} and {high:g}. Label both the same way."
        )
    return (labels == high).astype(np.float64)


def _alphas(settings: TrainSettings, task: Task) -> tuple[float, ...]:
    """Penalties, the strongest first."""
    if settings.alpha is not None and settings.alpha_grid is not None:
        raise UsageError("--alpha and --alpha-grid exclude each other. Give one.")
    try:
        asked = [float(a) for a in settings.alpha_grid.split(",")] if settings.alpha_grid else [settings.alpha]
    except ValueError:
        raise UsageError(
            f"--alpha-grid `{settings.alpha_grid}` is not understood. Write numbers with commas between."
        ) from None
    given = sorted({float(a) for a in asked if a is not None}, reverse=True)
    if given and (given[-1] < 0 or not np.isfinite(given).all()):
        raise UsageError(f"a penalty must be a number of at least 0, got {given[-1]:g}.")
    return tuple(given) or (ALPHAS[task] if settings.protocol == "strict" else (ONE_ALPHA,))


def _folds(settings: TrainSettings, task: Task, targets: Targets, side: LabelledActivations) -> Folds | None:
    if not settings.k_fold:
        if settings.protocol == "strict":
            raise UsageError(
                "without cross-validation only test scores could choose a cell. Drop --no-k-fold, or use --protocol published."
            )
        return None
    return _cut(settings, task, targets, _groups(side) if settings.protocol == "strict" else None)


def _cut(settings: TrainSettings, task: Task, targets: Targets, groups: Groups | None) -> Folds:
    from probeshift.probes.folds import cut_folds

    return cut_folds(targets, task, n_folds=settings.n_folds, seed=settings.seed, groups=groups)


def _groups(side: LabelledActivations) -> Groups | None:
    """What stays together when rows are held out or resampled: the given groups, else equal questions."""
    if side.groups is not None or side.texts is None:
        return side.groups
    codes = np.unique([_plain(t) for t in side.texts], return_inverse=True)[1].astype(np.int64)
    return codes if len(np.unique(codes)) < len(codes) else None


def _plain(text: str) -> str:
    return " ".join(text.lower().split())


def _overlap(train: LabelledActivations, test: LabelledActivations) -> int:
    """Test rows whose question, case and spaces aside, is among the training questions."""
    if train.texts is None or test.texts is None:
        return 0
    seen = {_plain(text) for text in train.texts}
    return sum(_plain(text) in seen for text in test.texts)
