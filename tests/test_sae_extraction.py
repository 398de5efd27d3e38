"""SAE features of texts are those of their tokens' states, without BOS or padding, and survive a stop in the middle."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_models
import torch
from safetensors.torch import save_file

import probeshift as ps
from probeshift.datasets import Statement
from probeshift.errors import UsageError
from probeshift.extraction import ExtractionOptions
from probeshift.extraction.sae_features import SaeExtraction, read_sae_features
from probeshift.features import POOLS, load_encoder
from probeshift.models import load_model

LAYER, F = 2, 96
TEXTS = (
    "Paris is in France.",
    "Two plus three equals five, and the answer is yes.",
    "Fire is hot.",
    "Ice.",
    "Fire is hot.",
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBESHIFT_CACHE", str(tmp_path / "cache"))


def write_sae(folder, d_model=tiny_models.D_MODEL, seed=0, **about):
    g = torch.Generator().manual_seed(seed)
    decoder = torch.randn(F, d_model, generator=g)
    tensors = {
        "W_enc": decoder.T.contiguous(),
        "b_enc": -0.5 * torch.ones(F),
        "W_dec": decoder / d_model,
        "b_dec": torch.zeros(d_model),
    }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "sae_weights.safetensors")
    hook = {"hook_name": f"blocks.{LAYER}.hook_resid_post", "apply_b_dec_to_input": False}
    (folder / "cfg.json").write_text(json.dumps({"architecture": "standard", **hook, **about}))
    return folder


def statements(texts=TEXTS):
    return [Statement("mine", str(i), text, i % 2 == 0, "train") for i, text in enumerate(texts)]


def job_of(model, encoder, texts=TEXTS, **options):
    asked = ExtractionOptions(layers=(LAYER,), dtype="float32", **options)
    return SaeExtraction.prepare(statements(texts), model.info, model.tokenizer, options=asked, encoder=encoder)


@pytest.mark.parametrize("family", ["llama", "gemma2"])  # gemma2's tokenizer puts BOS in front
@pytest.mark.parametrize("pool", POOLS)
def test_features_are_pooled_over_the_texts_own_tokens(tmp_path, family, pool):
    model = load_model(str(tiny_models.shared(family)), dtype="float32")
    encoder = load_encoder(write_sae(tmp_path / "sae"))
    found = read_sae_features(job_of(model, encoder), lambda: model, pool=pool, allow_misfit=True)
    for row, text in enumerate(TEXTS):
        ids = model.tokenizer(text, return_tensors="pt", return_special_tokens_mask=True)
        special = ids.pop("special_tokens_mask")[0].bool()
        with torch.inference_mode():
            states = model.module(input_ids=ids["input_ids"], output_hidden_states=True).hidden_states[LAYER + 1][0]
        acts = encoder.encode(states[~special])
        expected = {
            "max": acts.amax(0),
            "mean": acts.mean(0),
            "last": acts[-1],
            "fraction_active": (acts > 0).float().mean(0),
        }[pool]
        np.testing.assert_allclose(found.values[[row]].toarray()[0], expected, atol=2e-4)
        if family == "gemma2" and pool == "max":
            assert special.any()
            with_bos = encoder.encode(states).amax(0)
            assert (with_bos - expected).abs().max() > 1e-2  # BOS would have been seen


def test_an_encoding_that_was_stopped_goes_on_and_ends_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr("probeshift.extraction.plan.SHARD_BYTES", 1)  # a shard per sequence
    model = load_model(str(tiny_models.shared("llama")), dtype="float32")
    encoder = load_encoder(write_sae(tmp_path / "sae"))
    job = job_of(model, encoder, batch_size=1)
    whole = read_sae_features(job, lambda: model, allow_misfit=True).values.toarray()
    shards = sorted(job.folder.glob("*.safetensors"))
    assert len(shards) == 4  # one text comes twice
    shards[1].unlink()
    kept = {p: p.stat().st_mtime_ns for p in shards if p.exists()}
    np.testing.assert_array_equal(read_sae_features(job, lambda: model, allow_misfit=True).values.toarray(), whole)
    assert {p: p.stat().st_mtime_ns for p in kept} == kept

    def no_model():
        raise AssertionError("the model was loaded for nothing")

    read_sae_features(job, no_model, pool="mean", allow_misfit=True)
    with pytest.raises(AssertionError):
        shards[2].unlink()
        read_sae_features(job, no_model, allow_misfit=True)


def test_an_sae_of_another_layer_is_another_extraction(tmp_path):
    model = load_model(str(tiny_models.shared("llama")), dtype="float32")
    one, two = (load_encoder(write_sae(tmp_path / str(seed), seed=seed)) for seed in (0, 1))
    assert job_of(model, one).folder != job_of(model, two).folder
    assert job_of(model, one).folder == job_of(model, load_encoder(tmp_path / "0")).folder


def test_an_sae_that_does_not_fit_is_refused_before_anything_is_kept(tmp_path):
    model = load_model(str(tiny_models.shared("llama")), dtype="float32")
    job = job_of(model, load_encoder(write_sae(tmp_path / "sae", l0=1)))
    with pytest.raises(UsageError, match="more than 3 times off"):
        read_sae_features(job, lambda: model)
    assert not list(job.folder.glob("*.safetensors"))


def test_features_of_a_misfit_that_was_allowed_once_are_refused_where_it_is_not(tmp_path):
    model = load_model(str(tiny_models.shared("llama")), dtype="float32")
    job = job_of(model, load_encoder(write_sae(tmp_path / "sae", l0=1)))
    read_sae_features(job, lambda: model, allow_misfit=True)
    read_sae_features(job, lambda: model, allow_misfit=True)
    with pytest.raises(UsageError, match="more than 3 times off"):
        read_sae_features(job, lambda: model)


def test_the_fit_is_that_of_texts_of_all_lengths(tmp_path, monkeypatch):
    model = load_model(str(tiny_models.shared("llama")), dtype="float32")
    job = job_of(model, load_encoder(write_sae(tmp_path / "sae")), batch_size=1)
    every = read_sae_features(job, lambda: model, allow_misfit=True)
    assert every.check.n_tokens == sum(every.n_tokens[:4])  # few texts: all of them, one that comes twice once
    monkeypatch.setattr("probeshift.extraction.sae_features.CHECKED_TOKENS", every.check.n_tokens // 2)
    (job.folder / "check.json").unlink()
    some = read_sae_features(job, lambda: model, allow_misfit=True)
    by_length = sorted(every.n_tokens[:4], reverse=True)
    assert some.check.n_tokens == by_length[1] + by_length[3]  # every second one, not the longest


def table(path, texts, label=("alignment_faking", "aligned")):
    path.write_text(json.dumps({"samples": [{"text": t, "label": label[i % 2]} for i, t in enumerate(texts)]}))
    return path.name


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    """A sweep from texts: two own tables and a bundled dataset, through a tiny model."""
    from probeshift.experiments.sweep import run
    from probeshift.experiments.sweep_settings import SweepSettings

    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    words = "Paris Tokyo Lima France Japan Norway two three five water fire ice hot cold wet yes no true false honest".split()
    texts = [[" ".join(rng.choice(words, 12)) for _ in range(n)] for n in (40, 30, 24)]
    names = [table(tmp_path / f"{name}.json", rows) for name, rows in zip(("home", "away", "test"), texts, strict=True)]

    def call(layer=LAYER, **more):
        settings = SweepSettings(
            model=str(tiny_models.shared("llama")), layer=layer, subsets=False, size_draws=0, n_resamples=100, repeats=1, folds=3,
            sources=({"name": "home", "table": names[0]}, {"name": "away", "table": names[1]},
                     {"name": "facts", "dataset": "facts_cities_affirmed", "limit": 15}),
            tests=({"name": "test", "table": names[2], "shifted": False},),
            steps=({"name": "base", "add": ("home",)}, {"name": "more", "add": ("away", "facts")}), **more,
        )  # fmt: skip
        return run(settings)

    return call


def test_a_sweep_runs_from_texts_with_raw_activations(sweep):
    found = sweep(position="mean")
    assert found["step_values"][0]["n_training_samples"] == 32
    assert found["step_values"][0]["n_features"] == tiny_models.D_MODEL
    assert all(d["n_train_rows"] is not None for d in found["duplicates"])  # texts are known


def test_a_sweep_runs_from_texts_with_sae_features(sweep, tmp_path):
    write_sae(tmp_path / "sae")
    found = sweep(sae=Path("sae"), position="max", allow_misfit=True)
    assert found["step_values"][0]["n_features"] == F
    assert found["activity"][0]["share_active"] < 1
    with pytest.raises(UsageError, match=r"no position `last_token`.*`last`"):
        sweep(sae=Path("sae"), position="last_token", allow_misfit=True)


def test_an_sae_of_another_layer_than_the_config_says_is_refused(sweep, tmp_path):
    write_sae(tmp_path / "sae")
    with pytest.raises(UsageError, match=f"reads layer {LAYER} and the config says {LAYER - 1}"):
        sweep(sae=Path("sae"), layer=LAYER - 1, position="max")


def test_a_fact_about_one_city_is_on_one_side_in_every_source(sweep, tmp_path):
    from probeshift.mixture_scores import load_scores

    sweep(position="last", output_dir=tmp_path / "out")
    rows = load_scores(tmp_path / "out" / "scores").rows
    sides = rows[rows["set"] == "facts"].groupby("group")["part"].nunique()
    assert len(sides) == 15 and (sides == 1).all()


def test_the_example_trains_an_sae_that_fits_its_own_tokens(tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "examples"))
    import train_small_sae

    small = ("--layer", LAYER, "--latents", 256, "--k", 8, "--batch", 256, "--texts", 60)
    checks = {}
    model = ps.load_model(str(tiny_models.shared("llama")))
    rows = [r.text for r in ps.load_dataset("facts_cities_affirmed").statements[:20]]
    for steps in (1, 120):
        given = (*small, "--steps", steps, "--output", tmp_path / str(steps))
        train_small_sae.main(["--model", str(tiny_models.shared("llama")), *map(str, given)])
        encoder = load_encoder(tmp_path / str(steps))
        checks[steps] = read_sae_features(job_of(model, encoder, rows), lambda: model, allow_misfit=True).check
    sys.modules.pop("train_small_sae")
    assert (encoder.kind, encoder.k, encoder.layer, encoder.n_features) == ("topk", 8, LAYER, 256)
    assert checks[120].l0 == pytest.approx(8, abs=1) and checks[120].complaint is None
    assert checks[120].unexplained < 0.8 * checks[1].unexplained  # a step alone learns next to nothing
