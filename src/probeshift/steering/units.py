"""The unit of strength of many vectors at once, with a stated unit in the place of one that cannot be measured.

A vector's unit is its maximal activation: the largest projection of a read token of its concept's rows. Where all tokens lie on
the other side of zero there is none; then the unit is the mean norm of the residual stream at those tokens, and the vector's
card says so. Which rule a unit follows is shown beside every strength.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from probeshift.models import LanguageModel
from probeshift.steering.contrasts import Contrast, Encoder, Tokens, make_encoder
from probeshift.steering.diffmean import highest_projections
from probeshift.steering.forward import Progress, read_tokens
from probeshift.steering.vectors import SteeringVector

MAXIMAL_ACTIVATION, MEAN_NORM = "maximal activation", "mean norm of the residual stream"


def with_units(
    model: LanguageModel,
    vectors: Sequence[SteeringVector],
    rows: Sequence[Contrast],
    *,
    encoder: Encoder | None = None,
    tokens: Tokens = "response",
    on_progress: Progress | None = None,
) -> list[SteeringVector]:
    """The vectors, in order, each with a unit of strength; `unit_rule` tells which.

    Raises:
        UsageError: a vector has no rows, or its width is not the model's.
    """
    encoder = encoder or make_encoder(model.tokenizer)
    found = highest_projections(model, vectors, rows, encoder=encoder, tokens=tokens, on_progress=on_progress)
    norms: dict[tuple[str, int], tuple[float, int]] = {}
    measured = []
    for vector, (highest, n_rows) in zip(vectors, found, strict=True):
        if highest > 0:
            measured.append(vector.measured(highest, n_rows))
            continue
        key = vector.concept, vector.layer
        if key not in norms:
            own = [row for row in rows if row.concept == vector.concept]
            norms[key] = mean_norm(model, own, vector.layer, encoder=encoder, tokens=tokens), len(own)
        details = {**(vector.card.details or {}), "unit": MEAN_NORM, "largest projection": highest}
        measured.append(replace(vector, card=replace(vector.card, details=details)).measured(*norms[key]))
    return measured


def unit_rule(vector: SteeringVector) -> str:
    """What the unit of strength of a vector is."""
    return (vector.card.details or {}).get("unit", MAXIMAL_ACTIVATION)


def mean_norm(
    model: LanguageModel, rows: Sequence[Contrast], layer: int, *, encoder: Encoder, tokens: Tokens = "response"
) -> float:
    """Mean length of the residual stream after a block, over the read tokens of the rows."""
    encoded = [encoder.encode(row.prompt, row.response, tokens) for row in rows]
    total = sum(float(read[layer].norm(dim=-1).sum()) for _, read in read_tokens(model, encoded, [layer]))
    return total / sum(len(one.read) for one in encoded)
