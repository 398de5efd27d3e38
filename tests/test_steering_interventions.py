"""What an intervention does to the residual stream, and that nothing else changes."""

import dataclasses

import numpy as np
import pytest
import tiny_models
import torch
from transformers import DynamicCache

from probeshift.errors import UsageError
from probeshift.models import cache_argument, load_model, record_residuals
from probeshift.steering.interventions import Intervention, steer
from probeshift.steering.vectors import VectorCard, normalised

FAMILIES = ("llama", "qwen3", "gemma2", "gemma3_multimodal", "gpt2", "gptj", "gpt_neox", "phi")
CARD = VectorCard("c", "diffmean", "tiny", "hash", None, "float32", 1, "response", "token", 1.0, 2, 2, "data", 3.0, 4)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return load_model(str(tiny_models.shared(request.param)), dtype="float32", device="cpu", check=False)


@pytest.fixture(scope="module")
def llama():
    return load_model(str(tiny_models.shared("llama")), dtype="float32", device="cpu", check=False)


def a_vector(seed=0, layer=1, concept="c", width=64):
    card = dataclasses.replace(CARD, layer=layer, concept=concept)
    return normalised(np.random.default_rng(seed).normal(size=width), card)


def some_ids(rows=3, length=9, seed=0):
    return torch.randint(5, tiny_models.VOCAB_SIZE - 8, (rows, length), generator=torch.Generator().manual_seed(seed))


def run(model, ids, **inputs):
    """Logits, and the residual stream after every block."""
    read = {}
    with torch.inference_mode(), record_residuals(model.blocks, range(4), read.__setitem__, stop=False):
        return model.module(ids, use_cache=False, **inputs).logits, read


def hooks(model):
    return [(len(part._forward_hooks), len(part._forward_pre_hooks)) for part in model.module.modules()]


def test_adding_shifts_the_residual_stream_by_strength_times_unit_times_vector(model):
    vector, ids = a_vector(), some_ids()
    _, before = run(model, ids)
    with steer(model, Intervention(vector, 2.0)):
        _, after = run(model, ids)
    shift = (after[1] - before[1]).double()
    expected = torch.from_numpy(vector.direction).double() * 2.0 * 3.0
    torch.testing.assert_close(shift, expected.expand_as(shift), atol=2e-4, rtol=0)  # float32 of values up to 100
    assert torch.equal(after[0], before[0])
    assert not torch.equal(after[2], before[2])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("positions", ["all", "prompt", "generated"])
def test_strength_zero_is_the_unsteered_model_bit_for_bit(dtype, positions):
    for family in FAMILIES:
        model = load_model(str(tiny_models.shared(family)), dtype=dtype, device="cpu", check=False)
        ids = some_ids()
        plain, _ = run(model, ids)
        with steer(model, Intervention(a_vector(), 0.0), positions=positions, prompt_lengths=[4] * 3):
            assert torch.equal(run(model, ids)[0], plain)
        with steer(model, Intervention(a_vector(), 0.5), positions=positions, prompt_lengths=[4] * 3):
            assert not torch.equal(run(model, ids)[0], plain)  # the twin: a strength changes it


def test_every_row_of_a_batch_has_its_own_vector_strength_and_operator(model):
    rows = [
        None,
        Intervention(a_vector(1), 1.5),
        Intervention(a_vector(2, layer=2), -1.0),
        Intervention(a_vector(3), 1.0, "ablate"),
        Intervention(a_vector(4), 0.5, "clamp"),
        Intervention(a_vector(5), 1.0, layers=(0, 3)),
    ]
    ids = some_ids(len(rows))
    with steer(model, rows):
        together, _ = run(model, ids)
    for i, one in enumerate(rows):
        with steer(model, [one]):
            alone, _ = run(model, ids[i : i + 1])
        torch.testing.assert_close(together[i], alone[0], atol=5e-4, rtol=1e-4)


def test_a_row_without_intervention_is_not_touched_by_its_neighbours(llama):
    ids = some_ids()
    plain, _ = run(llama, ids)
    with steer(llama, [None, Intervention(a_vector(), 5.0), None]):
        steered, _ = run(llama, ids)
    assert torch.equal(steered[[0, 2]], plain[[0, 2]])
    assert not torch.equal(steered[1], plain[1])


def test_ablating_takes_the_direction_out_and_clamping_sets_it(model):
    vector, ids = a_vector(), some_ids()
    v = torch.from_numpy(vector.direction)
    _, before = run(model, ids)
    with steer(model, Intervention(vector, 1.0, "ablate")):
        _, ablated = run(model, ids)
    with steer(model, Intervention(vector, 0.5, "clamp")):
        _, clamped = run(model, ids)
    torch.testing.assert_close(ablated[1] @ v, torch.zeros(3, 9), atol=1e-4, rtol=0)
    torch.testing.assert_close(clamped[1] @ v, torch.full((3, 9), 1.5), atol=1e-4, rtol=0)
    assert (before[1] @ v).abs().max() > 0.01  # there was something to take out
    rest = before[1] - (before[1] @ v)[..., None] * v
    torch.testing.assert_close(ablated[1], rest, atol=1e-4, rtol=1e-5)


def test_contexts_add_up(model):
    ids, a, b = some_ids(), a_vector(1), a_vector(2)
    _, before = run(model, ids)
    with steer(model, Intervention(a, 1.0)), steer(model, Intervention(b, -2.0)):
        _, after = run(model, ids)
    expected = torch.from_numpy(3.0 * a.direction - 6.0 * b.direction).expand_as(after[1])
    torch.testing.assert_close(after[1] - before[1], expected, atol=2e-4, rtol=0)


def test_nothing_is_left_hooked_after_an_exception(model):
    before = hooks(model)
    with (
        pytest.raises(KeyError),
        steer(model, Intervention(a_vector(), 1.0), positions="prompt", prompt_lengths=[2] * 3),
    ):
        assert hooks(model) != before
        run(model, some_ids())
        raise KeyError
    assert hooks(model) == before
    with pytest.raises(UsageError, match="layers"), steer(model, Intervention(a_vector(), 1.0, layers=(1, 9))):
        pass
    assert hooks(model) == before


@pytest.mark.parametrize("positions", ["all", "prompt", "generated"])
def test_padding_does_not_change_what_a_row_reads(model, positions):
    short, long = some_ids(1, 6), some_ids(1, 10, seed=1)
    rows = [Intervention(a_vector(1), 1.0), Intervention(a_vector(2), 2.0)]
    lengths = [3, 5]
    alone = []
    for row, ids, length in zip(rows, (short, long), lengths, strict=True):
        with steer(model, [row], positions=positions, prompt_lengths=[length]):
            alone.append(run(model, ids)[0][0])
    left = torch.cat([torch.cat([torch.zeros(1, 4, dtype=torch.long), short], 1), long])
    right = torch.cat([torch.cat([short, torch.zeros(1, 4, dtype=torch.long)], 1), long])
    mask = torch.ones(2, 10, dtype=torch.long)
    mask[0, :4] = 0
    with steer(model, rows, positions=positions, prompt_lengths=lengths):
        position_ids = (mask.cumsum(1) - 1).clamp_min(0)
        padded_left, _ = run(model, left, attention_mask=mask, position_ids=position_ids)
        padded_right, _ = run(model, right, position_ids=torch.arange(10).expand(2, -1))
    for found in (padded_left[0, 4:], padded_right[0, :6]):
        torch.testing.assert_close(found, alone[0], atol=5e-4, rtol=1e-4)
    for found in (padded_left[1], padded_right[1]):
        torch.testing.assert_close(found, alone[1], atol=5e-4, rtol=1e-4)


@pytest.mark.parametrize("positions", ["all", "prompt", "generated"])
@pytest.mark.parametrize("told", ["position_ids", "attention_mask", "nothing"])
def test_cached_keys_do_not_change_what_is_steered(model, positions, told):
    ids = some_ids(2, 9)
    rows = [Intervention(a_vector(1), 1.0), Intervention(a_vector(2), -2.0)]
    with steer(model, rows, positions=positions, prompt_lengths=[5, 6]):
        whole, _ = run(model, ids)
    cache, pieces = DynamicCache(config=model.info.config), []
    with torch.inference_mode(), steer(model, rows, positions=positions, prompt_lengths=[5, 6]):
        for start, end in ((0, 4), (4, 8), (8, 9)):
            say = {
                "position_ids": {"position_ids": torch.arange(start, end).expand(2, -1)},
                "attention_mask": {"attention_mask": torch.ones(2, end, dtype=torch.long)},
                "nothing": {},
            }[told]
            pieces.append(
                model.module(ids[:, start:end], **{cache_argument(model.module): cache}, use_cache=True, **say).logits
            )
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=5e-4, rtol=1e-4)


def test_positions_say_which_tokens_are_steered(llama):
    ids, vector = some_ids(2, 8), a_vector()
    _, before = run(llama, ids)
    for positions, steered in (("all", range(8)), ("prompt", range(3)), ("generated", range(3, 8))):
        with steer(llama, Intervention(vector, 1.0), positions=positions, prompt_lengths=[3, 3]):
            _, after = run(llama, ids)
        changed = (after[1] != before[1]).any(-1)
        assert [t for t in range(8) if changed[0, t]] == list(steered)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Intervention(a_vector(), float("nan")), "strength nan is not finite"),
        (lambda: Intervention(a_vector(), 1.0, "subtract"), "operator `subtract` is unknown"),
        (lambda: Intervention(normalised(np.ones(64), dataclasses.replace(CARD, max_activation=None)), 1.0), "no unit"),
    ],
)
def test_interventions_that_mean_nothing_are_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_vectors_that_do_not_fit_the_model_are_refused(llama):
    for vector, message in ((a_vector(width=32), "has width 32"), (a_vector(layer=7), "is of layer 7")):
        with pytest.raises(UsageError, match=message), steer(llama, Intervention(vector, 1.0)):
            pass
    with pytest.raises(UsageError, match="not how long the prompts are"), steer(llama, [None], positions="prompt"):
        pass
    with pytest.raises(UsageError, match="2 rows are to be steered, but the batch has 3"):
        with steer(llama, [Intervention(a_vector(), 1.0)] * 2):
            run(llama, some_ids(3))
