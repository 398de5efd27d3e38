"""The contract every family keeps: blocks found, residual stream exact, nothing left behind."""

import dataclasses
from contextlib import suppress

import pytest
import torch
import transformers
from tiny_models import D_MODEL, FAMILIES, N_LAYERS, VOCAB_SIZE, shared, tokenizer

from probeshift.errors import UsageError
from probeshift.models.describing import describe, parameter_counts
from probeshift.models.hooks import StopForward, record_residuals
from probeshift.models.loading import load_model
from probeshift.models.parity import ParityError, check_parity, residuals_and_hidden_states

ENCODERS = ("bert",)


@pytest.fixture(scope="module", params=FAMILIES)
def model(request):
    return load_model(describe(str(shared(request.param))), dtype="float32", device="cpu", check=False)


@pytest.fixture(scope="module")
def llama():
    return load_model(describe(str(shared("llama"))), dtype="float32", device="cpu", check=False)


def _ids(model, rows=2, length=12):
    return torch.randint(5, VOCAB_SIZE - 8, (rows, length), generator=torch.Generator().manual_seed(0))


def _hooks(model):
    """Hooks on every module; transformers keeps some of its own."""
    parts = list(model.module.modules())
    return [(len(part._forward_hooks), len(part._forward_pre_hooks)) for part in parts]


def _forward(model, ids):
    with torch.inference_mode():
        return model.backbone(ids, attention_mask=torch.ones_like(ids))


def test_the_config_says_how_large_the_model_is(model):
    info = model.info
    assert (info.n_layers, info.d_model, info.vocab_size, info.max_tokens) == (N_LAYERS, D_MODEL, VOCAB_SIZE, 256)
    assert info.causal == (info.model_type not in ENCODERS)


def test_as_many_blocks_are_found_as_the_config_has_layers(model):
    assert len(model.blocks) == N_LAYERS
    assert len({type(block) for block in model.blocks}) == 1


def test_parameters_are_counted_without_loading(model):
    counts = parameter_counts(model.info)
    assert counts.total == sum(weight.numel() for weight in model.module.parameters())
    assert counts.body == sum(weight.numel() for block in model.blocks for weight in block.parameters())


def test_what_hooks_read_is_bitwise_what_the_model_calls_its_hidden_states(model):
    # Bitwise, because both are read in one pass; the final norm applied once more runs the same kernel.
    parity = check_parity(model)
    assert (parity.max_abs, parity.layers_compared) == (0.0, N_LAYERS + 1)
    assert parity.last_block == ("as is" if model.info.model_type in ENCODERS else "after norm")


def test_a_recorded_layer_is_the_next_hidden_state(model):
    ids = _ids(model)[:1]
    read, own = residuals_and_hidden_states(model, ids)
    assert all(torch.equal(read[layer], own[layer + 1]) for layer in range(-1, N_LAYERS - 1))
    assert read[0].shape == (1, ids.shape[1], D_MODEL)


def test_the_last_hidden_state_is_not_the_last_block_where_a_norm_follows(model):
    # The sanity twin of parity: without the norm the last layer would not match.
    read, own = residuals_and_hidden_states(model, _ids(model)[:1])
    assert torch.equal(read[N_LAYERS - 1], own[-1]) == (model.info.model_type in ENCODERS)


def test_layers_are_given_shallowest_first_and_once(model):
    order = []
    with record_residuals(model.blocks, [2, -1, 0, 2], lambda layer, _: order.append(layer), stop=False):
        _forward(model, _ids(model))
    assert order == [-1, 0, 2]


@pytest.mark.parametrize("deepest", range(-1, N_LAYERS))
def test_blocks_behind_the_deepest_wanted_layer_do_not_run(model, deepest):
    ran = []
    counters = [block.register_forward_hook(lambda *_, i=i: ran.append(i)) for i, block in enumerate(model.blocks)]
    with record_residuals(model.blocks, [deepest], lambda *_: None), suppress(StopForward):
        _forward(model, _ids(model))
    for counter in counters:
        counter.remove()
    assert ran == list(range(deepest + 1))


def test_stopping_early_reads_the_same_bits(model):
    whole, stopped = {}, {}
    with record_residuals(model.blocks, [1], whole.__setitem__, stop=False):
        _forward(model, _ids(model))
    with record_residuals(model.blocks, [1], stopped.__setitem__), suppress(StopForward):
        _forward(model, _ids(model))
    assert torch.equal(whole[1], stopped[1])


def test_no_hook_stays_behind(model):
    _forward(model, _ids(model))
    before = _hooks(model)
    with record_residuals(model.blocks, range(-1, N_LAYERS), lambda *_: None), suppress(StopForward):
        _forward(model, _ids(model))
    assert _hooks(model) == before


def test_no_hook_stays_behind_after_an_error(model):
    before = _hooks(model)

    def fail(layer, hidden):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), record_residuals(model.blocks, [0, 2], fail):
        _forward(model, _ids(model))
    assert _hooks(model) == before


def test_bfloat16_has_parity_too(model):
    low = load_model(model.info, dtype="bfloat16", device="cpu", check=False)
    assert check_parity(low).max_rel == 0.0


def test_a_layer_outside_the_model_is_refused(llama):
    for layers in ([N_LAYERS], [-2], []):
        with pytest.raises(UsageError, match="layers -1"), record_residuals(llama.blocks, layers, lambda *_: None):
            pass


@pytest.mark.parametrize("order", [[1, 0, 2, 3], [3, 2, 1, 0], [0, 0, 1, 2]])
def test_a_wrong_list_of_blocks_is_found_out(llama, order):
    wrong = dataclasses.replace(llama, blocks=[llama.blocks[i] for i in order])
    with pytest.raises(ParityError, match="hidden states"):
        check_parity(wrong)


def test_a_massive_activation_does_not_hide_a_wrong_order_in_bfloat16(llama):
    low = load_model(llama.info, dtype="bfloat16", device="cpu")
    with torch.no_grad():
        low.backbone.embed_tokens.weight[:, 7] = 3000.0
    check_parity(low)
    with pytest.raises(ParityError, match="hidden states"):
        check_parity(dataclasses.replace(low, blocks=[low.blocks[i] for i in (0, 2, 1, 3)]))


def test_too_few_blocks_are_found_out(llama):
    with pytest.raises(ParityError, match="3 blocks"):
        check_parity(dataclasses.replace(llama, blocks=llama.blocks[:3]))


def test_parts_that_are_not_blocks_are_found_out(llama):
    inner = dataclasses.replace(llama, blocks=[block.mlp for block in llama.blocks])
    with pytest.raises(ParityError):
        check_parity(inner)


def test_a_model_wrongly_taken_for_causal_is_found_out():
    bert = load_model(describe(str(shared("bert"))), dtype="float32", device="cpu")
    taken = dataclasses.replace(bert, info=dataclasses.replace(bert.info, causal=True))
    with pytest.raises(ParityError, match="both directions"):
        check_parity(taken)


def test_without_a_norm_to_identify_the_last_block_is_said_to_be_not_compared(tmp_path):
    sizes = {"vocab_size": VOCAB_SIZE, "hidden_size": D_MODEL, "num_hidden_layers": N_LAYERS, "ffn_dim": 96}
    config = transformers.OPTConfig(
        **sizes, num_attention_heads=4, word_embed_proj_dim=32, do_layer_norm_before=False, pad_token_id=2
    )
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    parity = check_parity(load_model(describe(str(tmp_path)), dtype="float32", device="cpu", check=False))
    assert (parity.last_block, parity.layers_compared, parity.max_abs) == ("not compared", N_LAYERS, 0.0)


def test_a_model_that_shares_one_block_is_refused_before_any_weight_is_read():
    info = describe(str(shared("albert")))
    with pytest.raises(UsageError, match="1 separate blocks"):
        parameter_counts(info)
    with pytest.raises(UsageError, match="1 separate blocks"):
        load_model(info)


def test_a_multimodal_wrapper_gives_its_text_blocks_not_its_vision_blocks():
    model = load_model(describe(str(shared("gemma3_multimodal"))), dtype="float32", device="cpu", check=False)
    assert len(model.blocks) == N_LAYERS != model.module.config.vision_config.num_hidden_layers
    assert not any("vision" in name for name, _ in model.backbone.named_modules())
