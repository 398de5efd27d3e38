"""Loading: the device and dtype asked for, and one sentence for everything that can be missing."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import build, shared

from probeshift.errors import MissingError, ProbeshiftError, UsageError
from probeshift.models.describing import describe, load_tokenizer, weight_hash
from probeshift.models.fetching import plain_errors
from probeshift.models.loading import choose_device, choose_dtype, load_model
from probeshift.models.names import ModelSource

NOT_HERE = "nobody-at-all/no-such-model"


@pytest.fixture
def folder(tmp_path):
    """A tiny Llama the test may damage."""
    return shutil.copytree(shared("llama"), tmp_path / "damaged")


def test_auto_dtype_is_bfloat16_only_where_the_processor_computes_in_it():
    here = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    assert choose_dtype(torch.device("cpu")) == (torch.bfloat16 if here else torch.float32)
    assert choose_dtype(torch.device("mps")) == torch.float32


@pytest.mark.parametrize("asked", ["float16", "fp16", torch.float16])
def test_a_dtype_asked_for_is_taken(asked):
    assert choose_dtype(torch.device("cpu"), asked) == torch.float16


def test_an_unknown_dtype_or_device_is_refused_with_what_is_valid():
    with pytest.raises(UsageError, match="Nearest: `float32`"):
        choose_dtype(torch.device("cpu"), "float3")
    with pytest.raises(UsageError, match="is unknown"):
        choose_dtype(torch.device("cpu"), torch.int8)
    with pytest.raises(UsageError, match="Valid: auto, cpu, cuda"):
        choose_device("gpu0")


def test_a_cuda_device_that_is_not_there_is_refused():
    with pytest.raises(UsageError, match="CUDA devices"):
        choose_device(f"cuda:{torch.cuda.device_count()}")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_weights_get_the_dtype_asked_for(dtype):
    model = load_model(describe(str(shared("llama"))), dtype=dtype, device="cpu", check=False)
    assert {weight.dtype for weight in model.module.parameters()} == {model.dtype} == {getattr(torch, dtype)}
    assert not model.module.training
    assert model.device == torch.device("cpu")


def test_loading_bounds_the_kernels_kept_unless_the_user_does(monkeypatch):
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    load_model(describe(str(shared("llama"))), dtype="float32", device="cpu", check=False)
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "64"
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    load_model(describe(str(shared("llama"))), dtype="float32", device="cpu", check=False)
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"


def test_a_quantisation_that_is_unknown_or_not_installed_is_refused(monkeypatch):
    info = describe(str(shared("llama")))
    with pytest.raises(UsageError, match="`4bit`"):
        load_model(info, quantization="4bits")
    monkeypatch.setattr("probeshift.models.loading.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match="pip install accelerate bitsandbytes"):
        load_model(info, quantization="8bit")
    with pytest.raises(UsageError, match="--device-map needs accelerate"):
        load_model(info, device_map="auto")


def test_a_hub_model_that_is_not_here_says_how_to_fetch_it():
    with pytest.raises(MissingError, match=f"hf download {NOT_HERE}"):
        describe(NOT_HERE)


def test_a_folder_without_weights_is_missing_them(folder):
    (folder / "model.safetensors").unlink()
    info = describe(str(folder))
    for use in (load_model, weight_hash):
        with pytest.raises(MissingError, match="weights"):
            use(info)


def test_a_missing_shard_counts_as_missing_weights(folder):
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(MissingError, match="weights"):
        weight_hash(describe(str(folder)))


def test_a_damaged_weight_file_is_told_as_such(folder):
    (folder / "model.safetensors").write_bytes(b"not a safetensors file at all")
    with pytest.raises(MissingError, match="cannot be read"):
        load_model(describe(str(folder)))


def test_a_checkpoint_that_lacks_a_weight_is_refused_not_filled_with_random_numbers(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.2.mlp.up_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UsageError, match=r"model\.layers\.2\.mlp\.up_proj\.weight"):
        load_model(describe(str(folder)))


def test_a_folder_without_tokenizer_says_so(folder):
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ProbeshiftError, match="tokenizer"):
        load_tokenizer(describe(str(folder)))


def test_a_config_of_an_unknown_family_is_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "never-heard-of"}))
    with pytest.raises(UsageError, match="never-heard-of"):
        describe(str(folder))


def test_a_damaged_config_is_told_as_such(folder):
    (folder / "config.json").write_text("{not json")
    with pytest.raises(ProbeshiftError, match="config"):
        describe(str(folder))


def test_a_models_own_code_is_not_run_unasked(folder):
    config = json.loads((folder / "config.json").read_text())
    own = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": own}))
    (folder / "own.py").write_text("raise SystemExit('own code was run')")
    with pytest.raises(UsageError, match="--trust-remote-code"):
        describe(str(folder))


def test_an_encoder_decoder_is_refused(folder):
    (folder / "config.json").write_text(json.dumps({"model_type": "t5", "is_encoder_decoder": True}))
    with pytest.raises(UsageError, match="encoder-decoder"):
        describe(str(folder))


def test_a_gated_repository_says_to_log_in():
    source = ModelSource("llama2-7b", "meta-llama/Llama-2-7b-chat-hf")
    with pytest.raises(MissingError, match="hf auth login"), plain_errors(source, "the config"):
        raise OSError("You are trying to access a gated repo.\nMake sure to have access to it.")


def test_an_error_that_is_ours_is_not_hidden():
    with pytest.raises(AttributeError), plain_errors(ModelSource("a", "b/c"), "the config"):
        raise AttributeError("a bug")


def test_a_model_in_the_hub_cache_loads_without_network_and_knows_its_commit(tmp_path, monkeypatch):
    commit = "1" * 40
    repository = tmp_path / "models--org--tiny"
    build("llama", repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    info = describe("org/tiny")
    assert (info.name, info.location, info.revision) == ("org--tiny", "org/tiny", commit)
    assert weight_hash(info) == weight_hash(describe(str(shared("llama"))))
    assert len(load_model(info).blocks) == info.n_layers
