"""Probes as steering vectors: does the direction that reads best also steer best?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from probeshift.errors import StoreError, UsageError
from probeshift.models import LanguageModel, weight_hash
from probeshift.probes import LinearProbe
from probeshift.results import ProbeFile, read_probes
from probeshift.steering.contrasts import Contrast, make_encoder
from probeshift.steering.diffmean import with_max_activations
from probeshift.steering.vectors import SteeringVector, VectorCard, normalised, require_width


def probe_vector(probe: LinearProbe, model: LanguageModel, *, concept: str, method: str = "probe") -> SteeringVector:
    """A probe's direction as a vector of the model it was fitted on: positive strengths push towards "true".

    Raises:
        UsageError: the probe's width or layer is not the model's, or its direction is not finite.
    """
    card = VectorCard(
        concept=concept,
        method=method,
        model=model.info.name,
        weights=weight_hash(model.info),
        revision=model.info.revision,
        dtype=str(model.dtype).removeprefix("torch."),
        layer=probe.layer,
        tokens=probe.position,
        pooling="row",
        norm=0.0,
        n_positive=None,
        n_negative=None,
        data="",
    )
    vector = normalised(probe.direction, card)
    require_width(vector, model)
    return vector


def saved_probe_vector(path: Path, layer: int | None = None) -> SteeringVector:
    """A saved probe (`probes/<method>/<train>.safetensors`) at one of its layers, by default the middle one.

    Raises:
        StoreError: there is no readable probe file with its card.
        UsageError: the layer is not in the file, or the fit at it failed.
    """
    if not (path.is_file() and path.with_suffix(".json").is_file()):
        raise StoreError(
            f"{path} is no probe file with a card beside it. Make one with `probeshift crossdata evaluate`."
        )
    file = read_probes(path)
    layer = file.card.layers[len(file.card.layers) // 2] if layer is None else layer
    if layer not in file.card.layers:
        raise UsageError(f"layer {layer} is not in {path} (it has {', '.join(map(str, file.card.layers))}).")
    return normalised(_direction(file, layer), _card(file, layer))


def measured_on_statements(model: LanguageModel, vector: SteeringVector, texts: Sequence[str]) -> SteeringVector:
    """A probe's vector with its largest projection at the last token of plain texts, which is where probes are read.

    Raises:
        UsageError: no text, or none that points the probe's way.
    """
    rows = [Contrast(vector.concept, "", text, True) for text in texts]
    encoder = make_encoder(model.tokenizer, chat=False)
    return with_max_activations(model, {vector.concept: vector}, rows, encoder=encoder, tokens="last")[vector.concept]


def _direction(file: ProbeFile, layer: int) -> np.ndarray:
    reason = file.card.failures[file.card.layers.index(layer)] if file.card.failures else None
    if reason:
        raise UsageError(
            f"the {file.card.method} probe of layer {layer} has no direction: {reason}. Use another layer."
        )
    return file.at(layer)[0]


def _card(file: ProbeFile, layer: int) -> VectorCard:
    card = file.card
    return VectorCard(
        concept=f"{card.method}-{card.train}",
        method=f"probe:{card.method}",
        model=card.model,
        weights=card.model_weights,
        revision=None,
        dtype=card.dtype,
        layer=layer,
        tokens=card.position,
        pooling="row",
        norm=0.0,
        n_positive=None,
        n_negative=None,
        data=card.fit_id,
        details={"train": card.train, "n_rows": card.n_rows},
    )
