"""Steering vectors: unit directions with the scale that strengths are counted in, kept in one file keyed by concept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probeshift.errors import StoreError, UsageError, nearest
from probeshift.provenance import environment, publish

if TYPE_CHECKING:
    from probeshift.models import LanguageModel

FORMAT_VERSION = 1
SITE = "residual stream after the block"


@dataclass(frozen=True)
class VectorCard:
    """Where a vector came from.

    `weights` is the hash of the model's weights; `tokens` which tokens were read, `pooling` how ("token": every token
    counts once, "row": every row); `norm` the length before normalising; `max_activation` the largest projection of a
    read token on the vector over `max_activation_rows` rows, None while it has not been measured; `data` a hash of the
    rows (None: not told by the probe); `truncated` how many of them were cut; `details` what only some methods have to say.
    """

    concept: str
    method: str
    model: str
    weights: str
    revision: str | None
    dtype: str
    layer: int
    tokens: str
    pooling: str
    norm: float
    n_positive: int | None
    n_negative: int | None
    data: str
    max_activation: float | None = None
    max_activation_rows: int | None = None
    truncated: int = 0
    template: str | None = None
    max_tokens: int | None = None
    site: str = SITE
    details: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class SteeringVector:
    """A unit direction [d_model] in the residual stream after block `layer` of one model.

    Raises:
        UsageError: the direction is not finite, is zero, or is not a vector.
    """

    direction: np.ndarray
    card: VectorCard

    def __post_init__(self) -> None:
        if self.direction.ndim != 1 or not np.isfinite(self.direction).all():
            raise UsageError(f"vector `{self.concept}` is not a finite vector. Make it again from finite activations.")
        if not np.isclose(np.linalg.norm(self.direction.astype(np.float64)), 1, atol=1e-4):
            raise UsageError(f"vector `{self.concept}` does not have length one. Divide it by its norm first.")

    @property
    def concept(self) -> str:
        return self.card.concept

    @property
    def layer(self) -> int:
        return self.card.layer

    @property
    def max_activation(self) -> float:
        """The unit of strength.

        Raises:
            UsageError: it was never measured in this model.
        """
        if self.card.max_activation is None:
            raise UsageError(
                f"vector `{self.concept}` has no maximal activation in `{self.card.model}`, so a strength has no unit. "
                "Measure it first, on rows of text (`with_max_activations`)."
            )
        return self.card.max_activation

    def measured(self, max_activation: float, n_rows: int) -> SteeringVector:
        """The same vector with its maximal activation, as found on `n_rows` rows.

        Raises:
            UsageError: no token points the vector's way, so there is no unit to count strengths in.
        """
        if not (np.isfinite(max_activation) and max_activation > 0):
            raise UsageError(
                f"the largest projection on vector `{self.concept}` is {max_activation:.4g} over {n_rows} rows; it must be above 0. "
                "All read tokens lie on the other side of zero. Measure it on other rows, or set the unit by hand (--unit)."
            )
        return replace(self, card=replace(self.card, max_activation=float(max_activation), max_activation_rows=n_rows))


def normalised(direction: np.ndarray, card: VectorCard) -> SteeringVector:
    """A vector of length one; its length before goes into the card.

    Raises:
        UsageError: the direction is not finite, or has no length.
    """
    values = np.asarray(direction, dtype=np.float64)
    norm = float(np.linalg.norm(values))
    if not np.isfinite(norm) or norm == 0:
        what = "is zero: both classes have the same mean" if norm == 0 else "is not finite"
        raise UsageError(f"the direction of `{card.concept}` {what}. Use other rows, another layer or --dtype float32.")
    return SteeringVector((values / norm).astype(np.float32), replace(card, norm=norm))


def save_vectors(path: Path, vectors: Iterable[SteeringVector]) -> None:
    """Write one safetensors file, whole: a tensor per concept id, the cards as JSON in its header.

    Raises:
        UsageError: two vectors of one concept.
        StoreError: the file cannot be written.
    """
    from safetensors.numpy import save

    by_concept: dict[str, SteeringVector] = {}
    for vector in vectors:
        if vector.concept in by_concept:
            raise UsageError(f"two vectors are called `{vector.concept}`. Give each concept an id of its own.")
        by_concept[vector.concept] = vector
    cards = {concept: json.dumps(asdict(v.card), ensure_ascii=False) for concept, v in by_concept.items()}
    about = json.dumps({"format_version": FORMAT_VERSION, "made": environment()})
    tensors = {concept: np.ascontiguousarray(v.direction, dtype=np.float32) for concept, v in by_concept.items()}
    publish(path, save(tensors, metadata={**{f"card:{c}": card for c, card in cards.items()}, "probeshift": about}))


def load_vectors(path: Path) -> dict[str, SteeringVector]:
    """The vectors of a file by concept id, in the order of their ids. Nothing is unpickled.

    Raises:
        StoreError: the file is missing, damaged or not one of vectors.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            if "probeshift" not in header:
                raise StoreError(f"{path} holds no steering vectors: its header has no cards.")
            return {c: SteeringVector(file.get_tensor(c), _card(header[f"card:{c}"])) for c in sorted(file.keys())}
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise StoreError(f"{path} is not a readable file of steering vectors ({error}). Make it again.") from error


def _card(text: str) -> VectorCard:
    """A card as it was written; fields of later versions are left out."""
    known = {field.name for field in fields(VectorCard)}
    return VectorCard(**{key: value for key, value in json.loads(text).items() if key in known})


def find_vector(vectors: Mapping[str, SteeringVector], concept: str | None) -> SteeringVector:
    """The vector of a concept; without a concept, the only one.

    Raises:
        UsageError: no such concept, or several and none named.
    """
    if concept is None and len(vectors) == 1:
        return next(iter(vectors.values()))
    if concept is None:
        raise UsageError(f"the file holds {len(vectors)} vectors; name one with --concept. {nearest('', vectors)}")
    if concept not in vectors:
        raise UsageError(f"concept `{concept}` not found. {nearest(concept, vectors)}")
    return vectors[concept]


def require_width(vector: SteeringVector, model: LanguageModel) -> None:
    """Refuse a vector of another width, or of a layer that is not there.

    Raises:
        UsageError: it does not fit the model.
    """
    if len(vector.direction) != model.info.d_model:
        raise UsageError(
            f"vector `{vector.concept}` (from `{vector.card.model}`) has width {len(vector.direction)}, `{model.info.name}` has "
            f"{model.info.d_model}. Carry it over with a transfer map, e.g. linear."
        )
    if not 0 <= vector.layer < model.info.n_layers:
        raise UsageError(
            f"vector `{vector.concept}` is of layer {vector.layer}; `{model.info.name}` has layers 0 to {model.info.n_layers - 1}."
        )
