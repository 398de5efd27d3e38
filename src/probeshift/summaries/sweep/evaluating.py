"""One step of a sweep on every test set: ranking where both classes are there, detection at a frozen threshold everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from probeshift.arrays import Groups
from probeshift.metrics.calibration import brier, calibration_error
from probeshift.metrics.confounding import cramers_v, source_only_auroc
from probeshift.metrics.measurement import Measure, measure
from probeshift.metrics.operating_points import Threshold, frozen_threshold, rate_above, recall_at_fpr
from probeshift.metrics.ranking import auroc
from probeshift.mixture_scores import MixtureScores

TRAINED_ON = "rows_trained_on"
OUT_OF_FOLD = "out-of-fold training negatives"
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class SetRole:
    """A set probes are tested on: `part` None is all its rows. `shifted` False: of the distribution the sweep begins with."""

    name: str
    part: str | None
    shifted: bool

    def rows(self, found: MixtureScores) -> np.ndarray:
        return found.where(self.name, self.part)


@dataclass(frozen=True)
class SweepSets:
    """The test sets in order, the set whose negatives freeze thresholds (None: the step's own, out of fold), and target rates."""

    tests: tuple[SetRole, ...]
    control: str | None = None
    targets: tuple[float, ...] = (0.01, 0.05)
    n_resamples: int = 1000
    seed: int = 0


def evaluate_step(found: MixtureScores, step: int, sets: SweepSets) -> dict[str, Any]:
    """The step's numbers in the fields of the study, and beside them what they leave out; undefined is None with a reason."""
    index = found.of_step(step)
    mixture, members, labels = found.mixtures[index], found.members[index], found.labels
    negatives, groups = control_negatives(found, index, sets)
    thresholds = [frozen_threshold(negatives, target, groups, seed=sets.seed) for target in sets.targets]
    sources = found.rows["set"].to_numpy()[members]
    _, codes = np.unique(sources, return_inverse=True)
    return {
        "step": step,
        "name": mixture.name,
        "training_data": list(mixture.sources),
        "n_training_samples": int(members.sum()),
        "training_breakdown": {name: int((sources == name).sum()) for name in mixture.sources},
        "training_positives": {name: int(labels[members][sources == name].sum()) for name in mixture.sources},
        "train_accuracy": float(((found.scores[index] > 0) == labels)[members].mean()),
        **_cross_validation(found.cross_validated[mixture.name]),
        "source_predicts_label": {
            "cramers_v": cramers_v(codes, labels[members]), "source_only_auroc": source_only_auroc(codes, labels[members]),
        },
        "control": sets.control or OUT_OF_FOLD,
        "thresholds": [_threshold(t) for t in thresholds],
        "evaluation": {role.name: _evaluate(found, index, role, thresholds, sets) for role in sets.tests},
    }  # fmt: skip


def _cross_validation(by_fold: np.ndarray) -> dict[str, Any]:
    """Mean and spread over all folds of all repeats, and the spread of repeats, which only the split sets apart."""
    defined = by_fold[~np.isnan(by_fold)]
    about = {"cv_folds": int(by_fold.size), "cv_folds_undefined": int(by_fold.size - defined.size)}
    if not defined.size:
        reason = "too_few_rows_of_a_class_to_fold"
        return {"cv_auroc_mean": None, "cv_auroc_std": None, "cv_auroc_repeat_std": None, **about, "cv_reason": reason}
    repeats = np.nanmean(by_fold, axis=1)
    spread = float(repeats.std(ddof=1)) if len(repeats) > 1 else None
    return {
        "cv_auroc_mean": float(defined.mean()),
        "cv_auroc_std": float(defined.std()),
        "cv_auroc_repeat_std": spread,
        **about,
    }


def control_negatives(found: MixtureScores, index: int, sets: SweepSets) -> tuple[np.ndarray, np.ndarray | None]:
    """Scores and groups of the negatives that set thresholds; none of them was trained on by the probe that scored it."""
    role = next((r for r in sets.tests if r.name == sets.control), None)
    scores = found.out_of_fold_scores(index) if role is None else found.scores[index]
    rows = ~found.labels & (~np.isnan(scores) if role is None else role.rows(found))
    return scores[rows], found.groups(rows)


def _evaluate(
    found: MixtureScores, index: int, role: SetRole, thresholds: Sequence[Threshold], sets: SweepSets
) -> dict[str, Any]:
    rows = role.rows(found)
    scores, labels = found.scores[index][rows], found.labels[rows]
    about = {
        "n_samples": int(rows.sum()), "af_samples": int(labels.sum()), "shifted": role.shifted,
        "source_trained_on": role.name in found.mixtures[index].sources,
    }  # fmt: skip
    if (rows & found.members[index]).any():
        return {"auroc": None, "auroc_reason": TRAINED_ON, "accuracy": None, "accuracy_reason": TRAINED_ON, **about}
    groups = found.groups(rows)
    found_here = measure(scores[None], labels, groups, n_resamples=sets.n_resamples, seed=sets.seed)
    chances = 1 / (1 + np.exp(-scores))
    return {
        **measured("auroc", found_here.auroc),
        **measured("accuracy", found_here.accuracy_row),
        **about,
        "detection": [detection(scores, labels, groups, t, sets, role.name == sets.control) for t in thresholds],
        "recall_at_fpr": [_recall(scores, labels, groups, target, sets) for target in sets.targets],
        **_calibration(chances, labels),
        "score_quantiles": dict(zip(map(str, _QUANTILES), np.quantile(chances, _QUANTILES).tolist(), strict=True)),
        "cross_set_auroc": _cross_set(found, index, rows, sets),
        "length_only_auroc": _length_only(found.rows["n_tokens"].to_numpy(dtype=float)[rows], labels),
    }


def _length_only(n_tokens: np.ndarray, labels: np.ndarray) -> float | None:
    """AUROC of the number of tokens alone; pooled maxima and counts grow with it. None where it or a class is not known."""
    if np.isnan(n_tokens).any() or labels.all() or not labels.any():
        return None
    return float(auroc(n_tokens[None], labels)[0])


def measured(name: str, metric: Measure) -> dict[str, Any]:
    """The first probe's value, interval and how that was made, in the fields of a step file; None with a reason."""
    reason = metric.reason[0]
    if reason:
        return {name: None, f"{name}_ci": None, f"{name}_reason": reason}
    ci = [float(metric.low[0]), float(metric.high[0])]
    return {name: float(metric.value[0]), f"{name}_ci": ci, f"{name}_ci_kind": metric.ci_kind[0]}


def _threshold(found: Threshold) -> dict[str, Any]:
    return {"target_fpr": found.target, "score": found.value, "fpr": asdict(found.reached), "reason": found.reason}


def detection(
    scores: np.ndarray,
    labels: np.ndarray,
    groups: Groups | None,
    at: Threshold,
    sets: SweepSets,
    is_control: bool = False,
) -> dict[str, Any]:
    """Rates on a set's positives and negatives at a threshold frozen elsewhere."""
    threshold = at.value
    if threshold is None:
        return {"target_fpr": at.target, "detected": None, "false_positives": None, "reason": at.reason}

    def rate(rows: np.ndarray, other: str) -> dict[str, Any]:
        own = None if groups is None else groups[rows]
        reason = f"single_class:{other}"
        return asdict(
            rate_above(scores[rows], threshold, own, no_rows=reason, n_resamples=sets.n_resamples, seed=sets.seed)
        )

    false = {"value": None, "reason": "set_the_threshold"} if is_control else rate(~labels, "positive")
    return {"target_fpr": at.target, "detected": rate(labels, "negative"), "false_positives": false}


def _recall(
    scores: np.ndarray, labels: np.ndarray, groups: Groups | None, target: float, sets: SweepSets
) -> dict[str, Any]:
    rate = recall_at_fpr(scores, labels, target, groups, n_resamples=sets.n_resamples, seed=sets.seed)
    return {"fpr": target, **asdict(rate)}


def _calibration(chances: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    return {"brier": brier(chances, labels), "calibration_error": calibration_error(chances, labels)}


def _cross_set(found: MixtureScores, index: int, rows: np.ndarray, sets: SweepSets) -> dict[str, Any] | None:
    """For a set of one class: the AUROC of its rows against the other class of the set the sweep begins with.

    It also measures whatever else differs between the two sets, style first: never a stand-in for a set's own AUROC.
    """
    own = found.labels[rows]
    home = next((r for r in sets.tests if not r.shifted), None)
    if home is None or not len(own) or (own.any() and not own.all()):
        return None
    others = home.rows(found) & (found.labels != own[0]) & ~found.members[index]
    if not others.any():
        return None
    both = rows | others
    scores, labels, groups = found.scores[index][None, both], found.labels[both], found.groups(both)
    joined = measure(scores, labels, groups, n_resamples=sets.n_resamples, seed=sets.seed).auroc
    of, against = ("positives", "negatives") if own[0] else ("negatives", "positives")
    return {
        **measured("value", joined),
        "n": len(own),
        "of": of,
        "n_against": int(others.sum()),
        "against": f"{against} of {home.name}",
    }
