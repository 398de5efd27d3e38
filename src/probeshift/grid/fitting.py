"""Layer x position: a cross-validated probe at every cell, and an honest score for the one that is chosen.

Every row is predicted by a probe that has not seen it. With `nested` the penalty of a fold's probe is chosen on other folds, and
so is the cell in `corrected_score`: the folds that judge have then chosen nothing. Test rows choose nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probeshift.activations import LabelledActivations
from probeshift.arrays import Activations, Groups, PerProbe, Scores, Targets
from probeshift.errors import UsageError
from probeshift.metrics import Measure, measure
from probeshift.metrics.ranking import auroc
from probeshift.metrics.regression import measure_regression, rank_scores
from probeshift.metrics.undefined import reasons_from_scores
from probeshift.probes.folds import Folds, Task
from probeshift.provenance import publish, sha256_json

if TYPE_CHECKING:
    from probeshift.probes.fold_logistic import FoldLogistic
    from probeshift.probes.fold_ridge import FoldRidge

# Raise it when a fit or a score changes meaning: saved cells are then made anew.
PROCEDURE = 1

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class GridOptions:
    """How every cell is fitted. `alphas` are L2 penalties (for logistic regression C = 1 / alpha), the strongest first.

    `folds` None fits on all rows only. `device` is where the solvers run.
    """

    task: Task
    alphas: tuple[float, ...]
    folds: Folds | None
    intercept: bool = True
    nested: bool = True
    device: str = "cpu"


@dataclass(frozen=True)
class FittedCell:
    """One cell. Predictions are in the units of the targets (regression) or log odds (classification).

    `alpha_scores` are means over folds; `fold_scores` judge each fold's probe; `inner_scores` are what the cell looked worth to
    each fold from the others alone. NaN where undefined, without folds, or (inner) without nesting.
    """

    layer: int
    position: str
    alpha: float
    alpha_scores: np.ndarray
    fold_scores: np.ndarray
    inner_scores: np.ndarray
    cv_predictions: np.ndarray
    train_predictions: np.ndarray
    test_predictions: np.ndarray
    direction: np.ndarray
    bias: float

    @property
    def cv_score(self) -> float:
        """Mean over the folds in which it is defined; NaN if it is in none."""
        return _mean(self.fold_scores)


def score_rows(task: Task, predictions: Scores, targets: Targets) -> PerProbe:
    """Spearman's correlation (regression) or AUROC (classification) of each probe; NaN where undefined."""
    if task == "regression":
        return rank_scores(predictions, targets)[0]
    reasons = reasons_from_scores(predictions)
    defined = np.array([reason is None for reason in reasons])
    values = np.full(len(predictions), np.nan)
    values[defined] = auroc(predictions[defined], targets > 0.5)
    return values


def measure_rows(
    task: Task, predictions: Scores, targets: Targets, groups: Groups | None, *, n_resamples: int, seed: int
) -> tuple[Measure, ...]:
    """The metrics of a task with intervals: Spearman and explained variance, or AUROC and accuracy by row (log odds above 0)."""
    if task == "regression":
        return measure_regression(predictions, targets, groups, n_resamples=n_resamples, seed=seed)
    found = measure(predictions, targets > 0.5, groups, n_resamples=n_resamples, seed=seed)
    return found.auroc, found.accuracy_row


def check_same_space(train: LabelledActivations, test: LabelledActivations) -> None:
    """Refuse to test probes on activations that are not of the same model, read the same way.

    Raises:
        UsageError: another model, width, chat template, or layers or positions that the training activations lack.
    """
    for what, one, other in ((k, v, test.space[k]) for k, v in train.space.items()):
        if one != other:
            shown = "the chat template or its options" if what == "prompts" else f"{what} ({one} and {other})"
            raise UsageError(
                f"train and test activations differ in {shown}. Extract both with the same model and options."
            )
    if set(train.layers) - set(test.layers) or set(train.positions) - set(test.positions):
        raise UsageError(
            "the test activations lack layers or positions of the training ones. Extract both with the same options."
        )


def fit_grid(
    train: LabelledActivations,
    test: LabelledActivations,
    targets: Targets,
    options: GridOptions,
    folder: Path,
    on_progress: Progress | None = None,
) -> list[FittedCell]:
    """Every layer and position of `train`; cells already in `folder` are read, others are fitted and kept there.

    `targets` are the training labels as the task wants them: numbers, or 0 and 1.

    Raises:
        UsageError: `test` is of another model or read another way; activations are not finite; a fit does not converge.
    """
    check_same_space(train, test)
    asked = [PROCEDURE, train.identity, test.identity, options.task, options.alphas, options.intercept, options.nested]
    folds = None if options.folds is None else options.folds.of_row.tolist()
    fit_id = sha256_json([*asked, folds, targets.tolist()])[:16]
    sites = [(layer, position) for position in train.positions for layer in train.layers]
    found = []
    for number, (layer, position) in enumerate(sites, start=1):
        path = folder / f"{fit_id}-{layer}-{position.replace('[', '').replace(']', '')}.safetensors"
        cell = _load(path, layer, position)
        if cell is None:
            cell = _fit_cell(train, test, targets, layer, position, options)
            _save(path, cell)
        found.append(cell)
        if on_progress:
            on_progress("probes", number, len(sites))
    return found


def best_cell(cells: Sequence[FittedCell], scores: Sequence[float]) -> int:
    """The cell with the highest score, the first of equals.

    Raises:
        UsageError: no cell has a score.
    """
    if np.isnan(scores).all():
        raise UsageError(
            "no layer and position has a defined score: all predictions are constant. Extract other layers or positions."
        )
    return int(np.nanargmax(scores))


def corrected_score(cells: Sequence[FittedCell]) -> float:
    """The cross-validated score of choosing the best cell anew for each fold, from the other folds alone.

    The maximum of the cells' own scores is too high by the luck of the winner; the difference is what choosing adds to it.
    Source: nested cross-validation (Varma and Simon 2006). NaN without nesting.
    """
    inner, outer = (np.stack([getattr(cell, name) for cell in cells]) for name in ("inner_scores", "fold_scores"))
    if np.isnan(inner).all(axis=0).any():
        return float("nan")
    winners = np.nanargmax(inner, axis=0)
    return _mean(outer[winners, np.arange(outer.shape[1])])


def _fit_cell(
    train: LabelledActivations,
    test: LabelledActivations,
    targets: Targets,
    layer: int,
    position: str,
    options: GridOptions,
) -> FittedCell:
    acts = _finite(train.read(layer, position), train.name, layer)
    problem = make_problem(acts, targets, options)
    nothing = np.full(0, np.nan)
    alpha, alpha_scores, fold_scores, inner, cv = options.alphas[0], nothing, nothing, nothing, nothing
    if options.folds is not None:
        alpha, alpha_scores, fold_scores, inner, cv = _cross_validate(problem, targets, options, options.folds)
    direction, bias = problem.fit(alpha)
    on_train, on_test = (
        side.astype(np.float64) @ direction + bias
        for side in (acts, _finite(test.read(layer, position), test.name, layer))
    )
    return FittedCell(layer, position, alpha, alpha_scores, fold_scores, inner, cv, on_train, on_test, direction, bias)


def make_problem(acts: Activations, targets: Targets, options: GridOptions) -> FoldRidge | FoldLogistic:
    """The rows of one cell, ready to be fitted."""
    from probeshift.probes.fold_logistic import FoldLogistic
    from probeshift.probes.fold_ridge import FoldRidge

    learner: Any = FoldRidge if options.task == "regression" else FoldLogistic
    folds = options.folds or Folds(np.zeros(len(targets), dtype=np.int64), "none")
    return learner(acts, targets, folds, options.intercept, options.device)


def _finite(acts: Activations, name: str, layer: int) -> Activations:
    if not np.isfinite(acts).all():
        raise UsageError(
            f"the activations of `{name}` at layer {layer} are not finite. Extract them with --dtype float32."
        )
    return acts


def _cross_validate(problem, targets: Targets, options: GridOptions, folds: Folds):
    """Alpha for all rows, scores by alpha, by fold and (nested) as seen from the other folds, and held-out predictions."""
    alphas = options.alphas
    choose = options.nested and len(alphas) > 1
    # Pairs are worth their cost for ridge, whose solutions share one factorisation each; logistic fits are dearer.
    pairs = folds.pairs(neighbours_only=options.task == "classification") if options.nested else ()
    outer = [(fold,) for fold in range(folds.n)]
    found = problem.predict([*outer, *pairs], alphas)
    scores = np.stack(
        [score_rows(options.task, p, targets[folds.held_out(*f)]) for f, p in zip(outer, found, strict=False)]
    )
    inner = _inner_scores(options.task, found[folds.n :], pairs, targets, folds, len(alphas))
    chosen = [_argmax(inner[fold] if choose else scores.T.mean(1)) for fold in range(folds.n)]
    predictions = np.empty(len(targets))
    for fold, alpha in enumerate(chosen):
        predictions[folds.held_out(fold)] = found[fold][alpha]
    by_alpha = np.array([_mean(column) for column in scores.T])
    picked = np.arange(folds.n), np.array(chosen)
    return alphas[_argmax(by_alpha)], by_alpha, scores[picked], inner[picked], predictions


def _inner_scores(task: Task, found, pairs, targets: Targets, folds: Folds, n_alphas: int) -> np.ndarray:
    """[fold, alpha]: mean score on the partners of a fold, by probes that saw neither the fold nor the partner."""
    values: list[list[PerProbe]] = [[] for _ in range(folds.n)]
    for pair, predictions in zip(pairs, found, strict=True):
        of_row = folds.of_row[folds.held_out(*pair)]
        wanted = targets[folds.held_out(*pair)]
        for fold, partner in (pair, pair[::-1]):
            judged = of_row == partner
            values[fold].append(score_rows(task, predictions[:, judged], wanted[judged]))
    return np.stack([_column_means(v, n_alphas) for v in values])


def _column_means(values: list[PerProbe], n_alphas: int) -> np.ndarray:
    return np.array([_mean(np.array(column)) for column in zip(*values, strict=True)] or [np.nan] * n_alphas)


def _argmax(scores: np.ndarray) -> int:
    """The first best; the first of all where none is defined (alphas are sorted, the strongest first)."""
    return 0 if np.isnan(scores).all() else int(np.nanargmax(scores))


def _mean(values: np.ndarray) -> float:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


_ARRAYS = (
    "alpha_scores", "fold_scores", "inner_scores", "cv_predictions", "train_predictions", "test_predictions", "direction",
)  # fmt: skip


def _save(path: Path, cell: FittedCell) -> None:
    from safetensors.numpy import save

    about = {"cell": json.dumps({"alpha": cell.alpha, "bias": cell.bias})}
    publish(path, save({name: np.ascontiguousarray(getattr(cell, name)) for name in _ARRAYS}, about))


def _load(path: Path, layer: int, position: str) -> FittedCell | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            about = json.loads(file.metadata()["cell"])
            arrays = {name: file.get_tensor(name) for name in _ARRAYS}
    except (FileNotFoundError, SafetensorError, KeyError):
        return None
    return FittedCell(layer=layer, position=position, **about, **arrays)
