"""The cache of keys and values, across versions of transformers."""

from __future__ import annotations

from typing import Any

from transformers import DynamicCache, PretrainedConfig


def new_cache(config: PretrainedConfig) -> DynamicCache:
    """An empty cache that grows, with the kinds of layers the config names."""
    try:
        return DynamicCache(config=config)
    except TypeError:  # transformers before 4.56 takes no config
        return DynamicCache()


def has_window(cache: Any) -> bool:
    """Whether any layer forgets keys that are too far back, counted in columns of the batch, padding included."""
    return any(getattr(layer, "is_sliding", False) for layer in getattr(cache, "layers", ()))
