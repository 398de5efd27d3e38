"""The three JSON files of the original pipeline, in its fields: undefined scores are null, and each key also says the true layer.

`i` in a key `pos_{p}_layer_{i}` is an index into `layer_indices`, as in the original; `layer_indices` count hidden states (0 the
embeddings, k the output of block k - 1), `layer_names` say the same in this tool's words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probeshift.experiments.positions.rows import METHOD, METRIC, as_reported, plain_scores
from probeshift.layers import layer_name
from probeshift.provenance import publish
from probeshift.results import ProbeCard, ProbeFile, save_probes

if TYPE_CHECKING:
    from probeshift.experiments.positions.train import Trained
    from probeshift.grid import FittedCell


def write_documents(trained: Trained) -> list[Path]:
    """Write `performance.json`, `best_probe_predictions.json`, `all_predictions.json`; returns the paths."""
    contents = {
        "performance.json": json.dumps(_performance(trained), indent=1),
        "best_probe_predictions.json": json.dumps(_best(trained), indent=1),
        "all_predictions.json": json.dumps(_all(trained)),
    }
    for name, text in contents.items():
        publish(trained.settings.output_dir / name, text)
    return [trained.settings.output_dir / name for name in contents]


def write_probes(trained: Trained) -> Path:
    """One probe file per position with all its layers; returns the folder."""
    for position in trained.train.positions:
        cells = [cell for cell in trained.cells if cell.position == position]
        directions = np.stack([cell.direction for cell in cells])
        save_probes(
            trained.settings.output_dir, ProbeFile(_card(trained, cells), directions, np.array([c.bias for c in cells]))
        )
    return trained.settings.output_dir / "probes"


def _card(trained: Trained, cells: list[FittedCell]) -> ProbeCard:
    space, position = trained.train.space, cells[0].position
    kind = "Ridge" if trained.task == "regression" else "LogisticRegression"
    name = position.replace("[", "").replace("]", "")
    return ProbeCard(
        fit_id=f"{trained.train.identity}:{trained.task}:{trained.settings.protocol}",
        method=METHOD[trained.task],
        source=f"scikit-learn {kind}, penalties {', '.join(f'{c.alpha:g}' for c in cells)}",
        model=str(space["model"]),
        model_weights=str(space["weights"]),
        dtype=trained.train.dtype,
        train=f"{trained.train.name}@{name}",
        family="file",
        position=position,
        layers=tuple(cell.layer for cell in cells),
        n_rows=len(trained.targets),
        n_questions=None,
        seed=trained.settings.seed,
        layer_seeds=(trained.settings.seed,) * len(cells),
        sign="fitted",
        threshold="the intercept" if trained.options.intercept else "none: fitted without an intercept",
        control=False,
        flipped=(False,) * len(cells),
        failures=(None,) * len(cells),
        procedure="" if trained.settings.protocol == "strict" else "published",
        task=trained.task,
        prompts=space["prompts"],
    )


def _performance(trained: Trained) -> dict[str, Any]:
    settings, options = trained.settings, trained.options
    grids = {split: _grid(trained, plain_scores(trained, split)) for split in ("train", "test")}
    return {
        "layer_performance": {**grids, "cv": _grid(trained, plain_scores(trained, "cv")) if options.folds else None},
        **_sites(trained),
        "n_layers": len(trained.train.layers),
        "n_positions": len(trained.train.positions),
        "d_model": trained.train.space["d_model"],
        **_task(trained),
        "k_fold": options.folds is not None,
        "n_folds": settings.n_folds if options.folds else None,
        "alpha": settings.alpha
        if settings.alpha is not None
        else options.alphas[0]
        if len(options.alphas) == 1
        else None,
        "alpha_grid": list(options.alphas) if len(options.alphas) > 1 else None,
        "selected_alphas": {_key(trained, cell): cell.alpha for cell in trained.cells},
        **(
            {"alpha_cv_scores": {_key(trained, c): _by_alpha(trained, c) for c in trained.cells}}
            if _chooses(trained)
            else {}
        ),
        "protocol": settings.protocol,
        "selected_by": trained.selected_by,
    }


def _best(trained: Trained) -> dict[str, Any]:
    cell, positions = trained.chosen, list(trained.train.positions)
    test = plain_scores(trained, "test")[trained.best]
    return {
        "best_position": _token_indices(trained)[positions.index(cell.position)],
        "best_position_idx": positions.index(cell.position),
        "best_layer": trained.train.layers.index(cell.layer),
        "best_layer_name": layer_name(cell.layer),
        "best_position_name": cell.position,
        "cv_score": _number(cell.cv_score),
        "cv_score_corrected_for_choice": _number(trained.corrected),
        "test_score": _number(test),
        "selected_alpha": cell.alpha,
        "alpha_cv_scores": _by_alpha(trained, cell) if _chooses(trained) else None,
        "train_actual": trained.targets.tolist(),
        "test_actual": trained.test_targets.tolist(),
        **_predictions(trained, cell),
        "probe_weights": cell.direction.tolist(),
        "probe_bias": cell.bias,
        **_task(trained),
        "protocol": trained.settings.protocol,
        "selected_by": trained.selected_by,
    }


def _all(trained: Trained) -> dict[str, Any]:
    return {
        **_sites(trained),
        "predictions": {_key(trained, cell): _predictions(trained, cell) for cell in trained.cells},
        "train_labels": trained.targets.tolist(),
        "test_labels": trained.test_targets.tolist(),
    }


def _sites(trained: Trained) -> dict[str, Any]:
    return {
        "layer_indices": [layer + 1 for layer in trained.train.layers],
        "layer_names": [layer_name(layer) for layer in trained.train.layers],
        "positions": _token_indices(trained),
        "position_names": list(trained.train.positions),
    }


def _token_indices(trained: Trained) -> list[int | str]:
    from probeshift.extraction.tensor_file import token_index

    return [token_index(position) for position in trained.train.positions]


def _task(trained: Trained) -> dict[str, Any]:
    return {
        "task_type": trained.task,
        "metric": "roc_auc" if METRIC[trained.task] == "auroc" else METRIC[trained.task],
        "task_decision": trained.decision,
    }


def _key(trained: Trained, cell: FittedCell) -> str:
    position = _token_indices(trained)[trained.train.positions.index(cell.position)]
    return f"pos_{position}_layer_{trained.train.layers.index(cell.layer)}"


def _grid(trained: Trained, scores: np.ndarray) -> list[list[float | None]]:
    """[position][layer]; cells come position by position."""
    return [[_number(v) for v in row] for row in scores.reshape(len(trained.train.positions), -1)]


def _chooses(trained: Trained) -> bool:
    return trained.options.folds is not None and len(trained.options.alphas) > 1


def _by_alpha(trained: Trained, cell: FittedCell) -> dict[str, float | None]:
    return {str(a): _number(v) for a, v in zip(trained.options.alphas, cell.alpha_scores, strict=True)}


def _predictions(trained: Trained, cell: FittedCell) -> dict[str, list[float] | None]:
    return dict(_named(trained, cell))


def _named(trained: Trained, cell: FittedCell) -> Iterator[tuple[str, list[float] | None]]:
    for split in ("train", "test", "cv"):
        values = as_reported(trained, getattr(cell, f"{split}_predictions"))
        yield f"{split}_predictions", values.tolist() if len(values) else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
