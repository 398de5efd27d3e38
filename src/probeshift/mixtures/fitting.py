"""One probe per selection of rows, and out-of-fold scores for the steps; what is fitted is kept and not fitted again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from probeshift.errors import StoreError
from probeshift.metrics.ranking import auroc
from probeshift.mixture_scores import STEP, WITH_FOLDS, MixtureScores
from probeshift.mixtures.design import Selection
from probeshift.mixtures.joined import JoinedRows
from probeshift.probes.standardised import TOGETHER, Standardised, solve_standardised
from probeshift.provenance import publish, sha256_json

Progress = Callable[[str, int, int], None]

# Raise it when a fit, a fold or a score changes meaning: what was kept is then fitted anew.
PROCEDURE = 1


@dataclass(frozen=True)
class Fitting:
    """How probes are fitted: scikit-learn's C, folds, how often they are drawn anew, and their seed."""

    penalty_c: float
    n_folds: int
    repeats: int
    seed: int


@dataclass(frozen=True)
class Fit:
    """A probe in raw feature space and what was standardised; for steps also scores out of fold and AUROC by fold."""

    arrays: dict[str, np.ndarray]

    @property
    def direction(self) -> np.ndarray:
        return self.arrays["direction"]

    @property
    def bias(self) -> float:
        return float(self.arrays["bias"][0])


def fit_and_score(
    data: JoinedRows,
    selections: Sequence[Selection],
    fitting: Fitting,
    folder: Path,
    on_progress: Progress | None = None,
) -> tuple[MixtureScores, list[Fit]]:
    """Every selection's probe, from `folder` where it is already there, and its scores on all rows.

    Raises:
        StoreError: a probe was not solved to its optimum.
    """
    fits = {s.mixture.name: load_fit(fit_path(folder, s), _key(data, s, fitting)) for s in selections}
    missing = [s for s in selections if fits[s.mixture.name] is None]
    folded = [s for s in missing if s.mixture.kind in WITH_FOLDS]
    others = [s for s in missing if s.mixture.kind not in WITH_FOLDS]
    jobs = [[s] for s in folded] + [others[i : i + TOGETHER] for i in range(0, len(others), TOGETHER)]
    for done, job in enumerate(jobs):
        fitted: list[Fit] = (
            [_fit_with_folds(data, job[0], fitting)]
            if job[0].mixture.kind in WITH_FOLDS
            else _fit_plain(data, job, fitting)
        )
        for selection, new in zip(job, fitted, strict=True):
            _save(fit_path(folder, selection), new, _key(data, selection, fitting))
            fits[selection.mixture.name] = new
        if on_progress:
            on_progress("fitting mixtures", done + 1, len(jobs))
    every = [found for s in selections if (found := fits[s.mixture.name]) is not None]
    return _scores(data, selections, every), every


def _scores(data: JoinedRows, selections: Sequence[Selection], fits: Sequence[Fit]) -> MixtureScores:
    directions, biases = np.stack([f.direction for f in fits]), np.array([f.bias for f in fits])
    folded = [(s.mixture.name, f.arrays) for s, f in zip(selections, fits, strict=True) if s.mixture.kind in WITH_FOLDS]
    return MixtureScores(
        rows=data.rows,
        mixtures=tuple(s.mixture for s in selections),
        scores=np.ascontiguousarray((data.values @ directions.T + biases).T),
        members=np.stack([s.members for s in selections]),
        out_of_fold={name: arrays["out_of_fold"] for name, arrays in folded},
        cross_validated={name: arrays["cross_validated"] for name, arrays in folded},
    )


def _fit_plain(data: JoinedRows, job: Sequence[Selection], fitting: Fitting) -> list[Fit]:
    members = np.stack([s.members for s in job])
    used = members.any(axis=0)
    found = solve_standardised(data.values[used], data.labels[used], members[:, used], penalty_c=fitting.penalty_c)
    _check(found, [s.mixture.name for s in job])
    return [Fit(_arrays(found, i)) for i in range(len(job))]


def _fit_with_folds(data: JoinedRows, selection: Selection, fitting: Fitting) -> Fit:
    """The probe on all training rows and one without each fold, solved together."""
    used = np.flatnonzero(selection.members)
    values, labels = data.values[used], data.labels[used]
    repeats = fitting.repeats if selection.mixture.kind == STEP else 1
    folds = fold_numbers(labels, data.rows["group"].to_numpy()[used], fitting)[:repeats]
    without = [numbers != fold for numbers in folds for fold in range(numbers.max() + 1)]
    members = np.stack([np.ones(len(used), dtype=bool), *without])
    found = solve_standardised(values, labels, members, penalty_c=fitting.penalty_c)
    _check(found, [selection.mixture.name, *["a fold of " + selection.mixture.name] * len(without)])
    n_folds = folds.max(initial=0) + 1
    scores = (values @ found.directions.T + found.biases).T[1:].reshape(len(folds), n_folds, len(used))
    by_row = np.take_along_axis(scores, folds[:, None], axis=1)[:, 0]
    out_of_fold = np.full((len(folds), len(data.rows)), np.nan)
    out_of_fold[:, used] = by_row
    by_fold = [
        [auroc(row[None, numbers == fold], labels[numbers == fold])[0] for fold in range(numbers.max() + 1)]
        for row, numbers in zip(by_row, folds, strict=True)
    ]
    return Fit({**_arrays(found, 0), "out_of_fold": out_of_fold, "cross_validated": np.array(by_fold)})


def fold_numbers(labels: np.ndarray, groups: np.ndarray, fitting: Fitting) -> np.ndarray:
    """Fold of each row in each repeat [repeat, row]: classes in proportion, groups whole.

    Fewer folds than asked for where a class has fewer groups; no repeats where some fold would leave one class to train on.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    alone = len(np.unique(groups)) == len(groups)
    smallest = min(len(np.unique(groups[labels == truth])) for truth in (True, False))
    n_folds = max(2, min(fitting.n_folds, smallest))
    kind = StratifiedKFold if alone else StratifiedGroupKFold
    found = np.zeros((fitting.repeats, len(labels)), dtype=np.int64)
    for repeat in range(fitting.repeats):
        if smallest < n_folds:
            return found[:0]
        splitter = kind(n_folds, shuffle=True, random_state=fitting.seed + repeat)
        for fold, (_, held) in enumerate(splitter.split(np.zeros(len(labels)), labels, None if alone else groups)):
            found[repeat, held] = fold
    enough = all(len(np.unique(labels[row != fold])) == 2 for row in found for fold in range(n_folds))
    return found if enough else found[:0]


def _check(found: Standardised, names: Sequence[str]) -> None:
    for name, converged, gradient in zip(names, found.converged, found.gradients, strict=True):
        if not converged:
            raise StoreError(
                f"the probe of `{name}` was not solved to its optimum (gradient {gradient:.1e}). Lower penalty_c: weaker "
                "regularisation is harder to solve."
            )


def _arrays(found: Standardised, i: int) -> dict[str, np.ndarray]:
    return {
        "direction": found.directions[i], "bias": found.biases[i : i + 1], "mean": found.means[i], "scale": found.scales[i],
        "coefficient": found.coefficients[i], "intercept": found.intercepts[i : i + 1], "gradient": found.gradients[i : i + 1],
    }  # fmt: skip


def fit_path(folder: Path, selection: Selection) -> Path:
    """Where a fit is kept: steps beside their results, the others below `fits`."""
    mixture = selection.mixture
    if mixture.kind == STEP:
        return folder / f"step_{mixture.step}_probe.safetensors"
    return folder / "fits" / f"{sha256_json([mixture.kind, mixture.name])[:16]}.safetensors"


def _key(data: JoinedRows, selection: Selection, fitting: Fitting) -> str:
    members = np.flatnonzero(selection.members).tolist()
    how = [fitting.penalty_c]
    if selection.mixture.kind in WITH_FOLDS:
        how += [fitting.n_folds, fitting.repeats, fitting.seed]
    return sha256_json([PROCEDURE, data.fingerprint, members, how])


def _save(path: Path, fit: Fit, key: str) -> None:
    from safetensors.numpy import save

    publish(path, save({k: np.ascontiguousarray(v) for k, v in fit.arrays.items()}, {"key": key}))


def is_fitted(data: JoinedRows, selection: Selection, fitting: Fitting, folder: Path) -> bool:
    """Whether the selection's probe is there, fitted on these rows in this way."""
    return load_fit(fit_path(folder, selection), _key(data, selection, fitting)) is not None


def load_fit(path: Path, key: str | None = None) -> Fit | None:
    """A fit that was kept, or None when there is none (of that key).

    Raises:
        StoreError: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            if key is not None and (file.metadata() or {}).get("key") != key:
                return None
            return Fit({name: file.get_tensor(name) for name in file.keys()})
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise StoreError(f"{path} is damaged ({error}). Delete it and run the same command again.") from error
