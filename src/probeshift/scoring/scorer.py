"""Texts in, scores out, in order, some at a time: the same plan and the same batches as extraction, nothing kept on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probeshift.datasets import Statement
from probeshift.errors import UsageError
from probeshift.extraction import Batch, BatchReader, ExtractionOptions, Plan, identify, make_plan, shares_safely
from probeshift.models import LanguageModel, ModelInfo
from probeshift.models.prompts import PromptEncoder, PromptFormat
from probeshift.probes import LinearProbe
from probeshift.saved_probes import SavedProbe
from probeshift.scoring.fitting_together import mismatches, refuse

ROWS_AT_ONCE = 4096
# A chunk closes early at so many characters, so that long texts do not make it large.
CHARACTERS_AT_ONCE = 1 << 22
EMPTY = "empty text"


@dataclass(frozen=True, slots=True)
class TokenScore:
    """A token as the tokenizer writes it and the score of the residual stream there."""

    token: str
    score: float


@dataclass(frozen=True, slots=True)
class Score:
    """What a probe says of one text.

    `score` is None, with a `reason`, where there is none. `probability` is the logistic function of a score that was fitted as log odds,
    `squashed` the same of any other score (no probability); one of them is None, both for predicted values. `decision` is score > 0, None
    where the probe predicts a number or has no threshold. `tokens` has a score per token of the prompt where they were asked for.
    """

    score: float | None
    probability: float | None = None
    squashed: float | None = None
    decision: bool | None = None
    reason: str | None = None
    truncated: bool = False
    tokens: tuple[TokenScore, ...] | None = None


@dataclass(frozen=True)
class Reader:
    """How texts are read for a probe: a loaded model and the options of extraction."""

    saved: SavedProbe
    model: LanguageModel
    options: ExtractionOptions
    tokens: bool = False

    @property
    def probe(self) -> LinearProbe:
        return self.saved.probe


def score_texts(
    saved: SavedProbe,
    model: LanguageModel,
    texts: Iterable[str],
    *,
    tokens: bool = False,
    options: ExtractionOptions | None = None,
    ignored: Sequence[str] = (),
    rows_at_once: int = ROWS_AT_ONCE,
) -> Iterator[Score]:
    """The scores of texts, in order; at most `rows_at_once` texts are held. With `tokens`, of every token too.

    `options` replace how the probe's own training rows were read, where `ignored` names the difference ("model", "layer", "position",
    "template", "dtype").

    Raises:
        UsageError: the probe was made for something else, or a prompt is longer than the model reads.
    """
    used = options or options_of(saved, model)
    identity = identify(model.info, model.tokenizer)
    check(saved, model.info, model.tokenizer, used, identity["weights"], ignored)
    reader, first = Reader(saved, model, used, tokens), 1
    for chunk in _chunks(texts, rows_at_once):
        plan, kept = _plan(reader, chunk, identity, first)
        if plan is not None and not _shares(plan, _batch_reader(reader, plan)):
            reader = replace(reader, options=replace(used, reuse_prefixes=False))
            plan, kept = _plan(reader, chunk, identity, first)
        yield from _in_order(reader, chunk, plan, kept)
        first += len(chunk)


def _shares(plan: Plan, reader: BatchReader) -> bool:
    """Whether to share prefixes: it was found right, and there was memory to find out."""
    return shares_safely(plan, reader) and reader.shares


def options_of(saved: SavedProbe, model: LanguageModel) -> ExtractionOptions:
    """Reads texts as the probe's training rows were read."""
    return ExtractionOptions(
        layers=(saved.probe.layer,),
        dtype=str(model.dtype).removeprefix("torch."),
        device=model.device.type,
        quantization=saved.card.quantization,
        positions=(saved.card.position,),
        prompts=prompts_of(saved),
        reuse_prefixes=model.info.causal,
    )


def prompts_of(saved: SavedProbe) -> PromptFormat:
    """How the texts of the probe's training rows became prompts."""
    was = saved.card.prompts
    names = ("kind", "system", "template_kwargs", "special_tokens")
    return PromptFormat(**{name: was[name] for name in names if name in was}) if was else PromptFormat()


def check(
    saved: SavedProbe, info: ModelInfo, tokenizer: Any, options: ExtractionOptions, weights: str, ignored: Sequence[str]
) -> None:
    """Refuse a probe that was made for something else. `weights` is the hash of the model's weights.

    Raises:
        UsageError: it differs in something that `ignored` does not name.
    """
    width = len(saved.probe.direction)
    if width != info.d_model:
        raise UsageError(
            f"the probe has {width} dimensions and `{info.name}` has {info.d_model}: it is a probe of another model "
            f"(`{saved.card.model}`). Name that one with --model."
        )
    encoder = PromptEncoder(tokenizer, options.prompts)
    refuse(mismatches(saved, options, weights=weights, encoder=encoder), ignored)


def _chunks(texts: Iterable[str], rows: int) -> Iterator[list[str]]:
    chunk, characters = [], 0
    for text in texts:
        chunk.append(text)
        characters += len(text)
        if len(chunk) >= rows or characters >= CHARACTERS_AT_ONCE:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


def _plan(reader: Reader, chunk: Sequence[str], identity: dict[str, Any], first: int) -> tuple[Plan | None, list[int]]:
    """The plan of a chunk's texts and which those are; empty texts have no tokens to read."""
    kept = [i for i, text in enumerate(chunk) if text]
    statements = [Statement("input", str(first + i), chunk[i], False, "score") for i in kept]
    if not statements:
        return None, []
    info, tokenizer = reader.model.info, reader.model.tokenizer
    try:
        return make_plan(statements, info, tokenizer, reader.options, identity), kept
    except UsageError as error:
        raise UsageError(f"among texts {first} to {first + len(chunk) - 1}: {error}") from error


def _in_order(reader: Reader, chunk: Sequence[str], plan: Plan | None, kept: Sequence[int]) -> Iterator[Score]:
    found: list[Score] = [Score(None, reason=EMPTY)] * len(chunk)
    if plan is not None:
        scores, of_tokens = _read(reader, plan)
        for i, row in zip(kept, range(len(kept)), strict=True):
            sequence, cut = plan.rows.sequences[row], bool(plan.rows.truncated[row])
            found[i] = _scored(reader, float(scores[sequence]), cut, of_tokens.get(sequence))
    yield from found


def _scored(reader: Reader, score: float, cut: bool, tokens: tuple[TokenScore, ...] | None) -> Score:
    meaning = reader.saved.meaning
    if not np.isfinite(score):
        return Score(None, reason="the activation is not finite; use --dtype float32", truncated=cut)
    if meaning == "value":
        return Score(score, truncated=cut, tokens=tokens)
    squashed, fitted = logistic(score), meaning == "log odds"
    return Score(
        score,
        probability=squashed if fitted else None,
        squashed=None if fitted else squashed,
        decision=score > 0 if reader.saved.decides else None,
        truncated=cut,
        tokens=tokens,
    )


def logistic(score: float) -> float:
    """1 / (1 + exp(-score)), without overflow."""
    return float(1 / (1 + np.exp(-score))) if score >= 0 else float(np.exp(score) / (1 + np.exp(score)))


def _read(reader: Reader, plan: Plan) -> tuple[np.ndarray, dict[int, tuple[TokenScore, ...]]]:
    """The score of each sequence, and those of its tokens where asked for. Results stay on the device until all are launched."""
    pending = [(batch, _launch(reader, plan, batch)) for batch in plan.batches]
    scores = np.empty(len(plan.sequences))
    of_tokens: dict[int, tuple[TokenScore, ...]] = {}
    for batch, projected in pending:
        values = projected.cpu().numpy()
        rows = list(batch.sequences)
        scores[rows] = values[:, -1]
        if reader.tokens:
            of_tokens |= {s: _named(reader, plan, s, values[i, :-1]) for i, s in enumerate(rows)}
    return scores, of_tokens


def _launch(reader: Reader, plan: Plan, batch: Batch) -> Tensor:
    """Scores [sequence, position] of a batch: the tokens (where asked for), then the probe's own position; float64."""
    acts = _batch_reader(reader, plan, batch).read(batch)[0]
    acts = acts.cpu() if acts.device.type == "mps" else acts  # which has no float64
    direction = torch.from_numpy(reader.probe.direction.astype(np.float64)).to(acts.device)
    return acts.double() @ direction + reader.probe.bias


def _batch_reader(reader: Reader, plan: Plan, batch: Batch | None = None) -> BatchReader:
    names = tuple(plan.header["positions"])
    points: Sequence[Sequence[int]] = plan.positions
    if reader.tokens and batch is not None:
        longest = max(plan.lengths[s] for s in batch.sequences)
        names, points = (*(str(i) for i in range(longest)), *names), _AllTokens(plan, longest)
    return BatchReader(reader.model, reader.options.layers, plan.sequences, points, plan.spans, names)


class _AllTokens(Sequence[Sequence[int]]):
    """Every token of a sequence, its last one repeated up to `longest`, then the probe's own position where that is a token."""

    def __init__(self, plan: Plan, longest: int) -> None:
        self.plan, self.longest = plan, longest

    def __len__(self) -> int:
        return len(self.plan.sequences)

    def __getitem__(self, sequence: int) -> Sequence[int]:  # type: ignore[override]  # single sequences only
        last = self.plan.lengths[sequence] - 1
        return [*(min(i, last) for i in range(self.longest)), *self.plan.positions[sequence]]


def _named(reader: Reader, plan: Plan, sequence: int, values: np.ndarray) -> tuple[TokenScore, ...]:
    ids = list(plan.sequences[sequence])
    words = reader.model.tokenizer.convert_ids_to_tokens(ids)
    return tuple(TokenScore(str(w), float(v)) for w, v in zip(words, values[: len(ids)], strict=True))
