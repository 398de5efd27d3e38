"""DiffMean: the mean activation of rows that show a concept minus that of rows that do not.

Source: Marks & Tegmark 2023 (mass mean), as a steering vector in AxBench (Wu et al. 2025). Needs both kinds of rows;
assumes nothing else, learns nothing. Sign: positives minus negatives. Cost: one forward pass over the distinct rows, and
one more for the maximal activations; sums are kept in float64, activations never.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from probeshift.errors import UsageError
from probeshift.models import LanguageModel, template_hash, weight_hash
from probeshift.steering.contrasts import Contrast, Encoded, Encoder, Tokens, data_hash, make_encoder
from probeshift.steering.forward import Progress, read_tokens
from probeshift.steering.vectors import SteeringVector, VectorCard, normalised, require_width

Pooling = Literal["token", "row"]


@dataclass(frozen=True)
class _Distinct:
    """Rows without repeats: many concepts may share their negatives. `members[i]` lists what `rows[i]` counts for."""

    rows: list[Encoded]
    members: list[list[tuple[str, bool]]]

    def of(self, concept: str) -> list[Encoded]:
        """The rows that count for a concept."""
        pairs = zip(self.rows, self.members, strict=True)
        return [row for row, members in pairs if any(name == concept for name, _ in members)]


def diffmean(
    model: LanguageModel,
    rows: Sequence[Contrast],
    layers: Sequence[int],
    *,
    encoder: Encoder | None = None,
    tokens: Tokens = "response",
    pooling: Pooling = "token",
    on_progress: Progress | None = None,
) -> dict[int, dict[str, SteeringVector]]:
    """A vector per layer and concept of the rows, not yet with a maximal activation (see `with_max_activations`).

    `tokens` says which tokens are read; with `pooling` "token" each counts once, so that long rows weigh more, with "row"
    each row does.

    Raises:
        UsageError: a concept lacks positives or negatives, a layer is outside the model, or a mean is not finite.
    """
    encoder = encoder or make_encoder(model.tokenizer)
    _check_both_kinds(rows)
    distinct = _encode(rows, encoder, tokens)
    sums, counts = _class_sums(model, distinct, layers, pooling=pooling, on_progress=on_progress)
    cards = _cards(model, rows, distinct, encoder=encoder, tokens=tokens, pooling=pooling)
    return {
        layer: {
            concept: normalised(
                (of[concept, True] / counts[concept, True] - of[concept, False] / counts[concept, False]).cpu().numpy(),
                replace(card, layer=layer),
            )
            for concept, card in cards.items()
        }
        for layer, of in sums.items()
    }


def diffmean_of_parts(
    model: LanguageModel,
    parts: Mapping[str, Sequence[Contrast]],
    layer: int,
    *,
    encoder: Encoder | None = None,
    tokens: Tokens = "response",
    on_progress: Progress | None = None,
) -> dict[str, dict[str, SteeringVector]]:
    """`diffmean` at one layer of several sets of rows that may share rows, such as a whole (named "") and its halves: one pass."""
    of_part = {
        part: {row.concept: f"{row.concept} ({part})" if part else row.concept for row in rows}
        for part, rows in parts.items()
    }
    named = [replace(row, concept=of_part[part][row.concept]) for part, rows in parts.items() for row in rows]
    made = diffmean(model, named, [layer], encoder=encoder, tokens=tokens, on_progress=on_progress)[layer]
    return {
        part: {c: replace(made[name], card=replace(made[name].card, concept=c)) for c, name in names.items()}
        for part, names in of_part.items()
    }


def _cards(
    model: LanguageModel,
    rows: Sequence[Contrast],
    distinct: _Distinct,
    *,
    encoder: Encoder,
    tokens: Tokens,
    pooling: Pooling,
) -> dict[str, VectorCard]:
    """What is known of each concept's vector before it is; layer and norm come later."""
    by_concept: dict[str, list[Contrast]] = {}
    for row in rows:
        by_concept.setdefault(row.concept, []).append(row)
    return {
        concept: VectorCard(
            concept=concept,
            method="diffmean",
            model=model.info.name,
            weights=weight_hash(model.info),
            revision=model.info.revision,
            dtype=str(model.dtype).removeprefix("torch."),
            layer=-1,
            tokens=tokens,
            pooling=pooling,
            norm=0.0,
            n_positive=sum(r.positive for r in own),
            n_negative=sum(not r.positive for r in own),
            data=data_hash(own),
            truncated=sum(r.truncated for r in distinct.of(concept)),
            max_tokens=encoder.max_tokens,
            template=template_hash(model.tokenizer) if encoder.chat else None,
        )
        for concept, own in by_concept.items()
    }


def with_max_activations(
    model: LanguageModel,
    vectors: Mapping[str, SteeringVector],
    rows: Sequence[Contrast],
    *,
    encoder: Encoder | None = None,
    tokens: Tokens = "response",
    on_progress: Progress | None = None,
) -> dict[str, SteeringVector]:
    """The vectors with the largest projection of a read token of their concept's own rows: the unit of strength.

    Raises:
        UsageError: a vector has no rows, no token points its way, or its width is not the model's.
    """
    found = highest_projections(
        model, list(vectors.values()), rows, encoder=encoder, tokens=tokens, on_progress=on_progress
    )
    return {
        concept: vector.measured(highest, n_rows)
        for (concept, vector), (highest, n_rows) in zip(vectors.items(), found, strict=True)
    }


def highest_projections(
    model: LanguageModel,
    vectors: Sequence[SteeringVector],
    rows: Sequence[Contrast],
    *,
    encoder: Encoder | None = None,
    tokens: Tokens = "response",
    on_progress: Progress | None = None,
) -> list[tuple[float, int]]:
    """For each vector the largest projection of a read token of its concept's own rows, and how many rows those are.

    Several vectors of one concept are measured in the same pass.

    Raises:
        UsageError: a vector has no rows, or its width is not the model's.
    """
    encoder = encoder or make_encoder(model.tokenizer)
    wanted = {vector.concept for vector in vectors}
    own = [row for row in rows if row.concept in wanted]
    missing = sorted(wanted - {row.concept for row in own})
    if missing:
        raise UsageError(f"no rows to measure the maximal activation of `{missing[0]}` on. Give rows of that concept.")
    for vector in vectors:
        require_width(vector, model)
    distinct = _encode(own, encoder, tokens)
    highest = _highest_projections(model, vectors, distinct, on_progress)
    counts = {concept: len(distinct.of(concept)) for concept in wanted}
    return [(value, counts[vector.concept]) for vector, value in zip(vectors, highest, strict=True)]


def _check_both_kinds(rows: Sequence[Contrast]) -> None:
    kinds: dict[str, set[bool]] = {}
    for row in rows:
        kinds.setdefault(row.concept, set()).add(row.positive)
    if not kinds:
        raise UsageError("no rows: a vector needs rows that show the concept and rows that do not.")
    for concept, found in kinds.items():
        if len(found) == 1:
            lacking = "negatives" if True in found else "positives"
            raise UsageError(
                f"concept `{concept}` has no {lacking}. A vector is their difference: give rows of both kinds."
            )


def _encode(rows: Sequence[Contrast], encoder: Encoder, tokens: Tokens) -> _Distinct:
    index: dict[tuple[str, str], int] = {}
    distinct = _Distinct([], [])
    for row in rows:
        key = (row.prompt, row.response)
        if key not in index:
            index[key] = len(distinct.rows)
            distinct.rows.append(encoder.encode(row.prompt, row.response, tokens))
            distinct.members.append([])
        distinct.members[index[key]].append((row.concept, row.positive))
    return distinct


def _class_sums(
    model: LanguageModel,
    distinct: _Distinct,
    layers: Sequence[int],
    *,
    pooling: Pooling,
    on_progress: Progress | None,
) -> tuple[dict[int, dict[tuple[str, bool], Tensor]], dict[tuple[str, bool], int]]:
    """Sums [d_model] in float64 per layer and (concept, kind), and how many tokens or rows went into each."""
    sums: dict[int, dict[tuple[str, bool], Tensor]] = {layer: {} for layer in layers}
    counts: dict[tuple[str, bool], int] = {}
    for row, read in read_tokens(model, distinct.rows, layers, on_progress):
        for layer, values in read.items():
            pooled = values.mean(0) if pooling == "row" else values.sum(0)
            for member in distinct.members[row]:
                sums[layer][member] = sums[layer].get(member, 0) + pooled
        for member in distinct.members[row]:
            counts[member] = counts.get(member, 0) + (1 if pooling == "row" else len(distinct.rows[row].read))
    return sums, counts


def _highest_projections(
    model: LanguageModel, vectors: Sequence[SteeringVector], distinct: _Distinct, on_progress: Progress | None
) -> list[float]:
    """The largest projection on each vector over the read tokens of its concept's rows."""
    directions = [torch.from_numpy(v.direction).to(model.device, torch.float64) for v in vectors]
    of_concept: dict[str, list[int]] = {}
    for number, vector in enumerate(vectors):
        of_concept.setdefault(vector.concept, []).append(number)
    highest = [float("-inf")] * len(vectors)
    layers = sorted({vector.layer for vector in vectors})
    for row, read in read_tokens(model, distinct.rows, layers, on_progress):
        for number in {n for name, _ in distinct.members[row] for n in of_concept[name]}:
            values = read[vectors[number].layer] @ directions[number]
            highest[number] = max(highest[number], float(values.max()))
    return highest
