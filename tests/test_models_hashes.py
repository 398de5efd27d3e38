"""Hashes say whether two runs saw the same model and the same tokens."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import build, shared

from probeshift.models.describing import describe, load_tokenizer, template_hash, tokenizer_hash, weight_hash
from probeshift.models.weights import remembered_hash
from probeshift.provenance import cache_root, sha256_file


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBESHIFT_CACHE", str(tmp_path / "cache"))


def test_the_weight_hash_changes_with_one_weight(tmp_path):
    folder = shutil.copytree(shared("llama"), tmp_path / "tiny-llama")
    before = weight_hash(describe(str(folder)))
    assert before == weight_hash(describe(str(shared("llama"))))
    weights = load_file(folder / "model.safetensors")
    weights["model.norm.weight"][3] += 1
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert weight_hash(describe(str(folder))) != before


def test_a_file_is_hashed_once(tmp_path):
    file = tmp_path / "weights"
    file.write_bytes(b"abc")
    assert remembered_hash(file) == sha256_file(file)
    memory = next((cache_root() / "hashes").iterdir())
    memory.write_text("remembered")
    assert remembered_hash(file) == "remembered"
    file.write_bytes(b"abcd")
    assert remembered_hash(file) == sha256_file(file)


def test_a_file_of_the_hub_cache_is_not_read_to_know_its_hash(tmp_path):
    (tmp_path / "blobs").mkdir()
    (tmp_path / "blobs" / ("a" * 64)).touch()
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "blobs" / ("a" * 64))
    assert remembered_hash(tmp_path / "model.safetensors") == "a" * 64


def test_the_config_hash_ignores_who_wrote_the_file(tmp_path):
    folder = shutil.copytree(shared("llama"), tmp_path / "elsewhere")
    config = folder / "config.json"
    config.write_text(config.read_text().replace('"transformers_version": "', '"transformers_version": "9'))
    assert describe(str(folder)).config_hash == describe(str(shared("llama"))).config_hash
    config.write_text(config.read_text().replace('"rms_norm_eps": ', '"rms_norm_eps": 1'))
    assert describe(str(folder)).config_hash != describe(str(shared("llama"))).config_hash


def test_the_tokenizer_hash_is_the_same_in_another_process_and_after_padding():
    tokenizer = load_tokenizer(describe(str(shared("llama"))))
    here = tokenizer_hash(tokenizer)
    tokenizer(["a", "a longer text"], padding=True, truncation=True, max_length=4)
    assert tokenizer_hash(tokenizer) == here
    code = (
        "from probeshift.models.describing import *;"
        f"print(tokenizer_hash(load_tokenizer(describe({str(shared('llama'))!r}))))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, cwd=Path(__file__).parent.parent
    )
    assert done.stdout.strip() == here, done.stderr


def test_the_tokenizer_hash_sees_a_new_token_and_the_template_hash_does_not():
    tokenizer = load_tokenizer(describe(str(shared("llama"))))
    before, template = tokenizer_hash(tokenizer), template_hash(tokenizer)
    tokenizer.add_tokens(["<new>"])
    assert tokenizer_hash(tokenizer) != before
    assert template_hash(tokenizer) == template
    tokenizer.chat_template += " "
    assert template_hash(tokenizer) != template


def test_a_base_model_has_no_template_hash(tmp_path):
    folder = build("gpt2", tmp_path / "base", chat=False)
    assert template_hash(load_tokenizer(describe(str(folder)))) is None


def test_the_tokenizer_pads_on_the_right():
    tokenizer = load_tokenizer(describe(str(shared("llama"))))
    padded = tokenizer(["a", "a longer text"], padding=True, return_tensors="pt")
    assert torch.equal(padded.attention_mask[0].sort(descending=True).values, padded.attention_mask[0])
