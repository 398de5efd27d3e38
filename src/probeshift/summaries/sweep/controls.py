"""Controls that say why a mixture helps: equal size, one source left out, every subset of sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from probeshift.metrics.marginal_gains import marginal_gains
from probeshift.metrics.measurement import measure
from probeshift.metrics.operating_points import frozen_threshold
from probeshift.mixture_scores import SIZE_MATCHED, MixtureScores
from probeshift.summaries.sweep.draws import SetDraws, bounds, number
from probeshift.summaries.sweep.evaluating import SweepSets, control_negatives, detection, measured

CHANCE = 0.5  # the value of no mixture at all


def size_matched(found: MixtureScores, sets: SweepSets, draws: Mapping[str, SetDraws | None]) -> list[dict[str, Any]]:
    """As many rows as the first step, from more sources: what is left of a gain when the number of rows stays the same."""
    by_step: dict[int, list[int]] = {}
    for index, mixture in enumerate(found.mixtures):
        if mixture.kind == SIZE_MATCHED and mixture.step is not None:
            by_step.setdefault(mixture.step, []).append(index)
    rows = []
    for step, drawn in sorted(by_step.items()):
        for role in sets.tests:
            on_set = draws[role.name]
            if on_set is None or found.steps[:1] == [step]:
                continue
            first, full = found.of_step(found.steps[0]), found.of_step(step) if step in found.steps else None
            matched, whole = on_set.values[drawn].mean(), on_set.values[full] if full is not None else np.nan
            difference = on_set.drawn[drawn].mean(axis=0) - on_set.drawn[first]
            rows.append({
                "step": step, "set": role.name, "own_source": role.name in found.mixtures[drawn[0]].sources,
                "n_rows": int(found.members[drawn[0]].sum()), "n_draws": len(drawn),
                "first_step": number(on_set.values[first]), "size_matched": number(matched), "full": number(whole),
                "more_sources": number(matched - on_set.values[first]), "more_sources_ci": bounds(difference),
                "more_rows": number(whole - matched),
            })  # fmt: skip
    return rows


def leave_one_out(found: MixtureScores, sets: SweepSets) -> list[dict[str, Any]]:
    """Every source scored by the probe that was trained on all others, on its rows about what the others say nothing about."""
    sources = list(dict.fromkeys(name for m in found.mixtures for name in m.sources))
    rows: list[dict[str, Any]] = []
    for source in sources if len(sources) > 1 else ():
        others = [s for s in sources if s != source]
        index = found.trained_on(others)
        if index is None:
            rows.append({"left_out": source, "auroc": None, "auroc_reason": "the_others_were_not_fitted"})
            continue
        of = found.where(source) & ~found.shares_group(index)
        n_shared = int(found.where(source).sum() - of.sum())
        if not of.any():
            rows.append(
                {
                    "left_out": source,
                    "auroc": None,
                    "auroc_reason": "all_its_groups_are_in_training",
                    "n_shared": n_shared,
                }
            )
            continue
        scores, labels = found.scores[index], found.labels
        auroc = measure(
            scores[None, of], labels[of], found.groups(of), n_resamples=sets.n_resamples, seed=sets.seed
        ).auroc
        rows.append({
            "left_out": source, "n": int(of.sum()), "n_positive": int(labels[of].sum()), "n_shared": n_shared,
            **measured("auroc", auroc), "detection": _left_out_detection(found, index, of, sets),
        })  # fmt: skip
    return rows


def _left_out_detection(found: MixtureScores, index: int, of: np.ndarray, sets: SweepSets) -> list[dict[str, Any]]:
    """Detections of a left-out source at thresholds frozen on the control's negatives, or those of the others, out of fold."""
    negatives, groups = control_negatives(found, index, sets)
    thresholds = [frozen_threshold(negatives, target, groups, seed=sets.seed) for target in sets.targets]
    return [detection(found.scores[index][of], found.labels[of], found.groups(of), at, sets) for at in thresholds]


def marginal(found: MixtureScores, sets: SweepSets, draws: Mapping[str, SetDraws | None]) -> dict[str, Any]:
    """Mean AUROC over the shifted sets of every subset of sources, and what each source adds to it."""
    names = [r.name for r in sets.tests if r.shifted and draws[r.name] is not None]
    sources = list(dict.fromkeys(name for m in found.mixtures for name in m.sources))
    values: dict[frozenset[str], float] = {}
    table = []
    for index, mixture in enumerate(found.mixtures):
        if mixture.kind == SIZE_MATCHED:
            continue
        by_set = {name: number(draw.values[index]) for name in names if (draw := draws[name]) is not None}
        defined = [v for v in by_set.values() if v is not None]
        mean = float(np.mean(defined)) if defined and len(defined) == len(names) else None
        table.append(
            {"sources": list(mixture.sources), "n_rows": int(found.members[index].sum()), "auroc": by_set, "mean": mean}
        )
        if mean is not None:
            values[frozenset(mixture.sources)] = mean
    values[frozenset()] = CHANCE
    gains = [asdict(g) for g in marginal_gains(values, sources)] if names else []
    return {
        "subsets": table,
        "marginal": {"over": names, "empty": CHANCE, "gains": gains, "by_place": _by_place(values, sources)},
    }


def _by_place(values: Mapping[frozenset[str], float], sources: list[str]) -> dict[str, list[float | None]]:
    """Mean gain of each source when so many others are there already: how much the order matters."""
    found: dict[str, list[float | None]] = {}
    for source in sources:
        gains: list[list[float]] = [[] for _ in sources]
        for subset, value in values.items():
            if source not in subset and subset | {source} in values:
                gains[len(subset)].append(values[subset | {source}] - value)
        found[source] = [float(np.mean(g)) if g else None for g in gains]
    return found
