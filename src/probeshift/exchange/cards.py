"""What travels with a direction: model, layer, site, sign, threshold; and how a card is made where a file brings none."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from probeshift.errors import UsageError
from probeshift.exchange.formats import Format, Found
from probeshift.layers import layer_name
from probeshift.provenance import environment, sha256_json
from probeshift.results import ProbeCard, ProbeFile, card_of
from probeshift.saved_probes import NO_THRESHOLD, sign_words, site, threshold_words

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Origin:
    """What the user says of a file that does not say it. `weights` is the hash of the model's weights."""

    model: str | None = None
    weights: str = UNKNOWN
    layer: int | None = None
    position: str | None = None
    dtype: str = UNKNOWN
    method: str = "imported"


def exported_card(probes: ProbeFile) -> str:
    """A JSON text that says of each layer what a reader must know, and holds our own card to come back by."""
    card = probes.card
    layers = [
        {
            "layer": layer, "layer_name": layer_name(layer), "site": site(layer), "bias": float(bias),
            "direction_norm": float(np.linalg.norm(direction.astype(np.float64))),
        }
        for layer, direction, bias in zip(card.layers, probes.directions, probes.biases, strict=True)
    ]  # fmt: skip
    about = {
        "format_version": 1, "model": card.model, "model_weights": card.model_weights, "position": card.position,
        "sign": sign_words(card),
        "score": "activation . direction + bias", "threshold": threshold_words(card), "layers": layers,
        "card": asdict(card), "made": environment()["versions"],
    }  # fmt: skip
    return json.dumps(about, ensure_ascii=False, allow_nan=True)


def only(probes: ProbeFile, layers: Sequence[int]) -> ProbeFile:
    """The probes of some layers, with a card that names those.

    Raises:
        UsageError: a layer is not there, or its fit found no solution.
    """
    card = probes.card
    missing = [layer for layer in layers if layer not in card.layers]
    if missing:
        raise UsageError(
            f"layer {missing[0]} is not in the probe file (layers {', '.join(map(str, card.layers))}). Name another --layer."
        )
    at = [card.layers.index(layer) for layer in layers]
    bad = [
        layer
        for layer, i in zip(layers, at, strict=True)
        if card.failures[i] or not np.isfinite(probes.directions[i]).all()
    ]
    if bad:
        raise UsageError(
            f"the fit at layer {bad[0]} found no direction ({card.failures[card.layers.index(bad[0])]}). Name another --layer."
        )
    picked: dict[str, Any] = {
        name: tuple(getattr(card, name)[i] for i in at) for name in ("layer_seeds", "flipped", "failures")
    }
    return ProbeFile(replace(card, layers=tuple(layers), **picked), probes.directions[at], probes.biases[at])


def fitting(probes: ProbeFile, layer: int | None, format: Format) -> ProbeFile:
    """What of a probe file a format can take: the layer asked for, else all that found a direction.

    Raises:
        UsageError: the format holds one layer and none is named, or cannot name the layer.
    """
    card = probes.card
    whole = [at for at, failure in zip(card.layers, card.failures, strict=True) if failure is None]
    layers = [layer] if layer is not None else whole
    if format.one_layer and len(layers) != 1:
        raise UsageError(f"format `{format.name}` holds one layer, the file has {len(layers)}. Name one with --layer.")
    if layer is None:
        layers = [at for at in layers if at >= format.blocks_from]
    if not layers or min(layers) < format.blocks_from:
        raise UsageError(
            f"format `{format.name}` has no place for layers before {format.blocks_from}. Name another --layer."
        )
    return only(probes, layers)


def as_probe_files(found: Sequence[Found], origin: Origin) -> list[ProbeFile]:
    """What was found, as probes of this project.

    Raises:
        UsageError: neither the file nor the user says the model or the layer.
    """
    return [_ours(one) if one.card else _foreign(one, origin) for one in found]


def _ours(found: Found) -> ProbeFile:
    assert found.card is not None
    card, layers = card_of(found.card["card"]), {entry["layer"]: entry for entry in found.card["layers"]}
    whole = all(layer in layers for layer in found.layers) and len(found.layers) == len(card.layers)
    if not whole:
        raise UsageError(
            f"`{found.name}` holds layers {found.layers}, its card speaks of {tuple(layers)}: the file was changed. Export again."
        )
    order = [found.layers.index(layer) for layer in card.layers]
    biases = [
        layers[layer]["bias"] if np.isnan(b) else b for layer, b in zip(card.layers, found.biases[order], strict=True)
    ]
    return ProbeFile(card, found.directions[order].astype(np.float32), np.array(biases, dtype=np.float64))


def _foreign(found: Found, origin: Origin) -> ProbeFile:
    told = dict(found.told)
    model = origin.model or told.get("model")
    if not model:
        raise UsageError(f"`{found.name}` does not say which model it is for. Name it with --model.")
    layers = _layers(found, origin)
    without = np.isnan(found.biases)
    biases = np.where(without, 0.0, found.biases)
    threshold = NO_THRESHOLD if without.any() else str(told.get("threshold", "the bias in the file"))
    card = ProbeCard(
        fit_id="imported:" + sha256_json([found.directions.tolist(), biases.tolist()])[:24],
        method=str(told.get("method", origin.method)),
        source="imported",
        model=str(model),
        model_weights=origin.weights,
        dtype=origin.dtype,
        train=str(told.get("train", found.name)),
        family="imported",
        position=origin.position or str(told.get("position", "last")),
        layers=layers,
        n_rows=0,
        n_questions=None,
        seed=0,
        layer_seeds=(0,) * len(layers),
        sign="as in the file",
        threshold=threshold,
        control=False,
        flipped=(False,) * len(layers),
        failures=(None,) * len(layers),
        task=str(told.get("task", "classification")),
    )
    return ProbeFile(card, found.directions.astype(np.float32), biases)


def _layers(found: Found, origin: Origin) -> tuple[int, ...]:
    if None not in found.layers:
        if origin.layer is not None and found.layers != (origin.layer,):
            raise UsageError(
                f"the file says layer {', '.join(map(str, found.layers))}, --layer says {origin.layer}. Drop --layer."
            )
        return tuple(layer for layer in found.layers if layer is not None)
    if origin.layer is None or len(found.layers) != 1:
        raise UsageError(f"`{found.name}` does not say which layer it is of. Name it with --layer (0-based block).")
    return (origin.layer,)


def parsed(text: str | Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """An embedded card, or None where there is none that is ours."""
    value = json.loads(text) if isinstance(text, str) else text
    return value if isinstance(value, Mapping) and {"card", "layers"} <= set(value) else None
