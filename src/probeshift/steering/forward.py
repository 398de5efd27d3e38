"""Forward passes over many token sequences: sorted by length, padded on the right, with positions said explicitly."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from probeshift.errors import UsageError
from probeshift.models import LanguageModel, StopForward, record_residuals
from probeshift.steering.contrasts import Encoded

TokenIds = Sequence[int]
Progress = Callable[[int, int], None]
BATCH_TOKENS = 2048


def require_causal(model: LanguageModel) -> None:
    """Refuse an encoder.

    Raises:
        UsageError: the model does not write text from left to right.
    """
    if not model.info.causal:
        raise UsageError(
            f"`{model.info.name}` is an encoder and writes no text. Steering needs a causal language model."
        )


def require_context(model: LanguageModel, n_tokens: int) -> None:
    """Refuse what is longer than the model reads.

    Raises:
        UsageError: too many tokens.
    """
    limit = model.info.max_tokens
    if limit is not None and n_tokens > limit:
        raise UsageError(
            f"{n_tokens} tokens are asked of `{model.info.name}`, which reads {limit}. Shorten the text, cut it with max_tokens, "
            "or generate fewer tokens."
        )


def batches_by_length(lengths: Sequence[int], *, tokens: int = BATCH_TOKENS) -> Iterator[tuple[int, ...]]:
    """Row indices, longest first, so many at a time that a padded batch holds at most `tokens` tokens (or one row)."""
    order = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    start = 0
    while start < len(order):
        size = max(1, tokens // max(1, lengths[order[start]]))
        yield tuple(order[start : start + size])
        start += size


def takes(model: LanguageModel, name: str) -> bool:
    """Whether the model's forward pass has an argument of that name."""
    return name in inspect.signature(model.module.forward).parameters


def right_padded(model: LanguageModel, sequences: Sequence[TokenIds]) -> dict[str, Any]:
    """Model inputs: in a causal model nothing behind a token reaches it, so padding on the right needs no mask."""
    longest = max(map(len, sequences))
    require_context(model, longest)
    ids = torch.tensor([[*s, *([0] * (longest - len(s)))] for s in sequences], device=model.device)
    inputs: dict[str, Any] = {"input_ids": ids, "use_cache": False}
    if takes(model, "position_ids"):
        inputs["position_ids"] = torch.arange(longest, device=model.device).expand(len(sequences), -1)
    return inputs


def read_hidden(
    model: LanguageModel, sequences: Sequence[TokenIds], layers: Sequence[int], *, tokens: int = BATCH_TOKENS
) -> Iterator[tuple[tuple[int, ...], dict[int, Tensor]]]:
    """The residual stream of all sequences, a batch at a time: row indices, and `[row, token, d_model]` per layer.

    Behind the end of a row stands padding. Nothing of an earlier batch is kept.
    """
    require_causal(model)
    for rows in batches_by_length([len(s) for s in sequences], tokens=tokens):
        found: dict[int, Tensor] = {}
        with torch.inference_mode(), record_residuals(model.blocks, layers, found.__setitem__), suppress(StopForward):
            model.backbone(**right_padded(model, [sequences[r] for r in rows]))
        yield rows, found


def read_tokens(
    model: LanguageModel, rows: Sequence[Encoded], layers: Sequence[int], on_progress: Progress | None = None
) -> Iterator[tuple[int, dict[int, Tensor]]]:
    """The residual stream at the tokens of each row that are read: row index, and `[token, d_model]` in float64 per layer."""
    done = 0
    for batch, hidden in read_hidden(model, [row.ids for row in rows], layers):
        for place, row in enumerate(batch):
            read = list(rows[row].read)
            yield row, {layer: hidden[layer][place, read].double() for layer in layers}
        done += len(batch)
        if on_progress:
            on_progress(done, len(rows))
