"""The comparison study from the command line: a tiny model, the bundled facts, every file of the document, every mistake."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import planted
import pytest
import tiny_models
from test_cli import home, inside  # noqa: F401

from probeshift import shift
from probeshift.errors import StoreError
from probeshift.experiments.compare import STUDY_METHODS
from probeshift.probes import METHODS, find_method
from probeshift.report.comparison import FIGURES
from probeshift.results import ResultFolder
from probeshift.shift import Scoring, fit_probes, score_slice
from probeshift.summaries import generalisation

SETS = ("facts_translations", "facts_comparisons", "facts_cities_conj")
SMALL = (
    "--datasets",
    ",".join(SETS),
    "--train-limit",
    "40",
    "--selection-limit",
    "30",
    "--eval-limit",
    "30",
    "--n-resamples",
    "100",
)
DOCUMENT = (
    "r0_acc_by_layer", "r1a_by_algorithms", "r1b_by_train", "r1c_by_layer", "r2_probes", "r3a_datasets", "r3b_matrix",
    "r3c_to_and_from", "r3d_clustering", "r4_truthful_qa", "v1_arc_easy", "v2_got", "v3_repe", "v4_lda",
)  # fmt: skip
NEED_OTHER_SETS = {"r4_truthful_qa", "v1_arc_easy", "v2_got", "v3_repe"}


@pytest.fixture(scope="module")
def model():
    return tiny_models.shared("llama")


@pytest.fixture(scope="module")
def compared(home, model):  # noqa: F811
    """A finished study in a process of its own, as a user runs it."""
    environment = {**os.environ, "PROBESHIFT_CACHE": str(home / "cache")}
    command = [
        sys.executable,
        "-m",
        "probeshift",
        "crossdata",
        "compare",
        "--model",
        model,
        "--layer-skip",
        "2",
        *SMALL,
    ]
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return home / "output/comparison" / Path(model).name, done.stdout


def test_the_fourteen_figures_of_the_document_are_known_by_its_names():
    assert tuple(figure.name for figure in FIGURES) == tuple(sorted(DOCUMENT)) and len(DOCUMENT) == 14


def test_each_figure_that_can_be_drawn_has_its_numbers_beside_it_and_the_others_their_reason(compared):
    folder, out = compared
    for name in set(DOCUMENT) - NEED_OTHER_SETS:
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG"), name
        assert len(pd.read_csv(folder / f"{name}.csv")) > 0
    said = (folder / "reading.md").read_text()
    for name in NEED_OTHER_SETS:
        assert not (folder / f"{name}.png").exists() and f"- {name}: " in said and name in out


def test_the_table_has_every_method_and_a_cell_that_cannot_be_is_not_made(compared):
    rows = pd.read_parquet(compared[0] / "results.parquet")
    assert set(rows["method"]) == set(STUDY_METHODS)
    grouped = {m.name for m in METHODS if m.needs_groups}
    assert set(rows.loc[rows["train"] == "facts_cities_conj", "method"]) == set(STUDY_METHODS) - grouped
    keys = ["method", "train", "test", "split", "layer", "metric"]
    assert not rows.duplicated(keys).any()
    defined = rows[rows["value"].notna()]
    assert defined[["ci_low", "ci_high", "n"]].notna().all().all()
    assert ((defined["ci_low"] <= defined["value"] + 1e-12) & (defined["value"] <= defined["ci_high"] + 1e-12)).all()


def test_both_procedures_are_written_and_say_which_they_are(compared):
    folder = compared[0]
    strict, published = (pd.read_parquet(folder / f"{n}.parquet") for n in ("results", "results-published"))
    assert set(strict["protocol"]) == {"strict"} and set(published["protocol"]) == {"published"}
    assert set(strict["sign_source"]) == {"training data"} and set(published["sign_source"]) == {"evaluation labels"}
    table = pd.read_csv(folder / "published_vs_strict.csv").set_index("key")
    assert table.loc["number_turned", "published"] > 0 == table.loc["number_turned", "strict"]


def test_the_same_command_again_fits_and_scores_nothing(compared, run, model, monkeypatch):
    def never(*_, **__):
        raise AssertionError("computed again")

    monkeypatch.setattr(shift, "_fit", never)
    monkeypatch.setattr(shift, "measure_layer", never)
    code, out, err = run("crossdata", "compare", "--model", model, "--layer-skip", "2", *SMALL)
    assert code == 0, err
    assert "r3b_matrix.png" in out


def test_the_published_protocol_says_so_on_every_figure_table(compared, run, model, tmp_path):
    options = ("--layer-skip", "2", *SMALL, "--protocol", "published", "--output-dir", str(tmp_path))
    code, out, err = run("crossdata", "compare", "--model", model, *options)
    assert code == 0, err
    for path in (tmp_path / Path(model).name).glob("r*.csv"):
        if not path.name.startswith(("results", "r3d")):
            assert set(pd.read_csv(path)["protocol"]) == {"published"}, path.name


def test_an_extract_is_compared_without_saying_anything_again(run, model, tmp_path):
    where = ("--output-dir", str(tmp_path))
    code, _, err = run("crossdata", "extract", "--model", model, "--layer-skip", "2", *SMALL[:6], *where)
    assert code == 0, err
    code, out, err = run(
        "crossdata", "compare", "--model", model, "--eval-limit", "30", "--n-resamples", "100", "--json", *where
    )
    assert code == 0, err
    assert set(json.loads(out)["best_probe"]) == {"method", "train", "layer", "score"}
    assert set(pd.read_parquet(tmp_path / Path(model).name / "results.parquet")["train"]) == set(SETS)


def test_an_interrupted_comparison_keeps_what_is_finished_and_goes_on(home, model, tmp_path, run):  # noqa: F811
    command = ("crossdata", "compare", "--model", model, "--layer-skip", "2", *SMALL, "--output-dir", str(tmp_path))
    command_line = [sys.executable, "-m", "probeshift", *command]
    started = subprocess.Popen(command_line, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    folder, deadline = tmp_path / Path(model).name, time.monotonic() + 300
    while not list(folder.glob("probes/dim/*.json")) and started.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate()
    assert started.returncode == 130 and "continue with" in err
    finished = {path: path.read_bytes() for path in folder.glob("probes/*/*.safetensors")}
    assert finished
    code, _, err = run(*command)
    assert code == 0, err
    assert all(path.read_bytes() == content for path, content in finished.items())
    assert (folder / "r3b_matrix.png").exists()


def test_one_dataset_is_no_comparison(run, model):
    code, _, err = run("crossdata", "compare", "--model", model, "--datasets", "facts_translations")
    assert code == 2 and "at least two datasets to train on, got facts_translations" in err


def test_one_method_is_a_study_and_a_control_alone_is_none(run, model, tmp_path):
    sets = ("--datasets", "facts_translations,facts_comparisons", *SMALL[2:], "--output-dir", str(tmp_path))
    asked = ("crossdata", "compare", "--model", model, "--store-layers", "2", *sets)
    code, _, err = run(*asked, "--methods", "random")
    assert code == 2 and "needs a method that learns, got random" in err
    code, out, err = run(*asked, "--methods", "dim")
    assert code == 0 and "Only `dim` was evaluated" in out, err
    (written,) = tmp_path.glob("*/paired_tests.csv")
    assert "method_a" in written.read_text() and (written.parent / "reading.md").exists()


def test_the_plan_of_a_comparison_holds_what_it_reads_truthful_qa_too(run, model, tmp_path):
    for number, stem in enumerate(("sp_en_trans", "neg_sp_en_trans", "cities_cities_conj")):
        rows = [f"statement {i} of {stem}.,{(i + number) % 2},a{i},b{i}" for i in range(60)]
        (tmp_path / f"{stem}.csv").write_text("\n".join(["statement,label,city1,city2", *rows]))
    asked = [{"question": f"q{i}?", "mc1_targets": {f"right {i}": 1, f"wrong {i}": 0}} for i in range(40)]
    datasets = (
        "--datasets",
        "got_sp_en_trans,got_cities_cities_conj",
        "--data-dir",
        str(tmp_path),
        "--dry-run",
        "--json",
    )

    def planned():
        code, out, err = run("crossdata", "compare", "--model", model, *datasets)
        assert code == 0, err
        return {(part["dataset"], part["split"]) for part in json.loads(out)["parts"]}

    without = planned()
    (tmp_path / "TruthfulQA").mkdir()
    (tmp_path / "TruthfulQA" / "mc_task.json").write_text(json.dumps(asked))
    assert len(without) == 6 and planned() == without | {("truthful_qa", "test")}


def test_an_unknown_method_names_the_nearest_before_anything_is_read(run, model):
    code, _, err = run("crossdata", "compare", "--model", model, "--datasets", ",".join(SETS), "--methods", "dim,pcag")
    assert code == 2 and "method `pcag` not found" in err and "pca-g" in err


def test_the_kinds_of_methods_told_to_the_figures_are_those_of_the_methods():
    learned = [m for m in METHODS if not m.control]
    assert {m.name for m in learned if m.sign == "fitted"} == generalisation.SUPERVISED
    assert {m.name for m in learned if m.needs_groups} == generalisation.GROUPED


def fitted(folder, methods=("dim", "lr", "ccs"), protocol="strict"):
    train = planted.write(folder / "stores", planted.Recipe("a", planted.unit(1)))
    chosen = [find_method(name, protocol) for name in methods]
    return fit_probes(train, chosen, planted.LAYERS, ResultFolder(folder / "results"))


def test_a_test_set_of_one_class_is_undefined_with_a_reason(tmp_path):
    probes = fitted(tmp_path)
    test = planted.write(tmp_path / "stores", planted.Recipe("b", planted.unit(1), options=1), "test")
    results = ResultFolder(tmp_path / "results")
    rows = results.collect([("b", "test", score_slice(test, probes, planted.LAYERS, results, Scoring(n_resamples=20)))])
    assert rows["value"].isna().all() and rows["reason"].notna().all()


def test_a_store_that_lacks_a_layer_says_which_it_has(tmp_path):
    train = planted.write(tmp_path / "stores", planted.Recipe("a", planted.unit(1)))
    with pytest.raises(StoreError, match=r"layer 9 is not in .* \(stored: 0, 1, 2\)"):
        fit_probes(train, [find_method("lr")], (0, 9), ResultFolder(tmp_path / "results"))


def test_activations_of_another_width_are_refused(tmp_path):
    probes = fitted(tmp_path)
    narrow = planted.write(tmp_path / "stores", planted.Recipe("b", planted.unit(1, 20)), "test")
    with pytest.raises(StoreError, match=r"48 dimensions .* 20"):
        score_slice(narrow, probes, planted.LAYERS, ResultFolder(tmp_path / "results"), Scoring())


def test_a_failed_fit_is_reported_in_its_rows_and_stops_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("probeshift.probes.ccs.PUBLISHED_LOSS", 0.0)
    probes = fitted(tmp_path, protocol="published")
    test = planted.write(tmp_path / "stores", planted.Recipe("b", planted.unit(1)), "test")
    results = ResultFolder(tmp_path / "results")
    rows = results.collect(
        [("b", "test", score_slice(test, probes, planted.LAYERS, results, Scoring("published", n_resamples=20)))]
    )
    failed = rows["method"] == "ccs"
    assert (
        rows.loc[failed, "value"].isna().all()
        and rows.loc[failed, "reason"].str.startswith("fit failed: no try of 3").all()
    )
    assert rows.loc[~failed, "value"].notna().all()
    assert fitted(tmp_path / "again")[2].card.failures == (None,) * 3, "the strict procedure has no such rule"


def test_a_training_set_too_small_for_one_method_is_used_by_the_others(tmp_path):
    tiny = planted.write(tmp_path / "stores", planted.Recipe("tiny", planted.unit(1), n_questions=1))
    dim, ccs = fit_probes(
        tiny, [find_method("dim"), find_method("ccs")], planted.LAYERS, ResultFolder(tmp_path / "results")
    )
    assert dim.card.failures == (None,) * 3
    assert all("`tiny` is too small: this method needs at least 4 rows" in why for why in ccs.card.failures)


def test_a_singular_system_is_a_failed_fit_not_a_crash(tmp_path, monkeypatch):
    from torch.linalg import LinAlgError

    def singular(*_):
        raise LinAlgError("the leading minor of order 3 is not positive-definite\nmore")

    monkeypatch.setattr("probeshift.probes.logistic.solve_logistic", singular)
    (probe,) = fitted(tmp_path, methods=("lr",))
    assert probe.card.failures == ("numerically singular (the leading minor of order 3 is not positive-definite)",) * 3
