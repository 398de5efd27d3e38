"""What is wrong with a sweep's configuration, command or files is said in one sentence, and nothing finished is lost."""

import numpy as np
import pytest
from planted_sweep import copies, write_cache

FOLDER = "results/distribution_sweep"


@pytest.fixture
def run(run):
    """`probeshift sweep ...` in this process; gives exit code, stdout, stderr."""
    return lambda *args: run("sweep", *args)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"penalty_cc": 1}, "unknown key `penalty_cc`. Nearest: `penalty_c`"),
        ({"sources": [{"name": "a", "cachee": "train"}]}, "unknown key `sources.0.cachee`. Nearest: `cache`"),
        ({"sources": [{"name": "a"}]}, "exactly one of cache, store, dataset and table"),
        (
            {"steps": [{"name": "base", "add": ["alignment-fakin"]}]},
            "unknown source `alignment-fakin`. Nearest: `alignment-faking-training`",
        ),
        ({"steps": [{"name": "base", "add": ["sycophant"]}]}, "one class only"),
        ({"steps": []}, "there are no steps"),
        ({"control": "gold"}, "control `gold` is no test set. Nearest: `gold_106`"),
        ({"tests": [{"name": "sycophant", "cache": "test"}]}, "two sets are called `sycophant`"),
        ({"held_out": "much"}, "held_out"),
        ({"held_out": 1.0}, "held_out: Input should be less than 1"),
        ({"penalty_c": 0}, "penalty_c: Input should be greater than 0"),
        ({"folds": 1}, "folds: Input should be greater than or equal to 2"),
        ({"repeats": 0}, "repeats: Input should be greater than or equal to 1"),
        ({"fpr": [0.05, 2]}, "fpr.1: Input should be less than 1"),
        ({"n_resamples": 0}, "n_resamples: Input should be greater than"),
        ({"size_draws": -1}, "size_draws: Input should be greater than"),
        ({"layer": -3}, "layer: Input should be greater than"),
        ({"steps": [{"name": "a/b", "add": ["sycophant"]}]}, "steps.0.name: "),
        ({"steps": [{"name": "a", "add": []}]}, "step `a` adds no source"),
        (
            {"steps": [{"name": "a", "add": ["alignment-faking-training"]}, {"name": "a", "add": ["sycophant"]}]},
            "two steps are called `a`",
        ),
        (
            {
                "sources": [{"name": "a", "cache": "train", "held_out": 0}],
                "tests": [],
                "steps": [{"name": "base", "add": ["a"]}],
            },
            "nothing would be tested",
        ),
    ],
)
def test_a_wrong_configuration_is_refused_in_one_sentence(tmp_path, run, monkeypatch, change, said):
    monkeypatch.chdir(tmp_path)
    copies(tmp_path, **change)
    code, _, err = run("run", "--config", "sweep.yaml")
    assert (code, said in err) == (2, True), err


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (("run", "--config", "nowhere.yaml"), 2, "nowhere.yaml does not exist"),
        (("run", "--steps", "7"), 2, "step 7 does not exist"),
        (("run", "--steps", "one"), 2, "whole numbers"),
        (("run", "0"), 2, "not an option"),
        (("run", "--cache", "elsewhere"), 4, "elsewhere/train_activations.npy is missing"),
    ],
)
def test_a_wrong_command_is_refused_in_one_sentence(tmp_path, run, monkeypatch, args, code, said):
    monkeypatch.chdir(tmp_path)
    write_cache(tmp_path / "cache/layer_40")
    found, _, err = run(*args)
    assert found == code and said in err


def test_sets_of_unequal_width_stop_the_run_and_lose_nothing(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = write_cache(tmp_path / "cache/layer_40")
    assert run("run", "--steps", "0")[0] == 0
    kept = {p.name: p.read_bytes() for p in (tmp_path / FOLDER).glob("step_*")}
    np.save(cache / "benchmark_activations.npy", np.ones((180, 7), dtype=np.float32))
    code, _, err = run("run")
    assert code == 2 and "`benchmark` has 7 features" in err
    assert {p.name: p.read_bytes() for p in (tmp_path / FOLDER).glob("step_*")} == kept


@pytest.mark.parametrize("name", ["sweep.json", "step_1_add_sycophant.json", "scores/mixtures.json"])
def test_a_damaged_file_is_named_and_another_run_mends_it(tmp_path, run, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    write_cache(tmp_path / "cache/layer_40")
    assert run("run", "--steps", "0", "1")[0] == 0
    whole = (tmp_path / FOLDER / name).read_bytes()
    for damage in (whole[:20], None):
        (tmp_path / FOLDER / name).unlink()
        if damage is not None:
            (tmp_path / FOLDER / name).write_bytes(damage)
        code, _, err = run("compare")
        assert code == 1 and "sweep run" in err
    (tmp_path / FOLDER / "figures.json").write_text("{")
    assert run("run", "--steps", "0", "1")[0] == 0
    assert (tmp_path / FOLDER / name).read_bytes() == whole


def test_a_step_file_of_another_run_is_not_compared_with_these_scores(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_cache(tmp_path / "cache/layer_40")
    assert run("run", "--steps", "0")[0] == 0
    path = tmp_path / FOLDER / "step_0_base.json"
    whole = path.read_text()
    path.write_text(whole.replace('"n_training_samples": 150', '"n_training_samples": 140'))
    code, _, err = run("compare")
    assert code == 1 and "not of the run that made the scores" in err
    path.write_text(whole)
    assert run("compare")[0] == 0
