"""Attention of one new token per row by two batched products, where a model runs on a CPU.

torch's fused kernel has a cost per row and head there that for a single query is most of its time: three times that of the
products. Longer queries, other devices and models that do not attend through transformers' `sdpa` keep what they have.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from probeshift.models import with_room

# What changes the scores themselves, and is left to the fused kernel.
_OTHER_SCORES = ("softcap", "position_bias", "s_aux")


_lock = threading.Lock()
_inside = 0  # generations under way, in any thread: transformers has one table of attention functions


@contextmanager
def quick_single_queries() -> Iterator[None]:
    """In the `with`, and while another thread is in one, transformers' `sdpa` attention attends single queries by products."""
    global _inside
    with _lock:
        _inside += 1
        if _inside == 1:
            _replace()
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _restore()


_before: list[Any] = []


def _replace() -> None:
    fused = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def attend(
        module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **named: Any
    ) -> tuple[Tensor, None]:
        single = query.shape[2] == 1 and query.device.type == "cpu"
        if not single or any(named.get(name) is not None for name in _OTHER_SCORES):
            return fused(module, query, key, value, attention_mask, **named)
        return _attend(query, key, value, attention_mask, named.get("scaling")), None

    _before.append(fused)
    ALL_ATTENTION_FUNCTIONS["sdpa"] = attend


def _restore() -> None:
    fused = _before.pop()
    del ALL_ATTENTION_FUNCTIONS["sdpa"]
    if ALL_ATTENTION_FUNCTIONS["sdpa"] is not fused:  # a choice of the caller's own
        ALL_ATTENTION_FUNCTIONS["sdpa"] = fused


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float | None) -> Tensor:
    """`[row, 1, head, width]` from a query `[row, head, 1, width]`; heads that share keys are queries side by side."""
    n_rows, n_heads, _, width = query.shape
    shared, n_keys = n_rows * key.shape[1], key.shape[2]
    key, value = with_room(key), with_room(value)
    n_columns = key.shape[2]
    scores = torch.bmm(query.reshape(shared, -1, width), key.reshape(shared, n_columns, width).transpose(1, 2)).float()
    scores = scores.view(n_rows, n_heads, 1, n_columns) * (width**-0.5 if scaling is None else scaling)
    if mask is not None:
        here, known = mask[..., :n_keys], scores[..., :n_keys]
        known.masked_fill_(~here, float("-inf")) if here.dtype == torch.bool else known.add_(here)
    scores[..., n_keys:] = float("-inf")
    shares = torch.softmax(scores, -1).to(value.dtype).view(shared, -1, n_columns)
    return torch.bmm(shares, value.reshape(shared, n_columns, -1)).view(n_rows, 1, n_heads, -1)
