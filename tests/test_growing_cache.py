"""A cache that grows in place holds what transformers' own cache holds, whatever is done to it."""

from copy import copy

import pytest
import tiny_models
import torch
from transformers import DynamicCache

from probeshift.models import describe, growing_cache
from probeshift.models.caching import ROOM


@pytest.fixture
def config():
    return describe(str(tiny_models.shared("llama"))).config


def tokens(n, rows=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 2, n, 4, generator=draw), torch.randn(rows, 2, n, 4, generator=draw)


def same(grown, plain):
    return all(
        torch.equal(a.keys, b.keys) and torch.equal(a.values, b.values)
        for a, b in zip(grown.layers, plain.layers, strict=True)
    )


def test_it_holds_what_the_plain_cache_holds_through_growth_selection_and_cropping(config):
    grown, plain = growing_cache(config), DynamicCache(config=config)
    steps = [tokens(5), *(tokens(1, seed=i) for i in range(ROOM + 3))]
    for step in steps:
        for layer in range(len(grown.layers)):
            assert all(map(torch.equal, grown.update(*step, layer), plain.update(*step, layer)))
    for cache in (grown, plain):
        cache.batch_select_indices(torch.tensor([2, 0]))
        cache.crop(-2)
    assert same(grown, plain)
    for layer in range(len(grown.layers)):
        for seed in (7, 8):
            assert all(map(torch.equal, *(c.update(*tokens(2, 2, seed), layer) for c in (grown, plain))))
    assert grown.get_seq_length() == plain.get_seq_length() == 5 + ROOM + 3 - 2 + 4


def test_cropped_tokens_are_written_over(config):
    grown, plain = growing_cache(config), DynamicCache(config=config)
    for cache in (grown, plain):
        cache.update(*tokens(5), 0)
        cache.crop(-2)
    before = grown.layers[0].keys.data_ptr()
    assert all(map(torch.equal, *(c.update(*tokens(1, seed=3), 0) for c in (grown, plain))))
    assert grown.layers[0].keys.data_ptr() == before


def test_tokens_are_written_in_place(config):
    cache = growing_cache(config)
    cache.update(*tokens(5), 0)
    before = cache.layers[0].keys.data_ptr()
    for seed in range(ROOM):
        cache.update(*tokens(1, seed=seed), 0)
    assert cache.layers[0].keys.data_ptr() == before
    cache.update(*tokens(1), 0)
    assert cache.layers[0].keys.data_ptr() != before, "there is no room left"


def test_a_copied_layer_grows_apart_from_the_first(config):
    cache = growing_cache(config)
    cache.update(*tokens(5), 0)
    other = copy(cache.layers[0])
    a, _ = other.update(*tokens(1, seed=1))
    b, _ = cache.layers[0].update(*tokens(1, seed=2))
    assert torch.equal(a[:, :, 5:], tokens(1, seed=1)[0]) and torch.equal(b[:, :, 5:], tokens(1, seed=2)[0])


def test_layers_that_forget_stay_as_they_are():
    gemma = growing_cache(describe(str(tiny_models.shared("gemma2"))).config)
    assert any(getattr(layer, "is_sliding", False) for layer in gemma.layers)
