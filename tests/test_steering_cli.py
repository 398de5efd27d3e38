"""`probeshift steer` end to end on a tiny model."""

import json

import numpy as np
import pandas as pd
import pytest
import tiny_models
from chromium import BROWSER, WHY_NOT, Chromium
from test_steering_vectors import ROWS
from typer.testing import CliRunner

from probeshift.cli import app
from probeshift.errors import StoreError, UsageError
from probeshift.models import load_model
from probeshift.report.html import write_report
from probeshift.results import ProbeCard, ProbeFile, save_probes
from probeshift.steering.diffmean import diffmean, with_max_activations
from probeshift.steering.vectors import save_vectors


@pytest.fixture
def vector_file(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBESHIFT_CACHE", str(tmp_path / "cache"))
    model = load_model(str(tiny_models.shared("llama")), dtype="float32", device="cpu", check=False)
    vectors = with_max_activations(model, diffmean(model, ROWS, [1])[1], ROWS)
    save_vectors(tmp_path / "v.safetensors", vectors.values())
    return tmp_path / "v.safetensors"


def call(*words, model=None):
    options = ["--model", str(model or tiny_models.shared("llama")), "--dtype", "float32", "--device", "cpu"]
    return CliRunner().invoke(app, ["steer", *options, "--max-new-tokens", "6", *map(str, words)])


def test_texts_stand_side_by_side_with_their_costs(vector_file):
    result = call("--vector", vector_file, "--strength", "0.5", "1", "2", "--prompt", "is it so")
    assert result.exit_code == 0, result.output
    assert "unsteered" in result.stdout
    assert all(f"strength {s}" in result.stdout for s in ("0.5", "1", "2"))
    assert "KL" in result.stdout and "perplexity" in result.stdout


@pytest.mark.parametrize("words", [["0.5", "1"], ["0.5", "--strength", "1"], ["0.5,1"], ["0.5 1"]])
def test_strengths_may_be_repeated_or_separated(vector_file, words):
    result = call("--vector", vector_file, "--prompt", "a", "--json", "--strength", *words)
    texts = json.loads(result.stdout)["texts"]
    assert [text["strength"] for text in texts] == [None, 0.5, 1.0]


def test_strength_zero_writes_the_baseline_at_no_cost(vector_file):
    result = call(
        "--vector", vector_file, "--prompt", "a", "--prompt", "b", "--json", "--strength", "0", "--strength=-9"
    )
    texts = json.loads(result.stdout)["texts"]
    for baseline, zero, minus in (texts[:3], texts[3:]):
        assert (zero["text"], zero["nll"], zero["kl"]) == (baseline["text"], baseline["nll"], 0.0)
        assert minus["kl"] > 0
        assert minus["perplexity"] == pytest.approx(np.exp(minus["nll"]))


def test_the_unit_of_strength_can_be_set_by_hand(vector_file):
    found = []
    for words in (["--unit", "8", "--strength", "0.5"], ["--unit", "4", "--strength", "1"], ["--strength", "1"]):
        result = call("--vector", vector_file, "--prompt", "a", "--json", *words)
        found.append(json.loads(result.stdout)["texts"][1]["kl"])
    assert found[0] == found[1] != found[2]


def test_a_saved_probe_steers_after_its_unit_was_measured_on_its_dataset(vector_file, tmp_path):
    card = ProbeCard(
        "id", "lr", "source", "tiny-llama", "hash", "float32", "facts_cities", "facts", "last", (1, 2), 10, None, 0, (0, 0),
        "fitted", "here", False, (False, False), (None, None),
    )  # fmt: skip
    directions = np.random.default_rng(0).normal(size=(2, 64)).astype(np.float32)
    save_probes(tmp_path, ProbeFile(card, directions, np.zeros(2)))
    path = tmp_path / "probes" / "lr" / "facts_cities.safetensors"
    result = call("--vector", path, "--layer", "2", "--strength", "1", "--prompt", "a", "--json")
    assert result.exit_code == 0, result.output
    vector = json.loads(result.stdout)["vector"]
    assert (vector["method"], vector["layer"]) == ("probe:lr", 2)
    assert vector["max_activation"] > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--strength", "much"], "takes numbers"),
        (["--strength", "1", "--concept", "thruth"], "Nearest: `truth`"),
        (["--strength", "1", "--operator", "subtract"], "operator `subtract` is unknown"),
        (["--strength", "1", "--positions", "promt"], "Nearest: `prompt`"),
        (["--strength", "1", "--unit", "-2"], "--unit must be above 0"),
        (["--strength", "1", "--layer", "9"], "is of layer 9"),
        (["--strength", "nan"], "takes numbers"),
        (["--strength", "1", "--measure-on", "nowhere.txt"], "there is no file nowhere.txt"),
        (["--strength", "1", "--measure-on", __file__], "has its unit already"),
        (["--strength", "1", "--no-chat", "--system", "Be brief."], "no place for a system message"),
    ],
)
def test_what_cannot_be_is_told_in_one_sentence(vector_file, words, message):
    result = call("--vector", vector_file, "--prompt", "a", *words)
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)


def test_a_missing_file_is_told_before_the_model_is_loaded(tmp_path):
    result = call("--vector", tmp_path / "none.safetensors", "--prompt", "a", "--strength", "1")
    assert "there is no file" in str(result.exception)


def test_a_folder_that_is_a_file_is_told(vector_file):
    result = call("--vector", vector_file, "--prompt", "a", "--strength", "1", "--output", vector_file)
    assert isinstance(result.exception, StoreError) and "cannot write" in str(result.exception)


def test_a_vector_applied_after_another_block_says_where_it_was_made(vector_file):
    words = ["--vector", vector_file, "--prompt", "a", "--strength", "1"]
    assert "made after block 1" in call(*words, "--layer", "2").stderr
    assert "made after block" not in call(*words, "--layer", "1").stderr


def test_another_models_vector_is_steered_with_and_said_so(vector_file):
    result = call("--vector", vector_file, "--strength", "1", "--prompt", "a", model=tiny_models.shared("qwen2"))
    assert result.exit_code == 0 and "whose weights are not those of" in result.stderr


def test_texts_are_kept_as_a_run_and_the_same_command_writes_nothing_again(vector_file, tmp_path):
    folder = tmp_path / "steered"
    words = [
        "--vector",
        vector_file,
        "--strength",
        "1",
        "--strength=-2",
        "--prompt",
        "a",
        "--prompt",
        "b",
        "--prompt",
        "a",
    ]
    result = call(*words, "--output", folder)
    assert result.exit_code == 0, result.output
    assert f"probeshift report {folder}" in result.stderr
    texts, curves = (pd.read_parquet(folder / f"{name}.parquet") for name in ("texts", "curves"))
    assert list(texts["strength"]) == [0, 1, -2] * 2 and list(texts["prompt"]) == ["a"] * 3 + ["b"] * 3
    for row in curves.itertuples():
        own = texts[texts["strength"] == row.strength]
        assert row.perplexity == pytest.approx(np.exp(own["nll"].median())) and row.n == 2
        assert (np.isnan(row.kl) and row.strength == 0) or row.kl == pytest.approx(own["kl"].mean())
    before = {path: path.stat().st_mtime_ns for path in (folder / "generations").iterdir()}
    assert call(*words, "--output", folder).exit_code == 0
    assert before == {path: path.stat().st_mtime_ns for path in (folder / "generations").iterdir()}


def test_a_folder_of_another_run_is_not_written_into(vector_file, tmp_path):
    (tmp_path / "manifest.json").write_text('{"made": {}}')
    result = call("--vector", vector_file, "--strength", "1", "--prompt", "a", "--output", tmp_path)
    assert isinstance(result.exception, UsageError) and "run of another kind" in str(result.exception)
    assert not (tmp_path / "texts.parquet").exists()


@pytest.mark.skipif(BROWSER is None, reason=WHY_NOT)
def test_the_page_shows_every_text_and_what_each_strength_costs(vector_file, tmp_path):
    folder = tmp_path / "steered"
    call("--vector", vector_file, "--strength", "1", "--strength=-2", "--prompt", "is it so", "--output", folder)
    page = write_report([folder], folder / "report.html")
    texts, curves = (pd.read_parquet(folder / f"{name}.parquet") for name in ("texts", "curves"))
    with Chromium() as browser:
        browser.open(page, "#steering")
        shown = browser.js("[...document.querySelectorAll('#steering bdi')].map((n) => n.textContent)")
        heads = browser.js("[...document.querySelectorAll('#steering .texts th')].map((n) => n.textContent)")
        charts = browser.js("[...document.querySelectorAll('#steering h3')].map((n) => n.textContent)")
        said = browser.js("document.body.textContent")
        assert not browser.errors
    assert len(shown) == 1 + len(texts)  # the prompt, and every text
    assert {"strength -2", "strength 1", ROWS[0].concept} <= set(heads)
    assert any("KL from the unsteered model" in title for title in charts)
    assert not any("Effect" in title for title in charts)  # nobody scored
    (cost,) = curves.loc[curves["strength"] == 1, "kl"]
    assert f"{cost:.2f} at strength 1" in said and "no control" in said
