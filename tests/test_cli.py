"""The command line as a user meets it: one tiny model, the bundled facts, every promise of the documents, every mistake."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_models

SETS = "facts_translations,facts_cities_conj"
SMALL = ("--datasets", SETS, "--train-limit", "40", "--selection-limit", "20")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One cache for the whole module: activations made by one test are reused by the next, as on a user's machine."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def inside(home, monkeypatch):
    monkeypatch.setenv("PROBESHIFT_CACHE", str(home / "cache"))
    monkeypatch.delenv("PROBESHIFT_DATA", raising=False)
    monkeypatch.chdir(home)


@pytest.fixture(scope="module")
def model():
    return tiny_models.shared("llama")


def spawn(*args):
    command = [sys.executable, "-m", "probeshift", *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def folder(model):
    return Path("output/comparison") / Path(model).name


def test_the_three_steps_of_the_document_write_its_files(run, model):
    code, out, err = run("crossdata", "extract", "--model", model, "--layer-skip", 2, *SMALL)
    assert code == 0, err
    vectors = [json.loads(line) for line in (folder(model) / "probe_vectors.jsonl").read_text().splitlines()]
    # four blocks: three quarters of the depth is block 3, so the odd blocks are sampled
    assert {v["value"]["point_name"] for v in vectors} == {"h1", "h3"}
    assert "in text" in err and "of them padding" in err
    assert {v["value"]["train_dataset"] for v in vectors} == set(SETS.split(","))
    assert all(len(v["value"]["vector"]) == tiny_models.D_MODEL for v in vectors)

    code, out, err = run("crossdata", "evaluate", "--model", model, "--eval-limit", 30)
    assert code == 0, err
    lines = [json.loads(line)["value"] for line in (folder(model) / "probe_evaluate-v2.jsonl").read_text().splitlines()]
    assert {v["point_name"] for v in lines} == {"h3"}, "0.75 of four blocks"
    assert len(lines) == 2 * 2  # two training sets on two test sets; the control stays in the native table
    assert all(0 <= v["accuracy"] <= 1 and 0 <= v["auc"] <= 1 and v["protocol"] == "strict" for v in lines)
    assert any(abs(v["accuracy"] - v["auc"]) > 1e-9 for v in lines), "the AUC is not a copy of the accuracy"

    code, _, err = run("crossdata", "visualize", "--model", model)
    assert code == 0, err
    for name in ("cross_dataset_matrix_recovered", "cross_dataset_matrix_auc"):
        assert (folder(model) / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert len(pd.read_csv(folder(model) / f"{name}.csv")) == 4
    manifest = json.loads((folder(model) / "manifest.json").read_text())
    assert manifest["model"]["weights"] and manifest["datasets"]["facts_translations"]["content_hash"]
    assert manifest["settings"]["data"]["eval_limit"] == 30


def test_a_layer_depth_that_was_not_sampled_is_evaluated_beside_the_layers_before(run, model):
    """Layer 2 is not stored: new stores and probes are made, with which layer 3 of the default is scored again."""
    before = pd.read_parquet(folder(model) / "results.parquet")
    evaluate = ("crossdata", "evaluate", "--model", model, "--eval-limit", 30)
    assert set(before["layer"]) == {3}
    assert run(*evaluate, "--layer-depth", 0.5)[0] == 0
    assert run(*evaluate, "--layers", 1)[0] == 0
    rows = pd.read_parquet(folder(model) / "results.parquet")
    cells = ["method", "train", "test", "split", "metric", "layer"]
    assert set(rows["layer"]) == {1, 2, 3} and not rows.duplicated(cells).any() and len(rows) == 3 * len(before)
    kept = rows[rows["layer"].eq(3)].set_index(cells)["value"].sort_index()
    np.testing.assert_allclose(kept, before.set_index(cells)["value"].sort_index())
    lines = (folder(model) / "probe_evaluate-v2.jsonl").read_text().splitlines()
    assert len(lines) == 3 * 2 * 2
    plan = json.loads(run(*evaluate, "--layer-depth", 0.25, "--dry-run", "--json")[1])
    assert plan["layers"] == [1, 2, 3], "a quarter of four blocks is block 1"


def test_all_stored_layers_can_be_evaluated_and_drawn_by_number(run, model):
    code, _, err = run("crossdata", "evaluate", "--model", model, "--eval-limit", 30, "--layers", "all")
    assert code == 0, err
    code, out, _ = run("crossdata", "visualize", "--model", model, "--layer", 1, "--json")
    assert code == 0 and json.loads(out)["layer"] == 1 and json.loads(out)["schema_version"] == 1
    assert (folder(model) / "accuracy_by_layer.png").exists()


def test_the_pages_say_how_often_a_random_direction_leaves_chance_out(run, model):
    assert run("crossdata", "evaluate", "--model", model, "--eval-limit", 30, "--layers", "all")[0] == 0
    code, out, _ = run("crossdata", "visualize", "--model", model, "--layer", 1)
    rows = pd.read_parquet(folder(model) / "results.parquet")
    cells = rows.query("split == 'test' and metric == 'auroc' and layer == 1 and train != test")
    off = ((cells["ci_low"] > 0.5) | (cells["ci_high"] < 0.5)).groupby(cells["method"]).sum()
    assert code == 0
    assert f"leaves chance out: dim {off['dim']} of 2, random {off['random']} of 2; intervals are over questions" in out


@pytest.mark.parametrize("step", ["extract", "evaluate"])
def test_each_step_tells_a_program_what_it_wrote(run, model, step):
    code, out, err = run("crossdata", step, "--model", model, *SMALL, "--layer-skip", 2, "--json")
    told = json.loads(out)
    assert code == 0 and told["schema_version"] == 1, err
    assert all(Path(path).exists() for path in told["paths"]) and told["paths"]
    assert told["tokens"]["text"] > 0


def test_one_dataset_alone_has_nothing_away_from_home(run, model):
    args = ("crossdata", "run", "--model", model, "--datasets", "facts_translations", "--train-limit", 40)
    code, out, err = run(*args, "--selection-limit", 20, "--eval-limit", 30, "--output-dir", "output/alone")
    assert code == 0, err
    assert "what is left away from home" not in out and "away from home" not in out


def test_the_same_command_again_computes_nothing(run, model, monkeypatch):
    args = ("crossdata", "evaluate", "--model", model, "--eval-limit", 30)
    assert run(*args)[0] == 0
    first = (folder(model) / "results.csv").read_bytes()

    def never(*_args, **_kwargs):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("probeshift.models.loading.load_model", never)
    assert run(*args)[0] == 0
    assert (folder(model) / "results.csv").read_bytes() == first


def test_the_published_protocol_says_so_in_every_row(run, model):
    assert run("crossdata", "evaluate", "--model", model, "--eval-limit", 30, "--protocol", "published")[0] == 0
    rows = pd.read_parquet(folder(model) / "results.parquet")
    assert set(rows["protocol"]) == {"published"} and set(rows["sign_source"]) == {"evaluation labels"}
    code, out, _ = run("crossdata", "visualize", "--model", model)
    assert code == 0 and "evaluation labels" in out


def test_your_model_and_your_file_in_one_command(run, model, tmp_path):
    own = tmp_path / "mine.csv"
    text = [f"Claim number {i} about {'rivers' if i % 3 else 'stones'}." for i in range(60)]
    pd.DataFrame({"claim": text, "is_true": [i % 2 == 0 for i in range(60)]}).to_csv(own, index=False)
    code, out, err = run("crossdata", "run", "--model", model, "--data", own, "--text-column", "claim", "--label-column", "is_true",
                         "--datasets", "facts_translations", "--train-limit", 40, "--eval-limit", 20)  # fmt: skip
    assert code == 0, err
    assert "mine" in out and "facts_translations" in out
    assert set(pd.read_parquet(folder(model) / "results.parquet")["test"]) == {"mine", "facts_translations"}


def test_the_plan_loads_no_weights(run, model, monkeypatch):
    def never(*_args, **_kwargs):
        raise AssertionError("weights were loaded")

    monkeypatch.setattr("probeshift.models.loading.load_model", never)
    code, out, _ = run("plan", "--model", model, *SMALL, "--json")
    plan = json.loads(out)
    assert code == 0 and plan["layers"] == [1, 3] and len(plan["parts"]) == 6
    assert plan["bytes"] == sum(p["bytes"] for p in plan["parts"]) > 0
    assert plan["seconds"] >= 0 and plan["memory_bytes"] > 0
    code, out, _ = run("crossdata", "extract", "--model", model, *SMALL, "--dry-run")
    assert code == 0 and "to compute" in out


def test_dashes_and_underscores_are_both_accepted(run, model):
    assert run("plan", "--model", model, "--datasets", SETS, "--train_limit", 10, "--json")[0] == 0


def test_reference_results_are_imported_and_drawn_by_the_same_command(run, tmp_path):
    lines = []
    for layer in ("h9", "h27"):
        for a in ("imdb", "rte", "copa"):
            for b in ("imdb", "rte", "copa"):
                accuracy = 0.75 if a == b else 0.5
                value = {"llm_id": "Qwen/Qwen3-4B", "train_dataset": a, "eval_dataset": b, "probe_method": "dim", "point_name": layer,
                         "token_idx": -1, "accuracy": accuracy, "accuracy_n": 100, "auc": accuracy}  # fmt: skip
                lines.append(json.dumps({"key": f"result_{len(lines)}", "value": value}))
    path = tmp_path / "probe_evaluate-v2.jsonl"
    path.write_text("\n".join(lines))
    code, out, err = run("crossdata", "visualize", "--import", path, "--layer", 27, "--output-dir", tmp_path / "drawn")
    assert code == 0, err
    assert "evaluation labels" in out and "AUROC is undefined in every cell: imported file repeats accuracy" in out
    assert "auc" in err and "accuracy" in err
    assert list((tmp_path / "drawn").rglob("cross_dataset_matrix_recovered.png"))
    mistake(
        run,
        "crossdata",
        "visualize",
        "--import",
        path,
        "--layer",
        5,
        says=("Nearest: 9, 27", "of Qwen/Qwen3-4B do not hold it"),
    )


def mistake(run, *args, code=2, says=()):
    got, _, err = run(*args)
    message = [line for line in err.splitlines() if line.startswith("error: ")]
    assert got == code, err
    assert len(message) == 1 and "Traceback" not in err, err
    for part in says:
        assert part in message[0], message[0]


def test_an_unknown_dataset_names_the_nearest(run, model):
    mistake(
        run, "crossdata", "extract", "--model", model, "--datasets", "got_citys", says=("got_citys", "`got_cities`")
    )


def test_an_unknown_model_names_the_nearest(run):
    mistake(run, "crossdata", "extract", "--model", "qwen3-4bb", *SMALL, says=("qwen3-4bb", "`qwen3-4b`"))


def test_an_unknown_layer_says_which_there_are(run, model):
    mistake(run, "crossdata", "evaluate", "--model", model, *SMALL, "--layers", "9", says=("[9]", "layers 0 to 3"))
    mistake(
        run,
        "crossdata",
        "evaluate",
        "--model",
        model,
        *SMALL,
        "--layers",
        "top",
        says=("top", "all, 0.75, -1, 4,8 or 0:32:2"),
    )
    mistake(
        run, "crossdata", "evaluate", "--model", model, *SMALL, "--layer-depth", "1.5", says=("1.5", "between 0 and 1")
    )
    mistake(run, "crossdata", "extract", "--model", model, *SMALL, "--layer-skip", "0", says=("--layer-skip",))


def test_a_layer_that_was_not_evaluated_names_the_nearest(run, model):
    there = ("--model", model, "--output-dir", "output/one_layer")
    assert run("crossdata", "evaluate", *there, *SMALL, "--eval-limit", 30)[0] == 0
    mistake(run, "crossdata", "visualize", *there, "--layer", 0, says=("layer 0 was not evaluated", "Nearest: 3"))


def test_an_unknown_method_names_the_nearest(run, model):
    mistake(run, "crossdata", "extract", "--model", model, *SMALL, "--methods", "dimm", says=("dimm", "`dim`"))


def test_a_missing_model_option_says_what_to_try(run):
    mistake(run, "crossdata", "extract", says=("--model is missing", "smollm2-135m"))


def test_a_choice_that_is_none_is_refused_with_the_option_named(run, model):
    mistake(run, "crossdata", "evaluate", "--model", model, "--protocol", "strikt", says=("--protocol", "strikt"))
    mistake(run, "plan", "--model", model, *SMALL, "--batch-size", "many", says=("--batch-size", "many"))


@pytest.mark.parametrize(
    "option", ["--train-limit", "--selection-limit", "--eval-limit", "--max-tokens", "--batch-tokens"]
)
def test_a_number_below_one_is_refused_before_anything_is_read(run, model, option):
    mistake(run, "plan", "--model", model, option, "0", says=(option, "greater than or equal to 1", "`0`"))


def test_an_interval_needs_enough_resamples(run, model):
    mistake(run, "plan", "--model", model, *SMALL, "--n-resamples", "5", says=("--n-resamples", "100", "`5`"))


OWN = ("--text-column", "text", "--label-column", "label")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("empty.csv", "", ("empty.csv",)),
        ("headers.csv", "text,label\n", ("headers.csv",)),
        ("column.csv", "txt,label\na b,1\nc d,0\n", ("`txt`",)),
        ("one_class.csv", "text,label\na b,1\nc d,1\ne f,1\n", ("are true",)),
        ("nan.csv", "text,label\na b,1\nc d,\ne f,0\n", ("label",)),
        ("words.csv", "text,label\na b,good\nc d,bad\n", ("--true-label",)),
        ("three.csv", "text,label\na b,0\nc d,1\ne f,2\n", ("three.csv", "label")),
        ("broken.parquet", "this is no parquet", ("broken.parquet",)),
    ],
)
def test_a_file_that_cannot_be_used_says_why(run, model, tmp_path, name, content, says):
    path = tmp_path / name
    path.write_text(content)
    mistake(run, "crossdata", "run", "--model", model, "--data", path, *OWN, says=says)


def test_a_file_that_is_not_there_is_named(run, model, tmp_path):
    mistake(run, "crossdata", "run", "--model", model, "--data", tmp_path / "absent.csv", *OWN, says=("absent.csv",))


def test_prompts_longer_than_the_context_are_refused_with_the_way_out(run, model, tmp_path):
    path = tmp_path / "long.csv"
    pd.DataFrame({"text": ["word " * 600 + str(i) for i in range(30)], "label": [i % 2 for i in range(30)]}).to_csv(
        path, index=False
    )
    mistake(
        run,
        "crossdata",
        "extract",
        "--model",
        model,
        "--data",
        path,
        says=("longer than the 256 tokens", "--max-tokens 256"),
    )
    assert run("crossdata", "extract", "--model", model, "--data", path, "--max-tokens", 64)[0] == 0


def test_missing_weights_say_how_to_fetch_them(run):
    mistake(run, "crossdata", "extract", "--model", "qwen3-4b", *SMALL, code=4, says=("Qwen/Qwen3-4B",))


def test_missing_datasets_are_all_named_at_once(run, model):
    mistake(
        run,
        "crossdata",
        "extract",
        "--model",
        model,
        "--datasets",
        "imdb,rte",
        code=4,
        says=("imdb", "rte", "--data-dir", "--skip-missing"),
    )
    code, _, err = run(
        "crossdata",
        "extract",
        "--model",
        model,
        "--datasets",
        "imdb,facts_translations",
        "--skip-missing",
        "--train-limit",
        40,
    )
    assert code == 0 and "imdb is not on this machine" in err


def test_a_place_that_cannot_be_written_is_one_sentence(run, model, tmp_path, monkeypatch):
    taken = tmp_path / "taken"
    taken.write_text("a file where a folder should be")
    args = ("crossdata", "run", "--model", model, *SMALL, "--eval-limit", 30)
    mistake(run, *args, "--output-dir", taken, code=1, says=("cannot write", str(taken), "--output-dir"))
    monkeypatch.setenv("PROBESHIFT_CACHE", str(taken))
    mistake(run, *args, code=1, says=("cannot write", str(taken), "PROBESHIFT_CACHE"))


def test_visualize_before_evaluate_says_what_to_run(run, model, tmp_path):
    mistake(
        run, "crossdata", "visualize", "--model", model, "--output-dir", tmp_path, code=1, says=("crossdata evaluate",)
    )


def test_an_interrupt_keeps_what_is_finished_and_prints_the_way_on(run, model, tmp_path, monkeypatch):
    monkeypatch.setenv("PROBESHIFT_CACHE", str(tmp_path))
    args = ("crossdata", "extract", "--model", model, "--datasets", "facts_cities,facts_translations,facts_comparisons",
            "--train-limit", "120", "--selection-limit", "20", "--batch-tokens", "64", "--output-dir", tmp_path / "out")  # fmt: skip
    process = spawn(*args)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("activations/*/*/shards/*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "continue with:" in err and f"--model {model}" in err and "Traceback" not in err
    kept = {p: p.stat().st_mtime_ns for p in tmp_path.glob("activations/*/*/shards/*.json")}
    assert kept
    code, _, err = run(*args)
    assert code == 0, err
    assert all(p.stat().st_mtime_ns == stamp for p, stamp in kept.items())


def test_help_is_quick_to_load_and_shows_an_example():
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "probeshift", "--help"], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0 and "demo" in done.stdout
    loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"torch", "transformers", "pandas", "sklearn", "matplotlib"}


@pytest.mark.parametrize("command", [("demo",), ("plan",), ("crossdata", "extract"), ("crossdata", "evaluate"), ("crossdata", "visualize"),
                                     ("crossdata", "run"), ("datasets", "show"), ("models", "check")])  # fmt: skip
def test_every_command_has_an_example_in_its_help(run, command):
    code, out, _ = run(*command, "--help")
    assert code == 0 and "Example" in out and "probeshift " + " ".join(command) in " ".join(out.split())


def test_an_unknown_option_is_a_usage_error(run):
    code, _, err = run("demo", "--fast")
    assert code == 2 and "--fast" in err
