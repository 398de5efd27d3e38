"""What a trained grid measured, as tables: one row per cell and metric, the controls beside them, predictions of the chosen cell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probeshift.layers import layer_name
from probeshift.provenance import environment, publish

if TYPE_CHECKING:
    import pandas as pd

    from probeshift.experiments.positions.train import Trained
    from probeshift.grid import Control, FittedCell
    from probeshift.metrics import Measure

METRIC = {"regression": "spearman", "classification": "auroc"}
METHOD = {"regression": "ridge", "classification": "logistic"}
FOLD_RANGE = "range_over_folds"
DRAW_RANGE = "central_95_percent_of_draws"
COLUMNS = (
    "model", "method", "train", "test", "split", "layer", "layer_name", "position", "protocol", "task", "metric", "value",
    "ci_low", "ci_high", "ci_kind", "n", "n_kind", "chance", "reason", "alpha", "seed", "selected", "selected_by", "control",
    "gain", "gain_low", "gain_high",
)  # fmt: skip


def save_tables(trained: Trained) -> list[Path]:
    """The result rows, the predictions of the chosen probe and the manifest: what pages are drawn from; returns the paths."""
    folder, rows = trained.settings.output_dir, result_rows(trained)
    publish(folder / "predictions.parquet", prediction_rows(trained).to_parquet(index=False))
    publish(folder / "results.csv", rows.to_csv(index=False))
    publish(folder / "results.parquet", rows.to_parquet(index=False))
    publish(folder / "manifest.json", json.dumps(_manifest(trained), indent=1, ensure_ascii=False))
    return [folder / name for name in ("results.parquet", "results.csv", "predictions.parquet", "manifest.json")]


def result_rows(trained: Trained) -> pd.DataFrame:
    """The table: cells on test, cross-validation and training rows; controls on test rows; the corrected score."""
    import pandas as pd

    return pd.DataFrame(
        [*_cell_rows(trained), *_control_rows(trained), *_corrected_row(trained)], columns=list(COLUMNS)
    )


def prediction_rows(trained: Trained) -> pd.DataFrame:
    """What the chosen probe predicts for each training row (held out and fitted) and test row; probabilities for classes."""
    import pandas as pd

    cell = trained.chosen
    parts = {"cv": cell.cv_predictions, "train": cell.train_predictions, "test": cell.test_predictions}
    frames = []
    for split, predicted in parts.items():
        actual = trained.test_targets if split == "test" else trained.targets
        if len(predicted):
            rows = {
                "split": split,
                "row": np.arange(len(actual)),
                "actual": actual,
                "predicted": as_reported(trained, predicted),
            }
            frames.append(pd.DataFrame(rows))
    return pd.concat(frames, ignore_index=True)


def as_reported(trained: Trained, predictions: np.ndarray) -> np.ndarray:
    """Numbers as they are, log odds as probabilities."""
    from scipy.special import expit

    return predictions if trained.task == "regression" else expit(predictions)


def plain_scores(trained: Trained, split: str) -> np.ndarray:
    """The score of every cell on `train`, `test` or `cv`, NaN where undefined."""
    from probeshift.grid import score_rows

    if split == "cv":
        return np.array([cell.cv_score for cell in trained.cells])
    targets = trained.targets if split == "train" else trained.test_targets
    return score_rows(trained.task, np.stack([getattr(c, f"{split}_predictions") for c in trained.cells]), targets)


def _cell_rows(trained: Trained) -> Iterator[dict[str, Any]]:
    tests = _measured(trained, np.stack([cell.test_predictions for cell in trained.cells]))
    on_train = plain_scores(trained, "train")
    for index, cell in enumerate(trained.cells):
        about = _about(trained, cell) | {"selected": index == trained.best, "selected_by": trained.selected_by}
        for measured in tests:
            yield about | {"split": "test"} | _values(measured, index)
        metric = {
            "metric": METRIC[trained.task],
            "n": len(trained.targets),
            "n_kind": "rows",
            "chance": tests[0].chance,
        }
        if len(cell.fold_scores):
            yield about | metric | {"split": "cv"} | _over_folds(cell)
        yield about | metric | {"split": "train"} | _plain(on_train[index])


def _measured(trained: Trained, predictions: np.ndarray) -> tuple[Measure, ...]:
    from probeshift.grid import measure_rows

    options = {"n_resamples": trained.settings.n_resamples, "seed": trained.settings.seed}
    return measure_rows(trained.task, predictions, trained.test_targets, trained.test_groups, **options)


def _about(trained: Trained, cell: FittedCell) -> dict[str, Any]:
    return _everywhere(trained) | {
        "method": METHOD[trained.task],
        "layer": cell.layer,
        "layer_name": layer_name(cell.layer),
        "position": cell.position,
        "alpha": cell.alpha,
        "control": False,
    }


def _everywhere(trained: Trained) -> dict[str, Any]:
    settings = trained.settings
    return {
        "model": trained.train.space["model"],
        "train": trained.train.name,
        "test": trained.test.name,
        "protocol": settings.protocol,
        "task": trained.task,
        "seed": settings.seed,
    }


def _values(measured: Measure, index: int) -> dict[str, Any]:
    return {
        "metric": measured.name,
        "value": measured.value[index],
        "ci_low": measured.low[index],
        "ci_high": measured.high[index],
        "ci_kind": measured.ci_kind[index],
        "n": measured.n,
        "n_kind": measured.n_kind,
        "chance": measured.chance,
        "reason": measured.reason[index],
    }


def _plain(value: float) -> dict[str, Any]:
    return {"value": value, "ci_kind": "none", "reason": "constant_scores" if np.isnan(value) else None}


def _over_folds(cell: FittedCell) -> dict[str, Any]:
    scores, defined = cell.fold_scores, cell.fold_scores[~np.isnan(cell.fold_scores)]
    if not len(defined):
        return _plain(float("nan"))
    missing = len(scores) - len(defined)
    reason = f"undefined in {missing} of {len(scores)} folds" if missing else None
    bounds = {"ci_low": defined.min(), "ci_high": defined.max(), "ci_kind": FOLD_RANGE}
    return {"value": cell.cv_score, "reason": reason} | bounds


def _control_rows(trained: Trained) -> Iterator[dict[str, Any]]:
    for control in trained.controls:
        text = len(control.predictions) == 1
        site = {"layer": None, "layer_name": None, "position": None} if text else {}
        about = (
            _about(trained, trained.chosen)
            | site
            | {"method": control.name, "control": True, "split": "test", "alpha": None}
        )
        measured = _measured(trained, control.predictions)[0]
        yield about | (_values(measured, 0) | _gain(trained, control) if text else _over_draws(measured))


def _gain(trained: Trained, control: Control) -> dict[str, Any]:
    """How much the chosen probe scores above a control on the same test rows."""
    from probeshift.grid import compare_rows

    pair = np.stack([trained.chosen.test_predictions, control.predictions[0]])
    options = {"n_resamples": trained.settings.n_resamples, "seed": trained.settings.seed}
    found = compare_rows(trained.task, pair, trained.test_targets, trained.test_groups, **options)
    return {} if found is None else {"gain": found.value, "gain_low": found.low, "gain_high": found.high}


def _over_draws(measured: Measure) -> dict[str, Any]:
    values = measured.value[~np.isnan(measured.value)]
    shared = {
        "metric": measured.name,
        "n": measured.n,
        "n_kind": f"rows, {len(values)} draws",
        "chance": measured.chance,
    }
    if not len(values):
        return shared | _plain(float("nan"))
    low, high = np.quantile(values, [0.025, 0.975])
    return shared | {"value": values.mean(), "ci_low": low, "ci_high": high, "ci_kind": DRAW_RANGE, "reason": None}


def _corrected_row(trained: Trained) -> Iterator[dict[str, Any]]:
    if np.isnan(trained.corrected):
        return
    about = _everywhere(trained) | {
        "method": f"{METHOD[trained.task]}, best cell chosen anew in each fold",
        "control": False,
    }
    counts = {"metric": METRIC[trained.task], "n": len(trained.targets), "n_kind": "rows"}
    yield about | counts | {"split": "cv", "value": trained.corrected, "ci_kind": "none"}


def _manifest(trained: Trained) -> dict[str, Any]:
    """Who made these files from what."""
    return {
        "settings": trained.settings.model_dump(mode="json"),
        "made": environment(),
        "task": trained.decision,
        "selected_by": trained.selected_by,
        "folds": trained.options.folds.rule if trained.options.folds else None,
        "test_questions_also_in_train": trained.overlap,
        "train": {"identity": trained.train.identity, **trained.train.space},
        "test": {"identity": trained.test.identity, **trained.test.space},
    }
