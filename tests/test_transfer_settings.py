"""The settings of a transfer study: what is not valid is told in one sentence, with the nearest valid name."""

from pathlib import Path

import pytest
import transfer_study
import yaml

from probeshift.errors import UsageError
from probeshift.experiments.config_file import read_config
from probeshift.experiments.transfer.settings import TransferSettings

EXAMPLES = Path(__file__).parents[1] / "examples"


def read(tmp_path, values):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(values))
    return read_config(path, TransferSettings)


def test_a_whole_file_is_read(tmp_path):
    found = read(tmp_path, transfer_study.values(tmp_path))
    assert (found.model("two").layer, found.scored_by, found.is_steered) == ("relative", "useful", True)


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("transfer-*.yaml")))
def test_every_example_is_valid(name):
    assert read_config(EXAMPLES / name, TransferSettings).source


def test_the_study_of_the_document_is_an_example():
    names = [entry.name for entry in read_config(EXAMPLES / "transfer-gemma-llama.yaml", TransferSettings).models]
    assert names == ["gemma-2-2b", "llama-3.1-8b"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strenghts": [1.0]}, "unknown key `strenghts`. Nearest: `strengths`"),
        ({"generation": {"max_new_token": 5}}, "unknown key `generation.max_new_token`. Nearest: `max_new_tokens`"),
        ({"judge": {"backnd": "hf"}}, "unknown key `judge.backnd`. Nearest: `backend`"),
        ({"methods": ["liner"]}, "method `liner` is unknown. Nearest: `linear`"),
        ({"source": "won"}, "source `won` is not among the models. Nearest: `two`, `one`"),
        ({"strengths": [0.0]}, "strengths must be numbers above 0"),
        ({"concepts": {"rules": ["uppercase"], "caa": "x"}}, "exactly one of rules, axbench, caa, file; found rules, caa"),
        ({"controls": {"random": 3}}, "controls.random"),
        ({"score": "usefull"}, "score `usefull` is unknown. Nearest: `useful`"),
    ],
)  # fmt: skip
def test_what_is_not_valid_is_told_with_the_nearest_name(tmp_path, change, message):
    with pytest.raises(UsageError) as told:
        read(tmp_path, {**transfer_study.values(tmp_path), **change})
    assert message in str(told.value)


def test_a_misspelt_key_of_a_model_names_the_key_of_models(tmp_path):
    values = transfer_study.values(tmp_path)
    values["models"][0]["layr"] = values["models"][0].pop("layer")
    with pytest.raises(UsageError, match=r"unknown key `models.0.layr`. Nearest: `layer`"):
        read(tmp_path, values)


def test_the_layer_of_the_source_cannot_be_relative(tmp_path):
    values = transfer_study.values(tmp_path)
    values["models"][0]["layer"] = "relative"
    with pytest.raises(UsageError, match="layer of the source one must be a block"):
        read(tmp_path, values)


@pytest.mark.parametrize(("text", "message"), [("- a", "holds no settings"), ("a: [", "cannot be read as YAML")])
def test_a_file_that_is_no_mapping_is_told(tmp_path, text, message):
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UsageError, match=message):
        read_config(tmp_path / "x.yaml", TransferSettings)


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        read_config(tmp_path / "x.yaml", TransferSettings)
