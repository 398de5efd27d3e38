"""What a batch reads once, and how a single new token attends: faster ways to the same numbers."""

import functools

import pytest
import tiny_models
import torch
from test_steering_generation import GREEDY, naive, some_prompts
from test_steering_interventions import FAMILIES, a_vector
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from probeshift.errors import UsageError
from probeshift.models import cache_argument, load_model, new_cache
from probeshift.steering.generation import generate
from probeshift.steering.interventions import Intervention
from probeshift.steering.single_query import quick_single_queries
from probeshift.steering.sweep import rows_that_fit
from probeshift.steering.unsteered_blocks import alike


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return load_model(str(tiny_models.shared(request.param)), dtype="float32", device="cpu", check=False)


def rows_read_by(blocks, monkeypatch):
    """How many rows each block's own forward pass is given, call by call."""
    read = [[] for _ in blocks]
    for block, seen in zip(blocks, read, strict=True):
        plain = block.forward

        @functools.wraps(plain)
        def counting(hidden, *args, plain=plain, seen=seen, **named):
            seen.append(hidden.shape[0])
            return plain(hidden, *args, **named)

        monkeypatch.setattr(block, "forward", counting, raising=False)
    return read


@pytest.mark.parametrize("positions", ["all", "prompt", "generated"])
@pytest.mark.parametrize("layer", [0, 1, 3])
def test_blocks_below_all_steering_read_each_prompt_once_and_change_nothing(model, layer, positions, monkeypatch):
    prompts = some_prompts((5, 9))
    rows = [None, *(Intervention(a_vector(i, layer=min(3, layer + i % 2)), 4.0) for i in range(3))]
    every = [(prompt, row) for row in rows for prompt in prompts]
    lowest = min(site for row in rows if row for site in row.sites)
    read = rows_read_by(model.blocks, monkeypatch)
    found = generate(model, [p for p, _ in every], [r for _, r in every], decoding=GREEDY, positions=positions)
    before = [block.forward.__name__ for block in model.blocks]
    monkeypatch.undo()
    for (prompt, row), written in zip(every, found, strict=True):
        assert written.ids == naive(model, prompt, row, 12, positions)
    assert set(before) == {"forward"} and not any("forward" in vars(block) for block in model.blocks)
    windowed = model.info.model_type.startswith("gemma")  # their caches forget
    first = [len(every) if windowed or block > lowest else len(prompts) for block in range(4)]
    assert [seen[0] for seen in read] == first
    assert {n for seen in read for n in seen[2:]} == {len(every)}  # once they write, all rows are read


def test_a_layer_outside_the_model_is_refused_where_prompts_repeat(model):
    outside = [Intervention(a_vector(), 1.0, layers=(9,))] * 4
    with pytest.raises(UsageError, match="9"):
        generate(model, [some_prompts((6,))[0]] * 4, outside, decoding=GREEDY)


def test_rows_are_told_apart_by_their_prompt():
    found = alike(["b", "a", "b", "b"])
    assert found.firsts.tolist() == [0, 1]
    assert found.groups.tolist() == [0, 1, 0, 0]
    assert alike(["a", "b", "c", "d", "d"]) is None  # too few are alike


def test_an_interrupted_reading_leaves_the_blocks_as_they_were(model, monkeypatch):
    prompt = some_prompts((6,))[0]
    rows = [Intervention(a_vector(), float(s)) for s in range(4)]
    monkeypatch.setattr(model.blocks[-1], "forward", lambda *_, **__: 1 / 0, raising=False)
    with pytest.raises(ZeroDivisionError):
        generate(model, [prompt] * 4, rows, decoding=GREEDY)
    monkeypatch.undo()
    assert not any("forward" in vars(block) for block in model.blocks)
    assert generate(model, [prompt] * 4, rows, decoding=GREEDY)[2].ids == naive(model, prompt, rows[2], 12)


@pytest.mark.parametrize("padded", [False, True])
def test_a_single_query_attends_as_the_fused_kernel_does(model, padded):
    ids = torch.stack([torch.tensor(p) for p in some_prompts((7, 7, 7))])
    mask = torch.ones_like(ids)
    mask[0, :3] = 0 if padded else 1
    positions = (mask.cumsum(1) - 1).clamp_min(0)

    def last(ids, quick):
        cache = new_cache(model.info.config)
        with torch.inference_mode():
            model.module(
                ids[:, :6],
                attention_mask=mask[:, :6],
                position_ids=positions[:, :6],
                **{cache_argument(model.module): cache},
            )
            if quick:
                with quick_single_queries():
                    return model.module(
                        ids[:, 6:],
                        attention_mask=mask,
                        position_ids=positions[:, 6:],
                        **{cache_argument(model.module): cache},
                    ).logits
            return model.module(
                ids[:, 6:], attention_mask=mask, position_ids=positions[:, 6:], **{cache_argument(model.module): cache}
            ).logits

    torch.testing.assert_close(last(ids, quick=True), last(ids, quick=False), atol=1e-4, rtol=1e-4)  # float32


def test_the_fused_kernel_is_back_after_an_error_and_after_nesting():
    fused = ALL_ATTENTION_FUNCTIONS["sdpa"]
    with pytest.raises(ZeroDivisionError), quick_single_queries(), quick_single_queries():
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is not fused
        raise ZeroDivisionError
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is fused


def test_scores_that_are_bent_are_left_to_the_fused_kernel():
    query, key = torch.randn(2, 4, 1, 8), torch.randn(2, 2, 5, 8)
    fused = ALL_ATTENTION_FUNCTIONS["sdpa"]
    with quick_single_queries():
        attend = ALL_ATTENTION_FUNCTIONS["sdpa"]
        with pytest.raises(ValueError, match="softcap"):
            attend(torch.nn.Module(), query, key, key, None, scaling=1.0, softcap=30.0)
        quick, _ = attend(torch.nn.Module(), query, key, key, None, scaling=0.3)
    twice = key.repeat_interleave(2, dim=1)
    plain, _ = fused(torch.nn.Module(), query, twice, twice, None, scaling=0.3)
    torch.testing.assert_close(quick, plain)


def test_a_batch_has_no_more_rows_than_their_keys_have_room():
    llama = load_model(str(tiny_models.shared("llama")), dtype="float32", device="cpu", check=False)
    config = llama.info.config
    per_token = (
        2
        * config.num_hidden_layers
        * config.num_key_value_heads
        * (config.hidden_size // config.num_attention_heads)
        * 4
    )
    cache = new_cache(config)
    with torch.inference_mode():
        llama.module(torch.tensor([some_prompts((10,))[0]]), **{cache_argument(llama.module): cache})
    assert sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values)) == 10 * per_token
    assert rows_that_fit(llama, 100, n_bytes=100 * per_token * 7) == 7
    assert rows_that_fit(llama, 101, n_bytes=100 * per_token * 7) == 6
    assert rows_that_fit(llama, 100, n_bytes=1) == 1
