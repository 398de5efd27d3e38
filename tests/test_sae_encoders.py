"""Encoders are read from every format and encode as a naive loop over tokens and features does; what cannot be run is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from probeshift.errors import MissingError, StoreError, UsageError
from probeshift.features import POOLS, check_fit, load_encoder, pool_features
from probeshift.features import encoder as encoder_module

SAELENS = Path(__file__).parent / "saelens"
D, F, K = 12, 40, 5


def weights(seed=0, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    made = {
        "W_enc": torch.randn(D, F, generator=g), "b_enc": 0.3 * torch.randn(F, generator=g), "W_dec": torch.randn(F, D, generator=g),
        "b_dec": torch.randn(D, generator=g), "threshold": torch.rand(F, generator=g) * 2,
    }  # fmt: skip
    return {name: values.to(dtype) for name, values in made.items()}


def states(n=9, seed=1):
    return 2 * torch.randn(n, D, generator=torch.Generator().manual_seed(seed))


def saelens(folder, architecture="standard", tensors=None, **about):
    folder.mkdir(parents=True, exist_ok=True)
    tensors = dict(tensors or weights())
    if architecture != "jumprelu":
        tensors.pop("threshold", None)
    save_file(tensors, folder / "sae_weights.safetensors")
    (folder / "cfg.json").write_text(json.dumps({"architecture": architecture, "apply_b_dec_to_input": False, **about}))
    return folder


def naive(kind, tensors, x, k=K, subtract=False):
    """Token by token, feature by feature."""
    t = {n: v.double().numpy() for n, v in tensors.items()}
    out = np.zeros((len(x), F))
    for i, row in enumerate(x.double().numpy()):
        row = row - t["b_dec"] if subtract else row
        pre = [sum(row[d] * t["W_enc"][d, f] for d in range(D)) + t["b_enc"][f] for f in range(F)]
        for f in range(F):
            keep = {
                "relu": pre[f] > 0, "jumprelu": pre[f] > t["threshold"][f], "topk": pre[f] > 0 and sorted(pre)[-k] <= pre[f],
            }[kind]  # fmt: skip
            out[i, f] = pre[f] if keep else 0.0
    return out


@pytest.mark.parametrize("subtract", [False, True])
@pytest.mark.parametrize(("kind", "architecture"), [("relu", "standard"), ("jumprelu", "jumprelu"), ("topk", "topk")])
def test_a_saelens_folder_encodes_as_the_formula_says(tmp_path, kind, architecture, subtract):
    folder = saelens(tmp_path / "sae", architecture, k=K, apply_b_dec_to_input=subtract)
    found = load_encoder(folder).encode(states())
    np.testing.assert_allclose(found, naive(kind, weights(), states(), subtract=subtract), atol=1e-4)


@pytest.mark.parametrize("folder", sorted(SAELENS.iterdir()), ids=lambda folder: folder.name)
def test_features_are_those_of_sae_lens_from_the_same_file(folder):
    """tests/saelens: small SAEs saved by sae-lens 6.54.12, and what it encodes and rebuilds with them."""
    expected = json.loads((folder / "encoded.json").read_text())
    encoder, inputs = load_encoder(folder), torch.tensor(expected["inputs"])
    found = encoder.encode(inputs)
    torch.testing.assert_close(found, torch.tensor(expected["features"]), atol=1e-5, rtol=1e-5)
    assert 0 < (found > 0).float().mean() < 1
    if encoder.normalisation == "none":
        rebuilt = encoder.decode(found) + encoder.output_bias
        torch.testing.assert_close(rebuilt, torch.tensor(expected["reconstruction"]), atol=1e-5, rtol=1e-5)


def test_jumprelu_keeps_the_whole_value_above_its_threshold(tmp_path):
    found = load_encoder(saelens(tmp_path / "sae", "jumprelu")).encode(states())
    t = weights()
    pre = states() @ t["W_enc"] + t["b_enc"]
    shifted = (pre - t["threshold"]).clamp_min(0)  # the mistake this guards against
    active = pre > t["threshold"]
    assert active.any() and torch.equal(found > 0, active & (pre > 0))
    np.testing.assert_allclose(found[active], pre[active], atol=1e-5)
    assert (found[active] - shifted[active]).abs().min() > 1e-3


def test_features_computed_in_blocks_are_those_computed_at_once(tmp_path, monkeypatch):
    folder = saelens(tmp_path / "sae", "jumprelu")
    whole = load_encoder(folder).encode(states())
    monkeypatch.setattr(encoder_module, "BLOCK", 7)
    torch.testing.assert_close(load_encoder(folder).encode(states()), whole)


def test_batchtopk_keeps_k_per_token_on_average_over_the_tokens_given(tmp_path):
    found = load_encoder(saelens(tmp_path / "sae", "batchtopk", k=K)).encode(states())
    t = weights()
    pre = states() @ t["W_enc"] + t["b_enc"]
    cut = pre.flatten().sort(descending=True).values[K * len(pre) - 1]
    torch.testing.assert_close(found, torch.where((pre >= cut) & (pre > 0), pre, 0.0))
    per_token = (found > 0).sum(1)
    assert per_token.sum() == K * len(pre) and per_token.float().std() > 0


def test_batchtopk_with_a_threshold_does_not_depend_on_the_other_tokens(tmp_path):
    folder = saelens(tmp_path / "sae", "batchtopk", k=K)
    tensors = {**weights(), "threshold": torch.tensor(1.5)}
    save_file(tensors, folder / "sae_weights.safetensors")
    encoder = load_encoder(folder)
    torch.testing.assert_close(encoder.encode(states())[:3], encoder.encode(states()[:3]))
    without = load_encoder(saelens(tmp_path / "other", "batchtopk", k=K))
    assert not torch.equal(without.encode(states())[:3], without.encode(states()[:3]))


def test_decoder_norms_are_folded_in_where_the_file_asks_for_it(tmp_path):
    plain = load_encoder(saelens(tmp_path / "a", "topk", k=F))
    scaled = load_encoder(saelens(tmp_path / "b", "topk", k=F, rescale_acts_by_decoder_norm=True))
    norms = weights()["W_dec"].norm(dim=-1)
    torch.testing.assert_close(scaled.encode(states()), plain.encode(states()) * norms)
    torch.testing.assert_close(scaled.decode(scaled.encode(states())), plain.decode(plain.encode(states())))


def test_both_generations_of_gemma_scope_are_the_same_jumprelu(tmp_path):
    t = weights()
    first = tmp_path / "layer_20" / "width_16k" / "average_l0_71"
    first.mkdir(parents=True)
    np.savez(first / "params.npz", **{n: v.numpy() for n, v in t.items()})
    second = tmp_path / "resid_post" / "layer_40_width_16k_l0_medium"
    second.mkdir(parents=True)
    save_file({n.replace("W_", "w_"): v for n, v in t.items()}, second / "params.safetensors")
    one, two = load_encoder(first), load_encoder(second)
    assert (one.layer, one.l0, two.layer, two.l0) == (20, 71.0, 40, None)
    torch.testing.assert_close(one.encode(states()), two.encode(states()))
    np.testing.assert_allclose(one.encode(states()), naive("jumprelu", t, states()), atol=1e-4)


def test_weights_in_16_bits_are_used_in_32(tmp_path):
    encoder = load_encoder(saelens(tmp_path / "sae", "jumprelu", weights(dtype=torch.bfloat16)))
    found = encoder.encode(states().to(torch.bfloat16))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(
        found, naive("jumprelu", weights(dtype=torch.bfloat16), states().to(torch.bfloat16)), atol=1e-4
    )


@pytest.mark.parametrize("normalisation", ["constant_norm_rescale", "layer_norm"])
def test_normalised_inputs_do_not_depend_on_their_scale(tmp_path, normalisation):
    encoder = load_encoder(saelens(tmp_path / "sae", normalize_activations=normalisation))
    torch.testing.assert_close(encoder.encode(states()), encoder.encode(7 * states()), atol=1e-3, rtol=1e-3)
    plain = load_encoder(saelens(tmp_path / "plain"))
    assert not torch.allclose(plain.encode(states()), plain.encode(7 * states()), atol=1e-1)


def test_all_poolings_of_one_pass_are_those_of_the_token_activations(tmp_path):
    encoder = load_encoder(saelens(tmp_path / "sae", "jumprelu"))
    acts = encoder.encode(states()).numpy()
    found = dict(zip(POOLS, pool_features(encoder, states()), strict=True))
    np.testing.assert_allclose(found["max"], acts.max(0), atol=1e-6)
    np.testing.assert_allclose(found["mean"], acts.mean(0), atol=1e-6)
    np.testing.assert_allclose(found["last"], acts[-1], atol=1e-6)
    np.testing.assert_allclose(found["fraction_active"], (acts > 0).mean(0), atol=1e-6)


def orthogonal(folder, scale=1.0, **about):
    """A dictionary that rebuilds every input: each direction and its opposite."""
    q = torch.linalg.qr(torch.randn(D, D, generator=torch.Generator().manual_seed(3)))[0]
    both = torch.cat([q, -q])
    tensors = {
        "W_enc": both.T.contiguous() * scale,
        "b_enc": torch.zeros(2 * D),
        "W_dec": both,
        "b_dec": torch.zeros(D),
    }
    return saelens(folder, tensors=tensors, **about)


def test_a_fitting_encoder_passes_and_says_what_was_measured(tmp_path):
    found = check_fit(load_encoder(orthogonal(tmp_path / "sae", l0=D)), states(50))
    assert found.l0 == pytest.approx(D) and found.unexplained < 1e-6 and found.complaint is None
    assert "12.0 active features per token (12 stated)" in found.words()


@pytest.mark.parametrize("stated", [D * 3.5, D / 3.5])
def test_three_times_more_or_fewer_features_than_stated_is_an_error_unless_allowed(tmp_path, stated):
    encoder = load_encoder(orthogonal(tmp_path / "sae", l0=stated))
    found = check_fit(encoder, states(50))
    with pytest.raises(UsageError, match=r"SAE `sae` does not fit these activations: .* more than 3 times off"):
        found.require("sae", allow_misfit=False)
    found.require("sae", allow_misfit=True)


def test_a_reconstruction_that_explains_nothing_is_an_error(tmp_path):
    encoder = load_encoder(orthogonal(tmp_path / "sae", scale=-1.0))
    assert check_fit(encoder, states(50)).complaint == "it explains none of the variance"
    assert check_fit(encoder, torch.full((2, D), torch.inf)).complaint is not None


def test_another_width_is_an_error(tmp_path):
    with pytest.raises(UsageError, match="reads 12 dimensions, the activations have 13"):
        check_fit(load_encoder(orthogonal(tmp_path / "sae")), torch.zeros(4, D + 1))


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"architecture": "gated"}, "architecture `gated` are not read"),
        ({"architecture": "topk"}, "needs its `k`"),
        ({"normalize_activations": "expected_average_only_in"}, "need a factor that is not in the file"),
        ({"reshape_activations": "hook_z"}, "not the residual stream"),
    ],
)
def test_what_cannot_be_run_exactly_is_refused(tmp_path, about, said):
    with pytest.raises(UsageError, match=said):
        load_encoder(saelens(tmp_path / "sae", **{"architecture": "standard", **about}))


def test_missing_parts_are_named(tmp_path):
    with pytest.raises(MissingError, match="does not exist"):
        load_encoder(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"holds no SAE in a known format \(found: nothing\)"):
        (tmp_path / "empty").mkdir()
        load_encoder(tmp_path / "empty")
    folder = saelens(tmp_path / "sae", "jumprelu", {n: v for n, v in weights().items() if n != "threshold"})
    with pytest.raises(UsageError, match="has no `threshold`"):
        load_encoder(folder)
    (folder / "sae_weights.safetensors").write_bytes(b"short")
    with pytest.raises(StoreError, match="cannot be read"):
        load_encoder(folder)


@pytest.mark.parametrize(
    ("hook", "layer"),
    [("blocks.8.hook_resid_post", 8), ("blocks.8.hook_resid_pre", 7), ("model.layers.8", 8), ("", None)],
)
def test_the_layer_is_the_block_whose_output_is_read(tmp_path, hook, layer):
    assert load_encoder(saelens(tmp_path / "sae", hook_name=hook)).layer == layer


@pytest.mark.parametrize("hook", ["blocks.8.attn.hook_z", "blocks.8.hook_mlp_out", "blocks.0.hook_resid_pre"])
def test_an_sae_of_anything_but_a_blocks_output_is_refused(tmp_path, hook):
    with pytest.raises(UsageError, match="not the output of a block"):
        load_encoder(saelens(tmp_path / "sae", hook_name=hook))
