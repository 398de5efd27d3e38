"""Cells over the store: fit each (method, training slice) once, score it on every test slice, keep the rows as they are made.

This is the one loop behind every experiment. Training labels decide signs and thresholds here; evaluation labels only count
(unless the published protocol is asked for, which is then written into every row).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probeshift.activations import ActivationStore
from probeshift.arrays import LayerActivations, Scores
from probeshift.errors import StoreError, UsageError
from probeshift.metrics import Measure, Measurement, measure
from probeshift.metrics.published import sign_flips
from probeshift.metrics.questions import lay_out
from probeshift.metrics.thresholds import best_balanced_thresholds
from probeshift.probes import Fitted, LinearProbe, Method, TrainingSet, find_method
from probeshift.provenance import sha256_json, sha256_text
from probeshift.results import ProbeCard, ProbeFile, ResultFolder, load_probes, save_probes
from probeshift.slices import Cell, Slice

if TYPE_CHECKING:
    import pandas as pd

log = logging.getLogger(__name__)

# float32 activations held at once while fitting, at least one layer; solvers need about ten times as much beside them. Few on a CPU,
# whose caches they should fit; many on a GPU, which idles on small matrices.
FIT_BYTES = {"cpu": 4 << 20, "cuda": 1 << 30}

# Raise it when a fit, a sign, a threshold or a score changes meaning: saved probes and rows are then made anew.
PROCEDURE = 4

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SliceData:
    """One dataset's split in the store, with what the rows say about it."""

    dataset: str
    split: str
    store: ActivationStore
    family: str = "file"
    related: frozenset[str] = frozenset()
    limited: bool = False

    @property
    def model(self) -> str:
        return self.store.plan["model"]

    def slice(self, layer: int) -> Slice:
        return Slice(self.model, f"{self.dataset}:{self.split}", layer, self.store.positions[0])

    @property
    def n_questions(self) -> int:
        groups = self.store.groups
        return len(self.store.rows) if groups is None else int(groups.max()) + 1


@dataclass(frozen=True)
class Scoring:
    """How cells are scored. `protocol` "strict" takes sign and threshold from training data, "published" from the test labels."""

    protocol: str = "strict"
    seed: int = 0
    n_resamples: int = 1000


def fit_probes(
    train: SliceData,
    methods: Sequence[Method],
    layers: Sequence[int],
    results: ResultFolder,
    *,
    seed: int = 0,
    device: str = "cpu",
) -> list[ProbeFile]:
    """The probes of each method on one training slice at the given layers, from disk where they are already fitted.

    Methods that need questions are left out where the data has none: a cell that cannot be is not made. `device` is where the
    solvers run.

    Raises:
        UsageError: one class only or activations that are not finite.
    """
    usable = [m for m in methods if train.store.groups is not None or not m.needs_groups]
    wanted = {m.name: _fit_id(train, m, layers, seed) for m in usable}
    saved = [load_probes(results.folder, m.name, train.dataset, m.procedure) for m in usable]
    found = {p.card.method: p for p in saved if p is not None and p.card.fit_id == wanted[p.card.method]}
    missing = [m for m in usable if m.name not in found]
    for probes in _fit(train, missing, layers, wanted, seed, device) if missing else ():
        save_probes(results.folder, probes)
        found[probes.card.method] = probes
    return [found[m.name] for m in usable]


def _fit_id(train: SliceData, method: Method, layers: Sequence[int], seed: int) -> str:
    how = [method.name, method.procedure, list(layers), seed]
    return sha256_json([PROCEDURE, train.store.plan["plan_id"], *how])


def _fit(
    train: SliceData,
    methods: Sequence[Method],
    layers: Sequence[int],
    fit_ids: dict[str, str],
    seed: int,
    device: str,
) -> Iterator[ProbeFile]:
    """All methods on one read of the activations, a few layers at a time."""
    parts: dict[str, list[_Calibrated]] = {m.name: [] for m in methods}
    for chunk in _chunks(layers, len(train.store.rows) * train.store.plan["d_model"] * 4, FIT_BYTES[device]):
        acts = np.stack([train.store.read(layer) for layer in chunk])
        store = train.store
        training = TrainingSet(
            train.dataset, chunk, acts, store.labels, store.groups, store.answer_types, device=device
        )
        for method in methods:
            seeds = [layer_seed(seed, method.name, train.dataset, layer) for layer in chunk]
            parts[method.name].append(_calibrate(method, training, _fit_or_say_why(method, training, seeds)))
    for method in methods:
        card = _card(train, method, layers, fit_ids[method.name], seed, parts[method.name])
        directions, biases = (
            np.concatenate([getattr(p, n) for p in parts[method.name]]) for n in ("directions", "biases")
        )
        yield ProbeFile(card, directions, biases)


def _fit_or_say_why(method: Method, training: TrainingSet, seeds: Sequence[int]) -> Fitted:
    """Data that one method cannot use stops neither the other methods nor the other training sets."""
    try:
        return method.fit(training, seeds)
    except UsageError as error:
        return Fitted.failed(training, str(error))


def _chunks(layers: Sequence[int], layer_bytes: int, budget: int) -> Iterator[tuple[int, ...]]:
    step = max(1, budget // max(1, layer_bytes))
    for start in range(0, len(layers), step):
        yield tuple(layers[start : start + step])


def layer_seed(seed: int, method: str, train: str, layer: int) -> int:
    """The seed of one fit: independent between methods, training sets and layers, the same in every process."""
    return int(sha256_text(f"{seed}:{method}:{train}:{layer}")[:12], 16)


@dataclass(frozen=True)
class _Calibrated:
    """Directions as stored (float32) with biases; a failed layer is NaN. `flipped` marks signs turned by training labels."""

    directions: np.ndarray
    biases: np.ndarray
    flipped: np.ndarray
    failures: tuple[str | None, ...]


def _calibrate(method: Method, training: TrainingSet, fitted: Fitted) -> _Calibrated:
    """The sign and threshold that training labels give each direction."""
    n_layers = len(training.layers)
    failures = fitted.failures or (None,) * n_layers
    solved = [i for i, failure in enumerate(failures) if failure is None]
    directions = np.full(fitted.directions.shape, np.nan, dtype=np.float32)
    biases, flipped = np.full(n_layers, np.nan), np.zeros(n_layers, dtype=bool)
    if solved:
        directions[solved] = fitted.directions[solved]
        scores = _scores_by_layer(training.acts[solved], directions[solved])
        if method.sign == "train labels":
            flipped[solved] = sign_flips(scores, lay_out(training.labels, training.groups))
        signs = np.where(flipped[solved], -1.0, 1.0)
        directions[solved] *= signs[:, None].astype(np.float32)
        if fitted.biases is None:
            biases[solved] = -best_balanced_thresholds(scores * signs[:, None], training.labels)
        else:
            biases[solved] = fitted.biases[solved] * signs
    return _Calibrated(directions, biases, flipped, failures)


def _scores_by_layer(acts: LayerActivations, directions: np.ndarray) -> Scores:
    """Scores [layer, example] of one direction per layer, in float64."""
    return np.stack([a.astype(np.float64) @ d.astype(np.float64) for a, d in zip(acts, directions, strict=True)])


def _card(
    train: SliceData, method: Method, layers: Sequence[int], fit_id: str, seed: int, parts: Sequence[_Calibrated]
) -> ProbeCard:
    plan, groups = train.store.plan, train.store.groups
    return ProbeCard(
        fit_id=fit_id,
        method=method.name,
        source=method.source,
        model=plan["model"],
        model_weights=plan["weights"],
        dtype=plan["dtype"],
        train=train.dataset,
        family=train.family,
        position=train.store.positions[0],
        layers=tuple(layers),
        n_rows=len(train.store.rows),
        n_questions=None if groups is None else train.n_questions,
        seed=seed,
        layer_seeds=tuple(layer_seed(seed, method.name, train.dataset, layer) for layer in layers),
        sign=method.sign,
        threshold=method.threshold,
        control=method.control,
        flipped=tuple(bool(f) for part in parts for f in part.flipped),
        failures=tuple(f for part in parts for f in part.failures),
        procedure=method.procedure,
        prompts=plan.get("prompts") or _raw_prompts(plan),
        quantization=plan.get("quantization"),
    )


def _raw_prompts(plan: dict[str, Any]) -> dict[str, Any] | None:
    """Raw text is what a card without prompts means, with the tokenizer's special tokens; without them it says so."""
    return None if plan.get("special_tokens", True) else {"kind": "raw", "special_tokens": False}


def context_id(test: SliceData, probes: Sequence[ProbeFile], scoring: Scoring) -> str:
    """Everything the rows of a test slice depend on except the layer."""
    fits = sorted(p.card.fit_id for p in probes)
    how = [scoring.protocol, scoring.seed, scoring.n_resamples]
    return sha256_json([PROCEDURE, test.store.plan["plan_id"], fits, *how])


def score_slice(
    test: SliceData, probes: Sequence[ProbeFile], layers: Sequence[int], results: ResultFolder, scoring: Scoring
) -> str:
    """Score every probe on one test slice at the given layers and append the rows. Returns the context they were kept under.

    Layers whose rows are already there are not scored again.

    Raises:
        StoreError: probes and activations come from different models.
    """
    for probe in probes:
        _same_space(test, probe)
    context = context_id(test, probes, scoring)
    missing = sorted(set(layers) - results.layers(test.dataset, test.split, context))
    if missing:
        rows, keys, correct = [], [], []
        for layer in missing:
            measured = measure_layer(test, probes, layer, scoring)
            rows += [row for i, p in enumerate(probes) for row in _rows(test, p, layer, measured, i, scoring)]
            keys += [(p.card.method, p.card.train, layer) for p in probes]
            correct.append(measured.correct)
        results.append(test.dataset, test.split, context, rows, keys, np.concatenate(correct))
    return context


def measure_layer(test: SliceData, probes: Sequence[ProbeFile], layer: int, scoring: Scoring) -> Measurement:
    """All probes on one layer of one test slice: one matrix product, then every metric at once."""
    store = test.store
    at_layer = [p.at(layer) for p in probes]
    directions = np.stack([d for d, _ in at_layer]).astype(np.float64)
    biases = np.array([b for _, b in at_layer])
    scores = directions @ store.read(layer).astype(np.float64).T + biases[:, None]
    resampling = {"n_resamples": scoring.n_resamples, "seed": scoring.seed}
    return measure(scores, store.labels, store.groups, protocol=scoring.protocol, **resampling)


def fit_probe(store: ActivationStore, method: str = "dim", *, layer: int, seed: int = 0) -> LinearProbe:
    """One probe on one layer of a store of training rows, with sign and threshold from their labels.

    Raises:
        UsageError: an unknown method, questions or rows that the method needs and the store lacks, one class only, or a fit
            that found no solution.
        StoreError: the layer is not stored.
    """
    chosen = find_method(method)
    name = str(store.rows["dataset"].iloc[0])
    training = TrainingSet(name, (layer,), store.read(layer)[None], store.labels, store.groups, store.answer_types)
    fitted = chosen.fit(training, [layer_seed(seed, chosen.name, name, layer)])
    found = _calibrate(chosen, training, fitted)
    if found.failures[0]:
        raise UsageError(f"method `{method}` found no direction on `{name}` at layer {layer}: {found.failures[0]}.")
    return LinearProbe(found.directions[0], float(found.biases[0]), layer, store.positions[0])


def evaluate_probe(
    probe: LinearProbe, store: ActivationStore, *, n_resamples: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """What a probe scores on a store: one row per metric with value, 95 % interval, n, chance, and a reason where undefined.

    Raises:
        StoreError: the probe's layer is not stored.
    """
    import pandas as pd

    scores = probe.score(store.read(probe.layer, probe.position))[None]
    measured = measure(scores, store.labels, store.groups, n_resamples=n_resamples, seed=seed)
    return pd.DataFrame([_values(m, 0) for m in (measured.accuracy, measured.accuracy_row, measured.auroc)])


def _same_space(test: SliceData, probe: ProbeFile) -> None:
    """A probe is scored only on activations of the model and width it was fitted on."""
    card = probe.card
    if card.model_weights != test.store.plan["weights"]:
        raise StoreError(
            f"probe `{card.method}` on `{card.train}` was fitted on {card.model}, the activations of "
            f"`{test.dataset}` come from {test.model} with other weights. Use one model for both, or another --output-dir."
        )
    width = test.store.plan["d_model"]
    if probe.directions.shape[1] != width:
        raise StoreError(
            f"probe `{card.method}` on `{card.train}` has {probe.directions.shape[1]} dimensions and the activations of "
            f"`{test.dataset}` have {width}. Extract both from one model."
        )


def _rows(
    test: SliceData, probe: ProbeFile, layer: int, measured: Measurement, index: int, scoring: Scoring
) -> Iterator[dict[str, Any]]:
    card = probe.card
    train = Slice(card.model, f"{card.train}:train", layer, card.position)
    cell = Cell(card.method, train, test.slice(layer), card.seed)
    shared = {
        "model": card.model, "method": cell.method, "seed": cell.seed, "train": card.train, "test": test.dataset,
        "split": test.split, "layer": layer, "position": card.position, "protocol": scoring.protocol,
        "sign_source": measured.sign_source, "threshold_source": measured.threshold_source,
        "flipped": bool(measured.flipped[index]), "n_train": card.n_questions or card.n_rows,
        "in_distribution": card.train == test.dataset, "related": card.train in test.related, "limited": test.limited,
        "train_family": card.family, "test_family": test.family,
    }  # fmt: skip
    failure = card.failures[card.layers.index(layer)]
    for metric in (measured.accuracy, measured.accuracy_row, measured.auroc):
        yield {**shared, **_values(metric, index), **({"reason": f"fit failed: {failure}"} if failure else {})}


def _values(metric: Measure, index: int) -> dict[str, Any]:
    defined = metric.reason[index] is None
    return {
        "metric": metric.name,
        "value": float(metric.value[index]) if defined else None,
        "ci_low": float(metric.low[index]) if defined else None,
        "ci_high": float(metric.high[index]) if defined else None,
        "ci_kind": metric.ci_kind[index] if defined else None,
        "n": metric.n,
        "n_kind": metric.n_kind,
        "chance": metric.chance if np.isfinite(metric.chance) else None,
        "reason": metric.reason[index],
    }
