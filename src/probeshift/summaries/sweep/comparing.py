"""Steps against each other: gaps, paired gains, and the first step that helps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from probeshift.metrics.differences import detection_p, smallest_p
from probeshift.metrics.intervals import row_weights
from probeshift.metrics.units import holm
from probeshift.mixture_scores import MixtureScores
from probeshift.summaries.paired import bootstrap_p
from probeshift.summaries.sweep.controls import leave_one_out, marginal, size_matched
from probeshift.summaries.sweep.draws import SetDraws, bounds, number
from probeshift.summaries.sweep.evaluating import SetRole, SweepSets

LEVEL = 0.05


def compare_steps(found: MixtureScores, steps: Mapping[int, Mapping[str, Any]], sets: SweepSets) -> dict[str, Any]:
    """Everything that needs more than one mixture. `steps` are the evaluated steps by number."""
    draws = {role.name: SetDraws.of(found, role, sets) for role in sets.tests}
    gains = _gains(found, steps, sets, draws)
    return {
        "steps": found.steps,
        "gaps": [_gap(found, step, sets, draws) for step in found.steps],
        "gains": gains,
        "first_gain": {role.name: _first_gain(role.name, gains) for role in sets.tests},
        "size_matched": size_matched(found, sets, draws),
        "leave_one_out": leave_one_out(found, sets),
        **marginal(found, sets, draws),
    }


def _gap(found: MixtureScores, step: int, sets: SweepSets, draws: Mapping[str, SetDraws | None]) -> dict[str, Any]:
    """AUROC of the set the sweep begins with, less that of each shifted set; the mean over those that have one."""
    index, shifted = found.of_step(step), [r.name for r in sets.tests if r.shifted]
    home = next((r.name for r in sets.tests if not r.shifted and draws[r.name] is not None), None)
    about: dict[str, Any] = {"step": step, "in_distribution": home, "n_sets": len(shifted)}
    at_home = draws[home] if home is not None else None
    if at_home is None:
        return {**about, "sets": {}, "mean": None, "n_defined": 0, "reason": "no_in_distribution_auroc"}
    gaps: dict[str, Any] = {}
    drawn = []
    for name in shifted:
        away, trained = draws[name], {"source_trained_on": name in found.mixtures[index].sources}
        if away is None or np.isnan(away.values[index]):
            gaps[name] = {"gap": None, "reason": "single_class" if away is None else "rows_trained_on", **trained}
            continue
        n = min(at_home.drawn.shape[1], away.drawn.shape[1])
        drawn.append(at_home.drawn[index, :n] - away.drawn[index, :n])
        gaps[name] = {"gap": float(at_home.values[index] - away.values[index]), "ci": bounds(drawn[-1]), **trained}
    return {**about, "sets": gaps, **_mean_gap(gaps, drawn)}


def _mean_gap(gaps: Mapping[str, Any], drawn: list[np.ndarray]) -> dict[str, Any]:
    defined = {name: g["gap"] for name, g in gaps.items() if g["gap"] is not None}
    if not defined:
        return {"mean": None, "n_defined": 0, "reason": "no_shifted_set_has_an_auroc"}
    n = min(map(len, drawn))
    mean = np.mean([d[:n] for d in drawn], axis=0)
    worst = max(defined, key=lambda name: defined[name])
    return {
        "mean": float(np.mean(list(defined.values()))),
        "ci": bounds(mean),
        "n_defined": len(defined),
        "worst": worst,
    }


def _gains(found, steps, sets: SweepSets, draws: Mapping[str, SetDraws | None]) -> list[dict[str, Any]]:
    """Each step less the one before, per test set on the same rows, with p held down over all of them by Holm."""
    gains = [
        {"from": before, "to": after, "set": role.name, "added_rows": _added(steps, before, after),
         **(_detection_gain(found, steps, before, after, role, sets) if (drawn := draws[role.name]) is None
            else _auroc_gain(found, before, after, drawn))}
        for before, after in zip(found.steps[:-1], found.steps[1:], strict=True)
        for role in sets.tests
    ]  # fmt: skip
    tested = [g for g in gains if g.get("p") is not None]
    for gain, adjusted in zip(tested, holm([g["p"] for g in tested]), strict=True):
        gain["p_holm"] = adjusted
    return [{**g, **_per_row(g)} for g in gains]


def _added(steps, before: int, after: int) -> int:
    return steps[after]["n_training_samples"] - steps[before]["n_training_samples"]


def _auroc_gain(found: MixtureScores, before: int, after: int, draws: SetDraws) -> dict[str, Any]:
    old, new = found.of_step(before), found.of_step(after)
    difference = number(draws.values[new] - draws.values[old])
    if difference is None:
        return {"measure": "auroc", "difference": None, "reason": "rows_trained_on"}
    drawn = draws.drawn[new] - draws.drawn[old]
    found_bounds = bounds(drawn)
    reason = None if found_bounds else "resamples_all_equal"
    p = max(bootstrap_p(drawn), smallest_p(draws.n_pairs))
    return {"measure": "auroc", "difference": difference, "ci": found_bounds, "p": p, "reason": reason}


def _detection_gain(found, steps, before: int, after: int, role: SetRole, sets: SweepSets) -> dict[str, Any]:
    """For a set of one class: detections at the first target rate that both steps resolve, each at its own threshold."""
    rows = role.rows(found)
    trained = any((found.members[found.of_step(step)] & rows).any() for step in (before, after))
    pairs = list(zip(*(steps[step]["thresholds"] for step in (before, after)), strict=True))
    at = next((pair for pair in pairs if pair[0]["score"] is not None and pair[1]["score"] is not None), None)
    positive = bool(found.labels[rows].all())
    name = "detection" if positive else "false_positives"
    if trained or at is None or not rows.any():
        return {
            "measure": name,
            "difference": None,
            "reason": "rows_trained_on" if trained else "no_threshold_resolvable",
        }
    hits = [found.scores[found.of_step(s)][rows] > t["score"] for s, t in zip((before, after), at, strict=True)]
    difference, groups = hits[1].astype(float) - hits[0].astype(float), found.groups(rows)
    weights = row_weights(groups, len(difference), sets.n_resamples, sets.seed)
    drawn = weights @ difference / weights.sum(axis=1)
    return {
        "measure": f"{name} at {at[0]['target_fpr']:.0%} FPR", "difference": float(difference.mean()), "ci": bounds(drawn),
        "p": detection_p(hits[0], hits[1], groups), "reason": None if bounds(drawn) else "resamples_all_equal",
    }  # fmt: skip


def _per_row(gain: Mapping[str, Any]) -> dict[str, Any]:
    """The gain per 1,000 added rows."""
    if gain["difference"] is None or gain["added_rows"] <= 0:
        return {"per_1000": None, "per_1000_ci": None}
    scale, ci = 1000 / gain["added_rows"], gain.get("ci")
    return {"per_1000": gain["difference"] * scale, "per_1000_ci": None if ci is None else [x * scale for x in ci]}


def _first_gain(name: str, gains: list[dict[str, Any]]) -> dict[str, Any]:
    """The first step whose paired gain excludes 0 after Holm, and any that lost."""
    of_set = [g for g in gains if g["set"] == name and g.get("p_holm") is not None]
    better = -1 if of_set and of_set[0]["measure"].startswith("false") else 1
    clear = [g for g in of_set if g["p_holm"] < LEVEL and (not g.get("ci") or g["ci"][0] > 0 or g["ci"][1] < 0)]
    return {
        "step": next((g["to"] for g in clear if better * g["difference"] > 0), None),
        "losses": [g["to"] for g in clear if better * g["difference"] < 0],
        "n_tested": len(of_set),
    }
