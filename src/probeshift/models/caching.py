"""The cache of keys and values, across versions of transformers, and one that grows in place.

transformers' own cache copies all keys into a larger tensor for every token, which on a CPU takes as long as half of the matrix
products of a large batch.
"""

from __future__ import annotations

import inspect
from typing import Any

from torch import Tensor, nn
from transformers import DynamicCache, PretrainedConfig
from transformers.cache_utils import DynamicLayer


def new_cache(config: PretrainedConfig) -> DynamicCache:
    """An empty cache that grows, with the kinds of layers the config names."""
    try:
        return DynamicCache(config=config)
    except TypeError:  # transformers before 4.56 takes no config
        return DynamicCache()


# Tokens that fit before all is copied once more; attention by products reads this room too.
ROOM = 16
# What a model's forward pass calls it, by version; the first that it knows.
_NAMES = ("cache", "past_key_values")


def cache_argument(module: nn.Module) -> str:
    """The name under which a model takes its cache: `past_key_values` before transformers 5.24."""
    known = inspect.signature(module.forward).parameters
    return next((name for name in _NAMES if name in known), _NAMES[-1])


def given_cache(named: dict[str, Any]) -> Any:
    """The cache among the named arguments of a forward pass; None if there is none."""
    return next((named[name] for name in _NAMES if named.get(name) is not None), None)


def has_window(cache: Any) -> bool:
    """Whether any layer forgets keys that are too far back, counted in columns of the batch, padding included."""
    return any(getattr(layer, "is_sliding", False) for layer in getattr(cache, "layers", ()))


def growing_cache(config: PretrainedConfig) -> Any:
    """An empty cache whose layers grow in place; layers that forget keys stay as transformers makes them."""
    cache = new_cache(config)
    if hasattr(cache, "layers"):
        cache.layers = [GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


class GrowingLayer(DynamicLayer):
    """`keys` and `values` `[row, head, token, width]` are the filled part of a larger tensor."""

    def __init__(self) -> None:
        super().__init__()
        self._rooms = _Room(), _Room()

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        keys, values = self._rooms
        self.keys, self.values = keys.append(self.keys, key_states), values.append(self.values, value_states)
        return self.keys, self.values

    def __copy__(self) -> GrowingLayer:
        copied = GrowingLayer()  # with rooms of its own: both may grow
        vars(copied).update({name: value for name, value in vars(self).items() if name != "_rooms"})
        return copied


def with_room(kept: Tensor) -> Tensor:
    """Keys or values of a growing cache `[row, head, token, width]` with the room (zeros) behind them: all of it contiguous,
    which batched products take as it is where they copy a part. Any other tensor is handed back."""
    n_rows, n_heads, n_tokens, width = kept.shape
    whole = kept.stride(1) // width
    if whole <= n_tokens or kept.stride() != (n_heads * whole * width, whole * width, width, 1):
        return kept
    return kept.as_strided((n_rows, n_heads, whole, width), kept.stride())


class _Room:
    """The larger tensor. Rows that were selected begin a new one; tokens that were cropped are written over."""

    def __init__(self) -> None:
        self.whole: Tensor | None = None

    def append(self, kept: Tensor | None, new: Tensor) -> Tensor:
        n_kept = 0 if kept is None or not kept.numel() else kept.shape[-2]
        n_tokens = n_kept + new.shape[-2]
        if self.whole is None or not self._holds(kept) or n_tokens > self.whole.shape[-2]:
            self.whole = new.new_zeros(*new.shape[:-2], n_tokens + ROOM, new.shape[-1])
            if kept is not None and n_kept:
                self.whole[..., :n_kept, :] = kept
        self.whole[..., n_kept:n_tokens, :] = new
        return self.whole[..., :n_tokens, :]

    def _holds(self, kept: Tensor | None) -> bool:
        whole = self.whole
        return (
            whole is not None
            and kept is not None
            and kept.data_ptr() == whole.data_ptr()
            and kept.stride() == whole.stride()
        )
