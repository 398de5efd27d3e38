"""A map between the residual streams of two models, once it is fitted: how vectors pass through it, and its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from probeshift.arrays import Activations
from probeshift.errors import StoreError, UsageError
from probeshift.provenance import environment, publish
from probeshift.steering.vectors import SteeringVector, normalised

FORMAT_VERSION = 1


@dataclass(frozen=True)
class MapCard:
    """Where a map came from and how well it does.

    `layer_choice` says how the target layer was found; `pairing` how tokens were paired; `text` is a hash of the alignment
    text, which both models read up to `max_tokens`: `n_train` pairs were fitted on and `n_heldout` were not. `r_squared` is
    the share of the held-out variance that the linear part explains, without any residual (None where nothing varies);
    `choices` is what was chosen on held-out text, such as lambda.
    """

    method: str
    control: bool
    source_model: str
    source_weights: str
    source_layer: int
    target_model: str
    target_weights: str
    target_revision: str | None
    target_dtype: str
    target_layer: int
    layer_choice: str
    pairing: str
    text: str
    n_train: int
    n_heldout: int
    seed: int
    r_squared: float | None
    choices: Mapping[str, Any]
    max_tokens: int | None = None


@dataclass(frozen=True)
class Residual:
    """What a small network adds to a linear map: relu((x - source_mean) / scale . w1 + b1) . w2 + b2."""

    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray
    scale: float

    def __call__(self, centred: np.ndarray) -> np.ndarray:
        return np.maximum(centred / self.scale @ self.w1 + self.b1, 0) @ self.w2 + self.b2


@dataclass(frozen=True)
class TransferMap:
    """y = target_mean + (x - source_mean) weight (+ a residual); `weight` is [d_source, d_target]."""

    card: MapCard
    weight: np.ndarray
    source_mean: np.ndarray
    target_mean: np.ndarray
    residual: Residual | None = None

    def predict(self, acts: Activations) -> np.ndarray:
        """Target activations [example, d_target], float64, for source activations."""
        centred = acts.astype(np.float64) - self.source_mean
        linear = centred @ self.weight.astype(np.float64) + self.target_mean
        return linear if self.residual is None else linear + self.residual(centred)

    def carry(self, direction: np.ndarray, length: float) -> np.ndarray:
        """Where a difference goes [d_target]: through the linear part without any centre.

        With a residual f is no line, and the difference is that of f between the source mean and `length` along the
        unit direction; it depends on `length`.
        """
        step = direction.astype(np.float64) * length
        carried = step @ self.weight.astype(np.float64)
        if self.residual is not None:
            carried = carried + (self.residual(step) - self.residual(np.zeros_like(step)))
        return carried / length


def transfer(vector: SteeringVector, through: TransferMap) -> SteeringVector:
    """The vector in the target model: a unit vector again, its maximal activation still to be measured there.

    Raises:
        UsageError: the map is of another model, layer or width, or carries the vector to nothing.
    """
    card = through.card
    if vector.card.weights != card.source_weights or vector.layer != card.source_layer:
        raise UsageError(
            f"vector `{vector.concept}` is of layer {vector.layer} of `{vector.card.model}`, the map starts at layer "
            f"{card.source_layer} of `{card.source_model}`{_other_weights(vector, card)}. Fit a map for that model and layer."
        )
    length = vector.max_activation if through.residual is not None else 1.0
    details = {
        "from": {"model": vector.card.model, "layer": vector.layer, "norm": vector.card.norm},
        "map": card.choices,
    }
    return normalised(
        through.carry(vector.direction, length),
        replace(
            vector.card,
            method=f"{vector.card.method}, {card.method} map",
            model=card.target_model,
            weights=card.target_weights,
            revision=card.target_revision,
            dtype=card.target_dtype,
            layer=card.target_layer,
            max_activation=None,
            max_activation_rows=None,
            template=None,
            details=details if through.residual is None else {**details, "length": length},
        ),
    )


def _other_weights(vector: SteeringVector, card: MapCard) -> str:
    same_place = (vector.card.model, vector.layer) == (card.source_model, card.source_layer)
    return ", with other weights" if same_place else ""


def save_map(path: Path, fitted: TransferMap) -> None:
    """Write one safetensors file, whole, with the card as JSON in its header.

    Raises:
        StoreError: the file cannot be written.
    """
    from safetensors.numpy import save

    tensors = {name: getattr(fitted, name) for name in ("weight", "source_mean", "target_mean")}
    if fitted.residual is not None:
        tensors |= {f"residual.{k}": np.asarray(v) for k, v in vars(fitted.residual).items()}
    header = {"card": json.dumps(asdict(fitted.card)), "format_version": str(FORMAT_VERSION)}
    header["made"] = json.dumps(environment())
    publish(path, save({k: np.ascontiguousarray(v, dtype=np.float32) for k, v in tensors.items()}, metadata=header))


def load_map(path: Path) -> TransferMap:
    """A saved map. Nothing is unpickled.

    Raises:
        StoreError: the file is missing, damaged or not one of a map.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            card = json.loads((file.metadata() or {})["card"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        known = {field.name for field in fields(MapCard)}
        parts = {k.removeprefix("residual."): v for k, v in tensors.items() if k.startswith("residual.")}
        residual = Residual(**{**parts, "scale": parts["scale"].item()}) if parts else None
        main = {k: v for k, v in tensors.items() if not k.startswith("residual.")}
        return TransferMap(MapCard(**{k: v for k, v in card.items() if k in known}), residual=residual, **main)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise StoreError(f"{path} is not a readable transfer map ({error}). Fit it again.") from error
