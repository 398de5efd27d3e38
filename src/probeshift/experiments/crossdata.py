"""crossdata: probes trained on one truth dataset, tested on every other one.

Three steps that can be run apart: `extract` reads training activations and fits every probe, `evaluate` scores all of them on
all test sets, and the pages (`report.crossdata`) are drawn from the saved rows alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from probeshift.datasets import Dataset
from probeshift.experiments.inputs import DataSettings, ModelSettings, Settings, Workspace, load_datasets
from probeshift.layers import REFERENCE_DEPTH, parse_layers, sampled_layers
from probeshift.provenance import environment, publish

if TYPE_CHECKING:
    import pandas as pd

    from probeshift.extraction import Extraction
    from probeshift.results import ProbeFile, ResultFolder
    from probeshift.shift import SliceData

Progress = Callable[[str, int, int], None]

# Choices of one evaluation; a later one does not inherit them.
_EVALUATE_ONLY: Any = {"protocol": True, "n_resamples": True, "output_dir": True, "data": {"eval_limit"}}


class CrossdataSettings(Settings):
    """A whole comparison. Saved beside its results, so that later steps need only the model's name."""

    model: ModelSettings
    data: DataSettings = DataSettings()
    layer_skip: int = 2
    """Store and train every Nth layer, always including the one at three quarters of the depth."""
    store_layers: str | None = None
    """Layers to store and train instead: all, 0.75, -1, 4,8 or 0:32:2."""
    methods: tuple[str, ...] = ("dim", "random")
    """Probe methods, separated by commas."""
    protocol: Literal["strict", "published"] = "strict"
    """strict: sign and threshold from training data. published: as in the literature, from the evaluation labels."""
    seed: int = 0
    """Seed of everything random: probes and resamples."""
    n_resamples: int = Field(default=1000, ge=100)
    """Bootstrap resamples behind each interval."""
    output_dir: Path = Path("output/comparison")
    """Results go to a folder of the model's name below this one."""


@dataclass(frozen=True)
class Comparison:
    """One model's comparison, opened: datasets read, nothing computed."""

    settings: CrossdataSettings
    workspace: Workspace
    datasets: dict[str, Dataset]
    opened: dict[tuple[str, str, tuple[int, ...]], SliceData] = field(default_factory=dict)

    @classmethod
    def open(cls, settings: CrossdataSettings) -> Comparison:
        """Check the names and read the datasets.

        Raises:
            UsageError: an unknown model, method or dataset, or a file that cannot be used.
            MissingError: datasets that are not on this machine.
        """
        from probeshift.models.names import resolve
        from probeshift.probes import find_method

        resolve(settings.model.model)
        for name in settings.methods:
            find_method(name)
        return cls(settings, Workspace(settings.model), load_datasets(settings.data))

    @property
    def results(self) -> ResultFolder:
        return result_folder(self.settings)

    def layers(self, also: Sequence[int] = ()) -> tuple[int, ...]:
        """Layers whose activations are stored: every `layer_skip`-th, or as given, and those asked for besides."""
        n_layers, asked = self.workspace.info.n_layers, self.settings.store_layers
        stored = parse_layers(asked, n_layers) if asked else sampled_layers(n_layers, self.settings.layer_skip)
        return tuple(sorted({*stored, *also}))

    def layers_to_score(self, asked: str) -> tuple[int, ...]:
        """The layers an evaluation scores: those asked for, or "all" stored ones, and those evaluated into its folder before.

        A layer that is not stored makes new stores and fits the probes anew: earlier layers are scored again with them, so
        that one table holds every layer from one set of activations.
        """
        n_layers = self.workspace.info.n_layers
        named = self.layers() if asked == "all" else parse_layers(asked, n_layers)
        return tuple(sorted({*named, *(layer for layer in self.results.collected_layers() if layer < n_layers)}))

    def jobs(self, splits: Sequence[str], layers: tuple[int, ...]) -> list[tuple[Dataset, str, Extraction]]:
        """The extraction of each dataset's splits, planned or found finished."""
        data = self.settings.data
        return [(d, s, self.workspace.prepare(d, s, data.limit(s), layers)) for d, s in self._wanted(splits)]

    def _wanted(self, splits: Sequence[str]) -> list[tuple[Dataset, str]]:
        """Datasets and splits to read; sets for evaluation only have no others than test."""
        return [(d, s) for d in self.datasets.values() for s in splits if s == "test" or not d.spec.eval_only]

    def read(self, splits: Sequence[str], layers: tuple[int, ...], on_progress: Progress | None) -> list[SliceData]:
        """The activations of each dataset's splits, extracted where they are missing; those read before are kept open."""
        from probeshift.extraction import extract as run_extraction
        from probeshift.shift import SliceData

        wanted = self._wanted(splits)
        with self.workspace.loader() as load:
            for dataset, split in wanted:
                if (dataset.name, split, layers) in self.opened:
                    continue
                job = self.workspace.prepare(dataset, split, self.settings.data.limit(split), layers)
                store = run_extraction(job, load, on_progress=on_progress)
                limited = len(store.rows) < len(dataset.split(split))
                related = frozenset(dataset.spec.related)
                data = SliceData(dataset.name, split, store, dataset.spec.family, related, limited)
                self.opened[dataset.name, split, layers] = data
        return [self.opened[d.name, s, layers] for d, s in wanted]

    def tokens(self) -> dict[str, int]:
        """Tokens of the splits read so far: in the texts, needed after sharing, computed with padding; prompts cut."""
        plans = [part.store.plan for part in self.opened.values()]
        counts = {kind: sum(plan["tokens"][kind] for plan in plans) for kind in ("text", "needed", "computed")}
        return {**counts, "truncated_rows": sum(plan["truncated_rows"] for plan in plans)}


def result_folder(settings: CrossdataSettings) -> ResultFolder:
    """Where a model's files go: `<output_dir>/<model>/`."""
    from probeshift.models.names import folder_name, resolve
    from probeshift.results import ResultFolder

    return ResultFolder(settings.output_dir / folder_name(resolve(settings.model.model).name))


def extract(comparison: Comparison, *, on_progress: Progress | None = None) -> list[ProbeFile]:
    """Store training and selection activations and fit all probes; writes `probe_vectors.jsonl`."""
    layers = comparison.layers()
    slices = comparison.read(("train", "selection"), layers, on_progress)
    probes = fit(comparison, slices, layers, comparison.settings.protocol, on_progress)
    save_run(comparison, slices, step="extract")
    comparison.results.write_vectors(probes)
    return probes


def evaluate(
    comparison: Comparison, *, layers: str = str(REFERENCE_DEPTH), on_progress: Progress | None = None
) -> pd.DataFrame:
    """Score all probes on all selection and test splits at the given layers and those evaluated before (`layers_to_score`).

    Writes the result files and returns the rows.
    """
    asked = comparison.layers_to_score(layers)
    stored = comparison.layers(also=asked)
    slices = comparison.read(("train", "selection", "test"), stored, on_progress)
    protocol = comparison.settings.protocol
    probes = fit(comparison, slices, stored, protocol, on_progress)
    contexts = score(comparison, slices, probes, asked, protocol, on_progress)
    rows = comparison.results.collect(contexts)
    save_run(comparison, slices, step="evaluate", contexts=contexts)
    comparison.results.write_evaluations(rows, probes)
    return rows


def score(
    comparison: Comparison, slices: Sequence[SliceData], probes: Sequence[ProbeFile], layers: tuple[int, ...], protocol: str,
    on_progress: Progress | None,
) -> list[tuple[str, str, str]]:  # fmt: skip
    """Score all probes on the selection and test splits among the slices; returns the (test, split, context) of their rows."""
    from probeshift.shift import Scoring, score_slice

    settings = comparison.settings
    scoring = Scoring(protocol, settings.seed, settings.n_resamples)
    tested = [s for s in slices if s.split != "train"]
    contexts = []
    for done, part in enumerate(tested):
        contexts.append((part.dataset, part.split, score_slice(part, probes, layers, comparison.results, scoring)))
        if on_progress:
            on_progress(f"scoring, {protocol}", done + 1, len(tested))
    return contexts


def run(comparison: Comparison, *, layers: str, on_progress: Progress | None = None) -> pd.DataFrame:
    """Both steps, with the model loaded once for all splits; returns the rows."""
    stored = comparison.layers(also=comparison.layers_to_score(layers))
    comparison.read(("train", "selection", "test"), stored, on_progress)
    extract(comparison, on_progress=on_progress)
    return evaluate(comparison, layers=layers, on_progress=on_progress)


def fit(
    comparison: Comparison,
    slices: Sequence[SliceData],
    layers: tuple[int, ...],
    protocol: str,
    on_progress: Progress | None,
) -> list[ProbeFile]:
    """The probes of all methods on the training splits among the slices; published variants of methods under that protocol."""
    from probeshift.models import choose_device
    from probeshift.probes import find_method
    from probeshift.shift import fit_probes

    settings = comparison.settings
    methods = [find_method(name, protocol) for name in settings.methods]
    device = "cuda" if choose_device(settings.model.device).type == "cuda" else "cpu"
    train = [s for s in slices if s.split == "train"]
    probes = []
    for done, part in enumerate(train):
        probes += fit_probes(part, methods, layers, comparison.results, seed=settings.seed, device=device)
        if on_progress:
            on_progress("fitting probes", done + 1, len(train))
    return probes


def save_run(comparison: Comparison, slices: Sequence[SliceData], *, step: str, contexts: Sequence[Any] = ()) -> None:
    """The settings `evaluate` starts from, and the manifest: who made these files from what."""
    folder = comparison.results.folder
    if step == "extract":
        publish(folder / "settings.json", comparison.settings.model_dump_json(indent=1, exclude=_EVALUATE_ONLY))
    stores = [
        {"dataset": s.dataset, "split": s.split, "store": str(s.store.folder), "rows": len(s.store.rows),
         "questions": s.n_questions, **{k: s.store.plan[k] for k in ("plan_id", "dtype", "tokens", "truncated_rows")}}
        for s in slices
    ]  # fmt: skip
    data = {
        n: {"source": d.source, "split_rule": d.split_rule, "split_by": d.split_by, "content_hash": d.content_hash,
            "dropped": d.dropped, "stand_in": d.stand_in}
        for n, d in comparison.datasets.items()
    }  # fmt: skip
    plan = slices[0].store.plan
    model = {
        k: plan[k]
        for k in ("model", "revision", "weights", "config", "tokenizer", "chat_template", "template", "special_tokens")
    }
    settings = comparison.settings.model_dump(mode="json")
    manifest = {
        "step": step,
        "settings": settings,
        "made": environment(),
        "model": model,
        "datasets": data,
        "stores": stores,
        "contexts": list(contexts),
    }
    publish(folder / "manifest.json", json.dumps(manifest, indent=1, ensure_ascii=False))


def saved_settings(model: str, output_dir: Path | None) -> dict[str, Any]:
    """The settings of this model's last `extract`, for the steps after it; nothing when there was none."""
    settings = CrossdataSettings(model=ModelSettings(model=model))
    settings = settings.model_copy(update={"output_dir": Path(output_dir)}) if output_dir else settings
    path = result_folder(settings).folder / "settings.json"
    return json.loads(path.read_text()) if path.exists() else {}


def plan(
    comparison: Comparison, splits: Sequence[str] = ("train", "selection", "test"), *, also: Sequence[int] = ()
) -> dict[str, Any]:
    """What a comparison will cost, part by part and in all, with the layers in `also` stored too. Loads no weights."""
    import shutil

    from probeshift.extraction import estimate, plan_line
    from probeshift.provenance import cache_root

    layers = comparison.layers(also)
    jobs = comparison.jobs(splits, layers)
    parts: list[dict[str, Any]] = []
    for dataset, split, job in jobs:
        questions = len({s["group"] or s["row_id"] for s in job.plan.rows})
        parts.append(
            {
                "dataset": dataset.name,
                "split": split,
                "questions": questions,
                **plan_line(job.plan),
                "tokens_left": job.tokens_left,
            }
        )
    left = sum(p["tokens_left"] for p in parts)
    options = comparison.workspace.options(layers)
    cost = estimate(left, comparison.workspace.info, options)
    root = next(p for p in (cache_root(), *cache_root().parents) if p.exists())
    n_train = sum(not d.spec.eval_only for d in comparison.datasets.values())
    probes = n_train * len(comparison.settings.methods) * len(layers)
    return {
        "model": comparison.workspace.info.name, "layers": list(layers), "dtype": options.dtype, "device": options.device,
        "parts": parts, "bytes": sum(p["bytes"] for p in parts), "bytes_left": sum(p["bytes"] for p in parts if p["tokens_left"]),
        "bytes_free": shutil.disk_usage(root).free, "tokens_left": left, "seconds": cost.seconds, "seconds_basis": cost.basis,
        "memory_bytes": cost.memory_bytes, "probes": probes, "cells": probes * sum(s != "train" for _, s, _ in jobs),
    }  # fmt: skip
