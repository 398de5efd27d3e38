"""Two files of steered models: steering-vectors (its constructor's arguments as tensors) and lm-eval's `--model steered`.

steering-vectors keeps no file format of its own (its users pickle the object). We write

    {"vector": {"layer_activations": {block: tensor}, "layer_type": "decoder_block"}, "card": text}

so that `SteeringVector(**torch.load(path, weights_only=True)["vector"])` is the object. lm-eval wants a dict of hook points; it
refuses `add` with a bias, so the bias is left out and kept in the card, in a key of the entry that lm-eval does not read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from probeshift.errors import UsageError
from probeshift.exchange.cards import parsed
from probeshift.exchange.formats import Format, Found, Target, no_biases
from probeshift.exchange.tensors import load_tensors, save_tensors, vector
from probeshift.results import ProbeFile


def write_steering_vectors(probes: ProbeFile, target: Target) -> None:
    """All layers as one steering vector."""
    tensors = {
        layer: torch.from_numpy(d.copy()) for layer, d in zip(probes.card.layers, probes.directions, strict=True)
    }
    vector = {"layer_activations": tensors, "layer_type": "decoder_block"}
    save_tensors(target.path, {"vector": vector, "card": target.card})


def read_steering_vectors(path: Path) -> list[Found]:
    """Our own layout, or the constructor's arguments alone.

    Raises:
        UsageError: something else, a pickled SteeringVector among it.
    """
    content = load_tensors(path)
    inner = content.get("vector", content) if isinstance(content, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("layer_activations"), dict):
        raise UsageError(
            f"{path} holds no `layer_activations`. Save vars(steering_vector) with torch.save and import that."
        )
    if inner.get("layer_type", "decoder_block") != "decoder_block":
        raise UsageError(
            f"{path} is of layer type `{inner['layer_type']}`; only `decoder_block` is the residual stream."
        )
    layers = tuple(sorted(inner["layer_activations"]))
    directions = np.stack(
        [vector(inner["layer_activations"][layer], f"layer {layer} of {path.name}") for layer in layers]
    )
    return [Found(path.stem, layers, directions, no_biases(len(layers)), parsed(content.get("card")))]


def write_lm_eval(probes: ProbeFile, target: Target) -> None:
    """One hook point that adds the direction times the strength."""
    (layer,), (direction,) = probes.card.layers, probes.directions
    entry = {
        "action": "add",
        "steering_vector": torch.from_numpy(direction.copy()),
        "steering_coefficient": float(target.strength),
        "bias": None,
        "head_index": None,
        "card": target.card,
    }
    save_tensors(target.path, {target.hookpoint.format(layer=layer): entry})


def read_lm_eval(path: Path) -> list[Found]:
    """One direction per hook point; the layer is the last number in its name.

    Raises:
        UsageError: no hook points, or one on attention heads.
    """
    content = load_tensors(path)
    if not isinstance(content, dict) or not all(
        isinstance(e, dict) and "steering_vector" in e for e in content.values()
    ):
        raise UsageError(
            f"{path} is no file of hook points with a `steering_vector` each, as lm-eval's steered model reads."
        )
    return [_hook(path, name, entry) for name, entry in content.items()]


def _hook(path: Path, name: str, entry: dict[str, Any]) -> Found:
    numbers = [part for part in name.split(".") if part.isdigit()]
    if entry.get("head_index") is not None:
        raise UsageError(
            f"hook point `{name}` of {path.name} steers one attention head; only the residual stream is read."
        )
    direction = vector(entry["steering_vector"], f"hook point `{name}` of {path.name}")
    layers = (int(numbers[-1]) if numbers else None,)
    return Found(f"{path.stem}-{name}", layers, direction[None], no_biases(1), parsed(entry.get("card")))


STEERING_VECTORS = Format(
    "steering-vectors", ".pt", "tensors of a steering-vectors SteeringVector", write_steering_vectors, read_steering_vectors,
    blocks_from=0,
)  # fmt: skip
LM_EVAL = Format(
    "lm-eval", ".pt", "lm-eval --model steered", write_lm_eval, read_lm_eval, one_layer=True, blocks_from=0
)  # fmt: skip
