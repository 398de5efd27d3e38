"""The benchmark scripts run end to end, small. No time is ever asserted."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_models

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "extraction.py"


@pytest.fixture
def benchmark(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBESHIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PROBESHIFT_DATA", raising=False)
    spec = importlib.util.spec_from_file_location("extraction_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    # the tiny models read 256 tokens, and their tokenizer needs several for a word
    monkeypatch.setattr(module, "FACTS_PER_TEXT", dict.fromkeys(module.FACTS_PER_TEXT, (1, 0.2)))
    return module


def run(benchmark, tmp_path, *options):
    small = ["--model", str(tiny_models.shared("llama")), "--device", "cpu", "--rounds", "1", "--texts", "8"]
    benchmark.main([*small, *options, "--out", str(tmp_path / "results.json")])
    return json.loads((tmp_path / "results.json").read_text())


def test_every_workload_runs_and_is_written_as_json(benchmark, tmp_path, capsys):
    results = run(benchmark, tmp_path, "--dtype", "float32")
    assert [w["workload"] for w in results["workloads"]] == ["mixed", "two-option", "four-option"]
    for workload in results["workloads"]:
        assert workload["parity"]["float32"]["max_difference"] <= benchmark.MAX_DIFFERENCE
        assert all(len(rounds) == 1 for rounds in workload["times"].values())
    assert "engine vs bare forward of the same batches" in capsys.readouterr().out


def test_ablations_name_the_lever_that_is_off(benchmark, tmp_path):
    results = run(benchmark, tmp_path, "--dtype", "bfloat16", "--workload", "two-option", "--ablations")
    names = set(results["workloads"][0]["times"])
    assert {"engine, no reuse", "engine, unsorted batches of 16", "engine, float32", "bare, with LM head"} <= names


def test_wrong_activations_end_the_run(benchmark, tmp_path, monkeypatch):
    right = benchmark._one_text
    monkeypatch.setattr(benchmark, "_one_text", lambda model, ids: right(model, ids) + np.float32(0.01))
    with pytest.raises(SystemExit, match="parity failed in float32"):
        run(benchmark, tmp_path, "--dtype", "float32", "--workload", "mixed")


def test_peak_memory_is_that_of_one_contestant(benchmark, tmp_path, capsys):
    run_one = ["--peak-of", "engine", "--texts", "20", "--model", str(tiny_models.shared("llama")), "--device", "cpu"]
    benchmark.main(run_one)
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["resident"] > 0


def load(name, monkeypatch):
    spec = importlib.util.spec_from_file_location(f"{name}_benchmark", SCRIPT.with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def probes_benchmark(monkeypatch):
    return load("probes", monkeypatch)


def test_probe_solvers_and_both_loops_fit_every_method_of_every_shape(probes_benchmark, tmp_path, capsys):
    out = tmp_path / "results.json"
    probes_benchmark.main(["--small", "--d-model", "64", "--layers", "2", "--sample", "1", "--out", str(out)])
    results = json.loads(out.read_text())
    for found in results["shapes"]:
        assert all(set(seconds) == set(found["seconds"]["engine"]) for seconds in found["seconds"].values())
    assert set(results["by_method"]) == set(probes_benchmark.METHODS)
    assert "the loops are extrapolated" in capsys.readouterr().out


def test_solvers_that_disagree_end_the_probe_benchmark(probes_benchmark, monkeypatch):
    monkeypatch.setattr(probes_benchmark, "MAX_PROBABILITY", 0.0)
    with pytest.raises(SystemExit, match=r"lr, probability differs by .* no times are shown"):
        probes_benchmark.main(["--small", "--d-model", "64", "--layers", "1"])


def test_the_grid_benchmark_runs_and_agrees_before_it_times(tmp_path, monkeypatch, capsys):
    module = load("positions", monkeypatch)
    module.main(["--small", "--cells", "1", "--sample", "1", "--out", str(tmp_path / "grid.json")])
    results = json.loads((tmp_path / "grid.json").read_text())["results"]
    assert {r["learner"] for r in results} == {"ridge", "logistic"} and all(r["difference"] <= 1e-6 for r in results)
    assert "as written" in capsys.readouterr().out


def test_wrong_predictions_end_the_grid_benchmark(monkeypatch):
    module = load("positions", monkeypatch)
    right = module.engine
    monkeypatch.setattr(module, "engine", lambda *a: [p + 1e-3 for p in right(*a)])
    with pytest.raises(SystemExit, match="No times"):
        module.main(["--small"])


@pytest.fixture
def steering_benchmark(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBESHIFT_CACHE", str(tmp_path / "cache"))
    return load("steering", monkeypatch)


def steer(steering_benchmark, tmp_path):
    small = [
        "--concepts",
        "6",
        "--strengths",
        "2",
        "--prompts",
        "3",
        "--tokens",
        "4",
        "--sample",
        "2",
        "--batch-rows",
        "8",
    ]
    model = ["--model", str(tiny_models.shared("llama")), "--device", "cpu", "--dtype", "float32"]
    steering_benchmark.main([*model, *small, "--out", str(tmp_path / "results.json")])
    return json.loads((tmp_path / "results.json").read_text())


def test_mixed_batches_and_both_loops_write_the_same_texts_and_are_timed(steering_benchmark, tmp_path, capsys):
    results = steer(steering_benchmark, tmp_path)
    assert results["texts"] == 6 * 2 * 3
    assert set(results["parity"]["float32"].values()) == {1.0}
    assert len(results["times"]) == 3 and all(len(rounds) == 1 for rounds in results["times"].values())
    assert "times the engine's" in capsys.readouterr().out


def test_a_loop_that_writes_other_texts_ends_the_steering_benchmark(steering_benchmark, tmp_path, monkeypatch):
    monkeypatch.setattr(steering_benchmark, "loop", lambda setting, pairs, at_once: ["other"] * 6)
    with pytest.raises(SystemExit, match="contestants write different texts"):
        steer(steering_benchmark, tmp_path)


def test_the_sweep_benchmark_runs_and_agrees_with_scikit_learn(tmp_path, monkeypatch, capsys):
    module = load("sweep", monkeypatch)
    small = ["--features", "200", "--scale", "0.05", "--converged", "--out", str(tmp_path / "results.json")]
    module.main(small)
    found = json.loads((tmp_path / "results.json").read_text())
    assert found["converged"]["largest_difference"] <= module.MAX_SCORE_DIFFERENCE
    assert found["as_written"]["rows"] == found["converged"]["rows"]
    assert "extrapolated" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no comparison of speed holds"):
        module.refuse_other_scores(2 * module.MAX_SCORE_DIFFERENCE)


@pytest.fixture
def scoring_benchmark(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBESHIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(SCRIPT.parent)
    module = load("scoring", monkeypatch)
    monkeypatch.setitem(sys.modules["extraction"].FACTS_PER_TEXT, "statements", (1, 0.2))
    return module


def score(scoring_benchmark, tmp_path):
    small = ["--model", str(tiny_models.shared("llama")), "--device", "cpu", "--dtype", "float32", "--texts", "12"]
    scoring_benchmark.main([*small, "--rounds", "2", "--out", str(tmp_path / "results.json")])
    return json.loads((tmp_path / "results.json").read_text())


def test_scoring_is_timed_beside_extraction_of_the_same_texts(scoring_benchmark, tmp_path, capsys):
    results = score(scoring_benchmark, tmp_path)
    assert {name: len(rounds) for name, rounds in results["times"].items()} == {"extraction": 2, "scoring": 2}
    assert results["difference"] <= 1e-4 and results["texts"] == 12
    assert "scoring / extraction" in capsys.readouterr().out


def test_scores_of_another_direction_end_the_scoring_benchmark(scoring_benchmark, tmp_path, monkeypatch):
    right = scoring_benchmark.scoring
    monkeypatch.setattr(scoring_benchmark, "scoring", lambda *a: lambda: [s + 1 for s in right(*a)()])
    with pytest.raises(SystemExit, match="No times are shown"):
        score(scoring_benchmark, tmp_path)
