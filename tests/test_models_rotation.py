"""A model in a rotated basis says the same, and its residual stream is the rotated one."""

import numpy as np
import pytest
import tiny_models
import torch

from probeshift.errors import UsageError
from probeshift.models import load_model, record_residuals
from probeshift.models.rotation import random_rotation, save_rotated


@pytest.fixture(scope="module", params=["llama", "mistral", "qwen2", "qwen3"])
def pair(request, tmp_path_factory):
    model = load_model(str(tiny_models.shared(request.param)), dtype="float32", device="cpu", check=False)
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():  # norms and biases that matter, unlike those of a fresh model
        for name, weight in model.module.named_parameters():
            if "norm" in name or name.endswith("bias"):
                weight.add_(0.5 * torch.rand(weight.shape, generator=draw))
    turn = random_rotation(model.info.d_model, seed=1)
    folder = save_rotated(model, tmp_path_factory.mktemp("rotated") / request.param, turn)
    return model, load_model(str(folder), dtype="float32", device="cpu"), turn


def run(model, ids):
    read = {}
    with torch.inference_mode(), record_residuals(model.blocks, range(-1, 4), read.__setitem__, stop=False):
        return model.module(ids).logits, read


def test_the_rotated_model_says_the_same_in_other_axes(pair):
    model, rotated, turn = pair
    ids = torch.randint(5, 390, (2, 11), generator=torch.Generator().manual_seed(0))
    (logits, read), (turned_logits, turned) = run(model, ids), run(rotated, ids)
    torch.testing.assert_close(turned_logits, logits, atol=1e-3, rtol=1e-3)  # float32 through four blocks
    for layer, hidden in read.items():
        expected = (hidden.double() @ torch.from_numpy(turn)).float()
        torch.testing.assert_close(turned[layer], expected, atol=1e-3, rtol=1e-3)
        assert not torch.allclose(turned[layer], hidden, atol=0.1)


def test_a_rotation_is_orthogonal_and_seeded():
    turn = random_rotation(32, seed=3)
    np.testing.assert_allclose(turn @ turn.T, np.eye(32), atol=1e-12)
    assert np.array_equal(turn, random_rotation(32, seed=3))
    assert not np.allclose(turn, random_rotation(32, seed=4))


def test_models_built_otherwise_and_matrices_that_do_not_rotate_are_refused(tmp_path):
    for family in ("gpt2", "gemma2", "gemma3", "phi", "gptj"):
        model = load_model(str(tiny_models.shared(family)), dtype="float32", device="cpu", check=False)
        with pytest.raises(UsageError, match="cannot be rotated"):
            save_rotated(model, tmp_path, random_rotation(64))
    llama = load_model(str(tiny_models.shared("llama")), dtype="float32", device="cpu", check=False)
    for matrix in (np.eye(32), np.ones((64, 64))):
        with pytest.raises(UsageError, match="must be an orthogonal matrix of 64 x 64"):
            save_rotated(llama, tmp_path, matrix)


def test_turning_the_model_itself_writes_the_same_file_and_a_kept_one_stays_as_it_is(tmp_path):
    model = load_model(str(tiny_models.shared("llama")), dtype="float32", device="cpu", check=False)
    before, turn = {name: w.clone() for name, w in model.module.named_parameters()}, random_rotation(64, seed=2)
    kept = save_rotated(model, tmp_path / "kept", turn)
    assert all(torch.equal(w, before[name]) for name, w in model.module.named_parameters())
    turned = save_rotated(model, tmp_path / "turned", turn, keep=False)
    assert (kept / "model.safetensors").read_bytes() == (turned / "model.safetensors").read_bytes()
    assert not all(torch.equal(w, before[name]) for name, w in model.module.named_parameters() if name in before)
