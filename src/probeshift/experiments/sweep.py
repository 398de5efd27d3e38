"""sweep: one probe, the same tests, a training mixture that grows source by source.

`run` fits what is missing and writes the step files; `compare` reads scores and step files alone, so that pages can be redrawn
without the activations.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from probeshift.errors import StoreError, UsageError
from probeshift.experiments.sweep_sets import SweepInputs, read_sets
from probeshift.experiments.sweep_settings import SweepSettings
from probeshift.mixture_scores import HELD_OUT, STEP, TRAIN, MixtureScores, load_scores, save_scores
from probeshift.mixtures import Fitting, JoinedRows, Step, fit_and_score, join_sets, mixtures_to_fit
from probeshift.mixtures.design import Selection
from probeshift.mixtures.fitting import PROCEDURE as FITTING
from probeshift.mixtures.fitting import Fit, is_fitted
from probeshift.mixtures.pipeline import pickled_pipeline
from probeshift.provenance import environment, publish, sha256_json
from probeshift.results import ROW_COLUMNS
from probeshift.summaries.sweep import (
    SetRole,
    SweepSets,
    activity_by_source,
    compare_steps,
    conclude,
    duplicates_across,
    evaluate_step,
    extraction_by_set,
    result_rows,
)

log = logging.getLogger(__name__)
Progress = Callable[[str, int, int], None]

# Raise it when a number of the comparison changes meaning: `finished` then finds nothing.
PROCEDURE = 4


def cumulative_steps(settings: SweepSettings) -> list[Step]:
    """Each step with all sources added so far."""
    added: tuple[str, ...] = ()
    steps = []
    for number, step in enumerate(settings.steps):
        added = (*added, *step.add)
        steps.append(Step(number, step.name, added))
    return steps


def run(settings: SweepSettings, only: Sequence[int] = (), on_progress: Progress | None = None) -> dict[str, Any]:
    """Fit and evaluate the steps (all, or those numbered in `only` and those finished before); returns the comparison.

    Raises:
        UsageError: a step that does not exist, a set that cannot be used, or a step with one class.
        MissingError: a file is not there.
    """
    steps = cumulative_steps(settings)
    unknown = sorted(set(only) - {s.number for s in steps})
    if unknown:
        raise UsageError(
            f"step {unknown[0]} does not exist. Steps are 0 to {len(steps) - 1}: {', '.join(s.name for s in steps)}."
        )
    inputs = read_sets(settings, on_progress)
    data = _join(settings, inputs)
    sources = _describe_sources(settings, inputs, data)
    if settings.remove_near_duplicates:
        data = data.without_training(_leaking(sources))
    fitting = Fitting(settings.penalty_c, settings.folds, settings.repeats, settings.seed)
    chosen, undefined = _select(data, settings, steps, only, fitting)
    scores, fits = fit_and_score(data, chosen, fitting, settings.output_dir, on_progress)
    save_scores(settings.output_dir / "scores", scores)
    publish(
        settings.output_dir / "sweep.json",
        json.dumps(_about(settings, data, {**sources, "undefined_mixtures": undefined}), indent=1),
    )
    publish(settings.output_dir / "settings.json", settings.model_dump_json(indent=1))
    _write_steps(settings, scores, chosen, fits, data.values.shape[1], on_progress)
    found = compare(settings.output_dir)
    manifest = {"key": None if only else _key(settings), "data": data.fingerprint, "made": environment()}
    publish(settings.output_dir / "manifest.json", json.dumps(manifest, indent=1))
    return found


def finished(settings: SweepSettings) -> dict[str, Any] | None:
    """What a run of all steps with these very settings found, or None; its sets are not looked at again.

    For sets that cannot change under their name, as activation stores in the cache.
    """
    try:
        made = _read(settings.output_dir / "manifest.json").get("key")
        return _read(settings.output_dir / "comparison.json") if made == _key(settings) else None
    except StoreError:
        return None


def _key(settings: SweepSettings) -> str:
    made = environment()["versions"]["probeshift"]
    return sha256_json([PROCEDURE, FITTING, made, settings.model_dump(mode="json")])


def _select(
    data: JoinedRows, settings: SweepSettings, steps: Sequence[Step], only: Sequence[int], fitting: Fitting
) -> tuple[list[Selection], dict[str, str]]:
    """What to fit: all, or the steps asked for beside those finished earlier."""
    every, undefined = mixtures_to_fit(
        data, steps, subsets=settings.subsets, draws=settings.size_draws, seed=settings.seed
    )
    if not only or set(only) == {s.number for s in steps}:
        return every, undefined
    wanted = [
        s for s in every
        if (s.mixture.kind == STEP and s.mixture.step in only) or is_fitted(data, s, fitting, settings.output_dir)
    ]  # fmt: skip
    return wanted, undefined


def _join(settings: SweepSettings, inputs: SweepInputs) -> JoinedRows:
    shares = [settings.held_out if s.held_out is None else s.held_out for s in settings.sources]
    return join_sets(list(zip(inputs.sources, shares, strict=True)), inputs.tests, seed=settings.seed)


def _describe_sources(settings: SweepSettings, inputs: SweepInputs, data: JoinedRows) -> dict[str, Any]:
    """How sets were extracted, and near-duplicates of test texts among training rows; found before anything is left out."""
    train = {t.name: t.texts for t in inputs.sources}
    trained, held_out = ({name: data.places(name, part) for name in train} for part in (TRAIN, HELD_OUT))
    tests = {t.name: t.texts for t in inputs.tests}
    every = (*inputs.sources, *inputs.tests)
    return {
        "extraction": extraction_by_set({t.name: t.made_with for t in every}, {t.name: t.reference for t in every}),
        "sae_fit": {t.name: t.sae_fit for t in every if t.sae_fit},
        "duplicates": duplicates_across(train, tests, trained, held_out),
        "duplicates_removed": settings.remove_near_duplicates,
    }


def _leaking(sources: Mapping[str, Any]) -> dict[str, list[int]]:
    rows: dict[str, set[int]] = {}
    for pair in sources["duplicates"]:
        rows.setdefault(pair["source"], set()).update(pair.get("train_rows", ()))
    return {name: sorted(found) for name, found in rows.items()}


def _about(settings: SweepSettings, data: JoinedRows, sources: Mapping[str, Any]) -> dict[str, Any]:
    """Everything a later comparison needs beside the scores."""
    plain = settings.model_dump(
        mode="json",
        include={"title", "model", "layer", "position", "seed", "n_resamples", "control", "fpr", "penalty_c"},
    )
    activity = activity_by_source(data.values, data.rows["set"].tolist())
    parts = {str(name): of["part"].value_counts().to_dict() for name, of in data.rows.groupby("set", sort=False)}
    return {**plain, "tests": _roles(settings, data), "activity": activity, "parts": parts, **sources}


def _roles(settings: SweepSettings, data: JoinedRows) -> list[dict[str, Any]]:
    """The tests as named, then each source: its held-out rows, or, where none are, all of them until it is trained on."""
    roles = [{"name": t.name, "part": None, "shifted": t.shifted} for t in settings.tests]
    has_home = any(not t.shifted for t in settings.tests)
    for number, source in enumerate(settings.sources):
        parts = set(data.rows.loc[data.rows["set"] == source.name, "part"])
        first = source.name in settings.steps[0].add
        if HELD_OUT not in parts and first:
            continue
        roles.append({"name": source.name, "part": HELD_OUT if HELD_OUT in parts else TRAIN,
                      "shifted": not first or (has_home and number > 0)})  # fmt: skip
    if not roles:
        raise UsageError("nothing would be tested: give `tests`, or let `held_out` be above 0.")
    return roles


def _sets(about: Mapping[str, Any]) -> SweepSets:
    roles = tuple(SetRole(**role) for role in about["tests"])
    return SweepSets(roles, about["control"], tuple(about["fpr"]), about["n_resamples"], about["seed"])


def _write_steps(
    settings: SweepSettings, scores: MixtureScores, chosen: Sequence[Selection], fits: Sequence[Fit], n_features: int,
    on_progress: Progress | None,
) -> None:  # fmt: skip
    """step_{k}_{name}.json and step_{k}_probe.pkl of every step that is there."""
    sets = _sets(_read(settings.output_dir / "sweep.json"))
    steps = [(s, f) for s, f in zip(chosen, fits, strict=True) if s.mixture.kind == STEP and s.mixture.step is not None]
    for done, (selection, fit) in enumerate(steps):
        number = selection.mixture.step or 0
        values = {**evaluate_step(scores, number, sets), "n_features": n_features, "penalty_c": settings.penalty_c}
        publish(settings.output_dir / f"step_{number}_{selection.mixture.name}.json", json.dumps(values, indent=1))
        pickled = pickled_pipeline(fit, int(selection.members.sum()), settings.penalty_c)
        publish(settings.output_dir / f"step_{number}_probe.pkl", pickled)
        if on_progress:
            on_progress("evaluating steps", done + 1, len(steps))


def read_steps(folder: Path, scores: MixtureScores) -> dict[int, dict[str, Any]]:
    """The step files by number.

    Raises:
        StoreError: one is missing, is not JSON, or is of another run than the scores, which stopped before it wrote its own.
    """
    steps = {}
    for number in scores.steps:
        index = scores.of_step(number)
        path = folder / f"step_{number}_{scores.mixtures[index].name}.json"
        steps[number] = _read(path)
        if steps[number].get("n_training_samples") != int(scores.members[index].sum()):
            raise StoreError(
                f"{path} is not of the run that made the scores. Run `probeshift sweep run` again: what is fitted is kept."
            )
    return steps


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(
            f"{path} cannot be read ({error}). Run `probeshift sweep run` again: what is fitted is kept."
        ) from error


def compare(folder: Path) -> dict[str, Any]:
    """Everything that was found, from the files of a sweep alone; writes comparison.json and the results table.

    Raises:
        StoreError: there is no sweep, or a file of it is damaged.
    """
    import pandas as pd

    scores = load_scores(folder / "scores")
    about = _read(folder / "sweep.json")
    steps = read_steps(folder, scores)
    comparison = compare_steps(scores, steps, _sets(about))
    found = {**about, "step_values": list(steps.values()), **comparison}
    found["conclusions"] = conclude(found)
    publish(folder / "comparison.json", json.dumps(found, indent=1))
    named = {
        "model": about["model"] or "unnamed",
        "layer": about["layer"],
        "position": about["position"],
        "seed": about["seed"],
    }
    rows = pd.DataFrame(result_rows(steps, named), columns=list(ROW_COLUMNS))
    publish(folder / "results.parquet", rows.to_parquet(index=False))
    publish(folder / "results.csv", rows.to_csv(index=False))
    return found
