"""The same text read by two models: which tokens belong together, and their activations a batch at a time.

How texts are paired, strictest first: "tokens" (one tokenizer: token by token), "offsets" (two tokenizers: tokens that end at
the same character; the rest are dropped), "texts" (the mean over each text). What the tokenizer or the chat template adds is
never read, nor is the first token of a row, on which models rest their attention: their norms would rule the fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from probeshift.errors import UsageError, nearest
from probeshift.models import LanguageModel, tokenizer_hash
from probeshift.provenance import sha256_text
from probeshift.steering.contrasts import Encoded, Encoder, make_encoder
from probeshift.steering.forward import read_hidden

PAIRINGS = ("tokens", "offsets", "texts")
# Plain text, or a prompt and its response, which go through each model's own chat template.
AlignmentText = str | tuple[str, str]
# One text in so many is held out, by hash of its words.
_HELD_OUT = 5
# Texts read by both models before their pairs are counted: bounds what is held of the one while the other reads.
_TEXTS_AT_ONCE = 32


@dataclass(frozen=True)
class PairedText:
    """A text as both models read it, and which of its tokens are compared. `heldout`: not for fitting."""

    source: Encoded
    target: Encoded
    source_places: tuple[int, ...]
    target_places: tuple[int, ...]
    heldout: bool


@dataclass(frozen=True)
class Alignment:
    """Texts paired between two models."""

    source: LanguageModel
    target: LanguageModel
    texts: tuple[PairedText, ...]
    pairing: str

    def n_pairs(self, *, heldout: bool) -> int:
        """How many pairs there are to fit on, or to judge by."""
        return sum(self._count(text) for text in self.texts if text.heldout == heldout)

    def _count(self, text: PairedText) -> int:
        return 1 if self.pairing == "texts" else len(text.source_places)

    def read(self, source_layers: Sequence[int], target_layers: Sequence[int]) -> Iterator[AlignedBatch]:
        """Activations of paired tokens, some texts at a time."""
        for start in range(0, len(self.texts), _TEXTS_AT_ONCE):
            texts = self.texts[start : start + _TEXTS_AT_ONCE]
            ours, theirs = [t.source.ids for t in texts], [t.target.ids for t in texts]
            x = self._gather(self.source, ours, [t.source_places for t in texts], source_layers)
            y = self._gather(self.target, theirs, [t.target_places for t in texts], target_layers)
            counts = torch.tensor([self._count(text) for text in texts])
            yield AlignedBatch(x, y, torch.tensor([t.heldout for t in texts]).repeat_interleave(counts))

    def _gather(
        self,
        model: LanguageModel,
        ids: Sequence[Sequence[int]],
        places: Sequence[tuple[int, ...]],
        layers: Sequence[int],
    ) -> dict[int, Tensor]:
        """Per layer the activations [pair, d_model] of all texts, in their order."""
        rows: dict[int, list[Tensor]] = {layer: [torch.empty(0)] * len(ids) for layer in layers}
        for batch, hidden in read_hidden(model, ids, layers):
            for place, row in enumerate(batch):
                for layer in layers:
                    found = hidden[layer][place, torch.tensor(places[row], device=hidden[layer].device)].float().cpu()
                    rows[layer][row] = (
                        found.double().mean(0, keepdim=True).float() if self.pairing == "texts" else found
                    )
        return {layer: torch.cat(found) for layer, found in rows.items()}


@dataclass(frozen=True)
class AlignedBatch:
    """Paired activations per layer, [pair, d_model] on the CPU in float32, and which pairs are held out."""

    source: dict[int, Tensor]
    target: dict[int, Tensor]
    heldout: Tensor


def align(
    source: LanguageModel,
    target: LanguageModel,
    texts: Sequence[AlignmentText],
    *,
    pairing: str | None = None,
    max_tokens: int | None = None,
) -> Alignment:
    """Pair the tokens of texts between two models; None takes the strictest way the tokenizers allow.

    Repeated texts count once. `max_tokens` cuts longer texts on the right in both models.

    Raises:
        UsageError: token by token was asked of two tokenizers, or too few texts are left to fit and to judge a map.
    """
    how = pairing_between(source, target, pairing)
    ours, theirs = _TextEncoder(source, max_tokens), _TextEncoder(target, max_tokens)
    found = [_paired(text, ours(text), theirs(text), how) for text in dict.fromkeys(texts) if words_of(text).strip()]
    kept = tuple(text for text in found if text.source_places and text.target_places)
    for part in (True, False):
        if sum(text.heldout == part for text in kept) < 2:
            raise UsageError(
                f"{len(kept)} alignment texts leave too few to fit a map on some and judge it on others. Give at least 20."
            )
    return Alignment(source, target, kept, how)


def pairing_between(source: LanguageModel, target: LanguageModel, asked: str | None = None) -> str:
    """The pairing asked for, or the strictest that the tokenizers allow.

    Raises:
        UsageError: it is unknown, or token by token was asked of two tokenizers.
    """
    same = tokenizer_hash(source.tokenizer) == tokenizer_hash(target.tokenizer)
    how = asked or ("tokens" if same else "offsets")
    if how not in PAIRINGS:
        raise UsageError(f"pairing `{how}` is unknown. {nearest(how, PAIRINGS)}")
    if how == "tokens" and not same:
        raise UsageError(
            f"`{source.info.name}` and `{target.info.name}` have different tokenizers, so tokens cannot be paired one by one. "
            "Use pairing offsets or texts."
        )
    return how


class _TextEncoder:
    """Alignment texts as one model reads them."""

    def __init__(self, model: LanguageModel, max_tokens: int | None) -> None:
        self.model, self.max_tokens = model, max_tokens
        self.plain = make_encoder(model.tokenizer, chat=False, max_tokens=max_tokens)

    @cached_property
    def chat(self) -> Encoder:
        return make_encoder(self.model.tokenizer, max_tokens=self.max_tokens)

    def __call__(self, text: AlignmentText) -> Encoded:
        return self.plain.encode("", text) if isinstance(text, str) else self.chat.encode(*text)


def words_of(text: AlignmentText) -> str:
    """The part of an alignment text whose tokens are read."""
    return text if isinstance(text, str) else text[1]


def _paired(text: AlignmentText, source: Encoded, target: Encoded, how: str) -> PairedText:
    heldout = int(sha256_text("\n".join(text) if isinstance(text, tuple) else text)[:8], 16) % _HELD_OUT == 0
    ours, theirs = _behind_the_first(source), _behind_the_first(target)
    if how == "offsets":
        ends = [end for end in ours if end in theirs]
        return PairedText(source, target, tuple(ours[e] for e in ends), tuple(theirs[e] for e in ends), heldout)
    n = min(len(source.read), len(target.read)) if how == "tokens" else None  # a cut text may end earlier in one model
    places = [tuple(p for p in row.read[:n] if p) for row in (source, target)]
    return PairedText(source, target, places[0], places[1], heldout)


def _behind_the_first(row: Encoded) -> dict[int, int]:
    """Places of a row's tokens by where they end; of tokens that share an end (bytes of one character) the last."""
    return {end: place for end, place in zip(row.ends, row.read, strict=True) if place}
