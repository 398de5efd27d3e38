"""A sweep over a planted cache, through the command line: the study's files, honest blanks, controls that find what was planted."""

import json
import pickle
import signal
import sys
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from planted_sweep import SETS, copies, write_cache
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probeshift import cli
from probeshift.mixture_scores import Mixture, MixtureScores, load_scores
from probeshift.report.html.orders import orders
from probeshift.report.html.run_folder import RunFolder
from probeshift.results import ROW_COLUMNS
from probeshift.summaries.sweep import SetRole, SweepSets, compare_steps, conclude
from probeshift.summaries.sweep.controls import leave_one_out

FOLDER = "results/distribution_sweep"
NAMES = ("base", "add_sycophant", "add_organisms", "add_benchmark")


@pytest.fixture
def run(run):
    """`probeshift sweep ...` in this process; gives exit code, stdout, stderr."""
    return lambda *args: run("sweep", *args)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One run of the bundled configuration; read by many tests, written by none."""
    home = tmp_path_factory.mktemp("sweep")
    write_cache(home / "cache" / "layer_40")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr(sys, "argv", ["probeshift", "sweep", "run"])
        before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])
    assert not stop.value.code
    return home


def step(home, number):
    return json.loads((home / FOLDER / f"step_{number}_{NAMES[number]}.json").read_text())


def comparison(home):
    return json.loads((home / FOLDER / "comparison.json").read_text())


def said(home, what):
    return "\n".join(comparison(home)["conclusions"][what])


def test_the_studys_files_are_there_with_its_fields(finished):
    for number, name in enumerate(NAMES):
        values = step(finished, number)
        assert (values["step"], values["name"]) == (number, name)
        assert sum(values["training_breakdown"].values()) == values["n_training_samples"]
        assert values["n_features"] == 160
        assert {"training_data", "train_accuracy", "cv_auroc_mean", "cv_auroc_std"} <= set(values)
        for found in values["evaluation"].values():
            assert {"auroc", "accuracy", "n_samples", "af_samples"} <= set(found)
    assert list(step(finished, 0)["evaluation"]) == ["gold_106", "sycophant", "model_organism", "benchmark"]
    for name in (
        "report.txt",
        "auroc_by_step.png",
        "gap_by_step.png",
        "gain_per_row.png",
        "results.parquet",
        "results.csv",
    ):
        assert (finished / FOLDER / name).stat().st_size > 0


def test_steps_add_sources_and_only_their_training_part(finished):
    sizes = [step(finished, k)["n_training_samples"] for k in range(4)]
    assert sizes == [150, 150 + 32, 150 + 32 + 40, 150 + 32 + 40 + 144]
    assert step(finished, 3)["evaluation"]["benchmark"]["n_samples"] == 36


def test_a_set_of_one_class_has_no_auroc_but_detections_with_an_interval(finished):
    for number in range(4):
        found = step(finished, number)["evaluation"]["sycophant"]
        assert found["auroc"] is None and found["auroc_reason"] == "single_class:positive"
        assert found["accuracy"] is None
        at = {d["target_fpr"]: d for d in found["detection"]}
        assert at[0.01]["detected"] is None and at[0.01]["reason"].startswith("not_resolvable")
        assert 0 <= at[0.05]["detected"]["low"] <= at[0.05]["detected"]["value"] <= at[0.05]["detected"]["high"] <= 1
        assert at[0.05]["false_positives"]["reason"] == "single_class:positive"
        assert found["cross_set_auroc"]["against"] == "negatives of gold_106"
    assert step(finished, 0)["evaluation"]["benchmark"]["cross_set_auroc"] is None


def test_auroc_and_cross_validation_are_those_of_scikit_learn_on_the_same_rows(finished):
    scores = load_scores(finished / FOLDER / "scores")
    values = np.concatenate([np.load(finished / "cache/layer_40" / f"{n}_activations.npy") for n in
                             ("train", "sycophant", "model_organism", "benchmark", "test")]).astype(np.float64)  # fmt: skip
    for number in range(4):
        members = scores.members[scores.of_step(number)]
        probe = LogisticRegression(C=10.0, solver="newton-cholesky", tol=1e-12, max_iter=10_000)
        oracle = make_pipeline(StandardScaler(), probe).fit(values[members], scores.labels[members])
        test = scores.where("gold_106")
        expected = roc_auc_score(scores.labels[test], oracle.decision_function(values[test]))
        assert step(finished, number)["evaluation"]["gold_106"]["auroc"] == pytest.approx(expected, abs=1e-9)


def test_out_of_fold_scores_come_from_probes_that_did_not_see_the_row(finished):
    scores = load_scores(finished / FOLDER / "scores")
    by_row, members = scores.out_of_fold["base"], scores.members[scores.of_step(0)]
    assert np.isnan(by_row[:, ~members]).all() and np.isfinite(by_row[:, members]).all()
    seen = scores.scores[scores.of_step(0)][members]
    labels = scores.labels[members]
    assert (
        np.abs(by_row[0, members]) < np.abs(seen)
    ).mean() > 0.7  # rows a probe was fitted on are further from its boundary
    assert roc_auc_score(labels, seen) == 1.0


def test_the_pickle_gives_others_the_same_scores_as_the_safetensors_copy(finished):
    from safetensors.numpy import load_file

    rows = np.load(finished / "cache/layer_40/test_activations.npy").astype(np.float64)
    for number in range(4):
        pipeline = pickle.loads((finished / FOLDER / f"step_{number}_probe.pkl").read_bytes())
        ours = load_file(finished / FOLDER / f"step_{number}_probe.safetensors")
        np.testing.assert_allclose(pipeline.decision_function(rows), rows @ ours["direction"] + ours["bias"], atol=1e-9)


def test_a_probe_pickle_is_never_opened(finished, run, monkeypatch):
    monkeypatch.chdir(finished)
    monkeypatch.setattr(pickle, "load", None)
    monkeypatch.setattr(pickle, "loads", None)
    assert run("compare")[0] == 0
    assert run("run", "--steps", "0")[0] == 0


def test_the_native_table_has_every_metric_of_every_step(finished):
    rows = pd.read_parquet(finished / FOLDER / "results.parquet")
    assert list(rows.columns) == list(ROW_COLUMNS)
    assert set(rows["metric"]) == {"auroc", "accuracy_row", "detection_at_fpr_0.01", "detection_at_fpr_0.05"}
    assert len(rows) == 4 * 4 * 4
    assert rows.loc[rows["value"].isna(), "reason"].notna().all()
    assert (
        rows.loc[rows["test"].eq("sycophant") & rows["metric"].eq("auroc"), "reason"].eq("single_class:positive").all()
    )


def test_the_source_of_the_gain_is_found_and_the_step_before_it_is_not(finished):
    found = comparison(finished)
    assert (
        found["first_gain"]["benchmark"]["step"] == 3
    )  # its own source; earlier ones share nothing but one weak feature
    assert found["first_gain"]["gold_106"]["step"] is None
    gain = next(g for g in found["gains"] if g["set"] == "benchmark" and g["to"] == 3)
    assert gain["ci"][0] > 0 and gain["p_holm"] >= gain["p"]
    best = max(found["marginal"]["gains"], key=lambda g: g["shapley"])
    assert best["source"] == "benchmark"


def test_too_few_resamples_for_so_many_tests_are_reported_and_enough_are_not(finished):
    found = comparison(finished)
    assert not any("can be told from 0. Set n_resamples" in s for s in found["conclusions"]["may_not"])
    few = conclude({**found, "n_resamples": 100})
    assert any("Set n_resamples: 241 or more" in s for s in few["may_not"])  # 12 tests at a level of 0.05


def test_more_sources_are_told_from_more_rows(finished):
    rows = {(r["step"], r["set"]): r for r in comparison(finished)["size_matched"]}
    assert rows[3, "benchmark"]["n_rows"] == 150
    assert rows[3, "benchmark"]["more_sources_ci"][0] > 0
    low, high = rows[1, "benchmark"]["more_sources_ci"]
    assert low < 0 < high
    said = [s for s in comparison(finished)["conclusions"]["may"] if s.startswith("On benchmark, as many rows")]
    assert len(said) == 1 and "at step 3 (its own source" in said[0] and "at step 1" not in said[0]


def test_a_left_out_source_is_scored_by_a_probe_that_saw_none_of_it(finished):
    found = {r["left_out"]: r for r in comparison(finished)["leave_one_out"]}
    scores = load_scores(finished / FOLDER / "scores")
    index = scores.trained_on(["alignment-faking-training", "sycophant", "model_organism"])
    rows = scores.where("benchmark")
    assert not (scores.members[index] & rows).any()
    assert found["benchmark"]["n"] == 180
    assert found["benchmark"]["auroc"] == pytest.approx(roc_auc_score(scores.labels[rows], scores.scores[index][rows]))
    assert found["benchmark"]["auroc"] < step(finished, 3)["evaluation"]["benchmark"]["auroc"]
    assert found["sycophant"]["auroc"] is None


def test_a_left_out_source_is_not_tested_on_what_the_others_speak_of(finished):
    scores = load_scores(finished / FOLDER / "scores")
    index = scores.trained_on(["alignment-faking-training", "sycophant", "model_organism"])
    rows = scores.rows.copy()
    benchmark, trained = np.flatnonzero(scores.where("benchmark")), np.flatnonzero(scores.members[index])
    rows.loc[benchmark[:30], "group"] = rows["group"].to_numpy()[trained[:30]]
    sets = SweepSets((), None, (0.05,), 20, 0)
    before, after = (
        next(r for r in leave_one_out(found, sets) if r["left_out"] == "benchmark")
        for found in (scores, replace(scores, rows=rows))
    )
    assert (before["n"], before["n_shared"], after["n"], after["n_shared"]) == (180, 0, 150, 30)
    kept = benchmark[30:]
    assert after["auroc"] == pytest.approx(roc_auc_score(scores.labels[kept], scores.scores[index][kept]))


def test_means_say_how_many_sets_they_hold_and_the_worst_is_named(finished):
    gap = comparison(finished)["gaps"][0]
    assert (gap["n_defined"], gap["n_sets"], gap["worst"]) == (1, 3, "benchmark")
    assert gap["sets"]["sycophant"] == {"gap": None, "reason": "single_class", "source_trained_on": False}
    assert gap["mean"] == pytest.approx(
        step(finished, 0)["evaluation"]["gold_106"]["auroc"] - step(finished, 0)["evaluation"]["benchmark"]["auroc"]
    )


def test_sources_that_are_all_positive_are_reported_as_giving_the_label_away(finished):
    assert step(finished, 0)["source_predicts_label"]["cramers_v"] is None
    assert step(finished, 2)["source_predicts_label"]["cramers_v"] > 0.5
    text = (finished / FOLDER / "report.txt").read_text()
    assert "tells the behaviour and not the source" in text.split("What may not be concluded")[1]
    assert text.rstrip().splitlines()[-1].startswith(("-", " "))  # the list closes the report


def test_another_extraction_is_reported_before_any_claim(tmp_path, run, monkeypatch, finished):
    assert not any(row["mismatch"] for row in comparison(finished)["activity"])
    write_cache(tmp_path / "cache/layer_40", scale={"benchmark": 0.1})
    monkeypatch.chdir(tmp_path)
    code, out, _ = run("run", "--json")
    assert code == 0
    found = json.loads(out)
    assert [r["set"] for r in found["activity"] if r["mismatch"]] == ["benchmark"]
    assert found["conclusions"]["first"][0].startswith(
        "The features of benchmark are not at the level of alignment-faking"
    )
    assert comparison(finished)["conclusions"]["first"] == []
    text = (tmp_path / FOLDER / "report.txt").read_text()
    assert (
        text.index("Before any claim")
        < text.index("features of benchmark are not")
        < text.index("What may be concluded")
    )
    assert "Before any claim" not in (finished / FOLDER / "report.txt").read_text()


def test_length_that_tells_the_label_is_reported_and_length_that_does_not_is_not(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = write_cache(tmp_path / "cache/layer_40")
    rng = np.random.default_rng(0)
    path = cache / "benchmark_labels.json"
    words = json.loads(path.read_text())["labels"]
    lengths = [int(rng.integers(20, 60) + 25 * (word == "alignment_faking")) for word in words]
    path.write_text(json.dumps({"labels": words, "token_counts": lengths}))
    assert run("run", "--steps", "0")[0] == 0
    found = step(tmp_path, 0)["evaluation"]
    assert found["benchmark"]["length_only_auroc"] > 0.7 and found["gold_106"]["length_only_auroc"] is None
    assert any("more than length" in s for s in comparison(tmp_path)["conclusions"]["may_not"])
    path.write_text(json.dumps({"labels": words, "token_counts": rng.integers(20, 60, len(words)).tolist()}))
    assert run("run", "--steps", "0")[0] == 0
    assert not any("more than length" in s for s in comparison(tmp_path)["conclusions"]["may_not"])


def test_copies_of_test_texts_are_counted_and_can_be_left_out(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    copies(tmp_path)
    assert run("run", "--config", "sweep.yaml")[0] == 0
    found = {(d["source"], d["test"]): d for d in comparison(tmp_path)["duplicates"]}
    assert found["alignment-faking-training", "gold_106"]["train_rows"] == list(range(10))
    assert found["sycophant", "gold_106"]["n_train_rows"] == 0
    assert "10 training rows of alignment-faking-training nearly repeat 10" in said(tmp_path, "may_not")
    with_copies = step(tmp_path, 0)
    copies(tmp_path, remove_near_duplicates=True)
    assert run("run", "--config", "sweep.yaml")[0] == 0
    without = step(tmp_path, 0)
    assert (with_copies["n_training_samples"], without["n_training_samples"]) == (150, 140)
    assert "never seen" not in said(tmp_path, "may_not")
    assert "10 rows of alignment-faking-training that nearly repeat 10 texts of gold_106" in said(tmp_path, "may")
    assert "140 + 0 (10 unused)" in (tmp_path / FOLDER / "report.txt").read_text()


def test_a_copy_that_is_held_out_is_not_called_trained_on_and_stays_in_its_test(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    held_out = {}
    for remove in (False, True):
        copies(tmp_path, also="benchmark", remove_near_duplicates=remove)
        assert run("run", "--config", "sweep.yaml")[0] == 0
        found = {(d["source"], d["test"]): d for d in comparison(tmp_path)["duplicates"]}["benchmark", "gold_106"]
        rows = load_scores(tmp_path / FOLDER / "scores").rows
        parts = rows.loc[rows["set"].eq("benchmark"), "part"].iloc[:40].to_numpy()
        assert 0 < found["n_train_rows"] == (parts != "held_out").sum() < 40
        held_out[remove] = step(tmp_path, 3)["evaluation"]["benchmark"]["n_samples"]
    assert held_out[True] == held_out[False]


def test_rows_of_one_group_are_never_on_both_sides_of_a_fold():
    from probeshift.mixtures.fitting import Fitting, fold_numbers

    rng = np.random.default_rng(0)
    groups = rng.integers(40, size=200).astype(str)
    labels = rng.random(200) < 0.4
    folds = fold_numbers(labels, groups, Fitting(1.0, 5, 3, 0))
    assert folds.shape == (3, 200)
    assert all(len(set(row[groups == g])) == 1 for row in folds for g in set(groups))
    assert not (folds[0] == folds[1]).all()  # repeats draw the split anew
    alone = fold_numbers(labels, np.arange(200).astype(str), Fitting(1.0, 5, 1, 0))[0]
    assert all(abs(labels[alone == f].mean() - labels.mean()) < 0.02 for f in range(5))


def test_nothing_that_was_fitted_is_fitted_again(finished, run, monkeypatch):
    monkeypatch.chdir(finished)
    before = comparison(finished)

    def refuse(*args, **kwargs):
        raise AssertionError("fitted again")

    monkeypatch.setattr("probeshift.mixtures.fitting.solve_standardised", refuse)
    assert run("run")[0] == 0
    assert comparison(finished) == before
    with pytest.raises(AssertionError, match="fitted again"):
        (finished / FOLDER / "step_0_probe.safetensors").rename(finished / "kept")
        try:
            run("run")
        finally:
            (finished / "kept").rename(finished / FOLDER / "step_0_probe.safetensors")


def test_steps_run_apart_end_as_one_run_does(tmp_path, run, monkeypatch, finished):
    write_cache(tmp_path / "cache/layer_40")
    monkeypatch.chdir(tmp_path)
    assert run("run", "--steps", "0", "1")[0] == 0
    assert comparison(tmp_path)["steps"] == [0, 1]
    assert run("run", "--steps", "2,3")[0] == 0
    assert comparison(tmp_path)["steps"] == [0, 1, 2, 3]
    assert [step(tmp_path, k)["evaluation"]["gold_106"] for k in range(4)] == [
        step(finished, k)["evaluation"]["gold_106"] for k in range(4)
    ]


def test_compare_and_report_need_no_activations(finished, tmp_path, run, monkeypatch):
    import shutil

    shutil.copytree(finished / FOLDER, tmp_path / FOLDER)
    monkeypatch.chdir(tmp_path)
    assert run("run", "--compare-only")[0] == 0
    code, out, _ = run("report", "--output", "mine.txt")
    assert (code, out.strip()) == (0, "mine.txt")
    assert (tmp_path / "mine.txt").read_text() == (finished / FOLDER / "report.txt").read_text()


def test_compare_without_a_run_says_what_to_do(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, err = run("compare")
    assert code == 1 and "probeshift sweep run" in err


def extraction(home, **of_benchmark):
    """The planted cache with the study's extraction_config in every labels file."""
    cache = write_cache(home / "cache/layer_40")
    for name, (a, b, _) in SETS.items():
        words = np.load(cache / f"{name}_labels.npy").tolist() if name in ("train", "test") else None
        held = {"labels": words} if words else json.loads((cache / f"{name}_labels.json").read_text())
        config = {"model": "gemma", "dtype": "bfloat16", "max_length": 2048, "elapsed_seconds": a + b}
        held["extraction_config"] = {**config, **(of_benchmark if name == "benchmark" else {})}
        (cache / f"{name}_labels.json").write_text(json.dumps(held))
    return cache


def parity(home):
    return {row["set"]: row["same"] for row in comparison(home)["extraction"]}


def test_sets_that_were_not_extracted_alike_are_reported_before_any_claim(tmp_path, run, monkeypatch, finished):
    assert set(parity(finished).values()) == {None}  # nothing is on record, which is not called alike
    assert any("nothing is on record" in s for s in comparison(finished)["conclusions"]["may_not"])
    monkeypatch.chdir(tmp_path)
    extraction(tmp_path)
    assert run("run", "--steps", "0")[0] == 0
    assert set(parity(tmp_path).values()) == {True}
    extraction(tmp_path, max_length=512)
    assert run("run", "--steps", "0")[0] == 0
    assert [name for name, same in parity(tmp_path).items() if not same] == ["benchmark"]
    first = comparison(tmp_path)["conclusions"]["first"][0]
    assert first.startswith("benchmark was not extracted as") and "max_length (2048 and 512)" in first


def test_a_set_on_record_as_extracted_alike_is_not_called_extracted_otherwise(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = extraction(tmp_path)
    for part in ("known", "unknown"):
        values = np.load(cache / "sycophant_activations.npy")
        np.save(cache / "sycophant_activations.npy", values * (10 if part == "known" else 1))
        if part == "unknown":
            words = json.loads((cache / "sycophant_labels.json").read_text())["labels"]
            (cache / "sycophant_labels.json").write_text(json.dumps(words))
        assert run("run", "--steps", "0")[0] == 0
        text = said(tmp_path, "first")
        assert ("on record as extracted alike" in text) == (part == "known")
        assert ("Until it is known" in text) == (part == "unknown")


@pytest.mark.parametrize(("off", "same"), [(0.001, True), (0.2, False)])
def test_reference_prompts_with_other_features_tell_another_extraction(tmp_path, run, monkeypatch, off, same):
    monkeypatch.chdir(tmp_path)
    cache = write_cache(tmp_path / "cache/layer_40")
    reference = np.random.default_rng(0).random((8, 160), dtype=np.float32)
    for name in SETS:
        np.save(cache / f"{name}_reference.npy", reference * (1 + off if name == "sycophant" else 1))
    assert run("run", "--steps", "0")[0] == 0
    assert parity(tmp_path)["sycophant"] is same
    assert parity(tmp_path)["benchmark"] is True


def test_the_report_shows_what_stands_for_the_auroc_of_a_set_of_one_class(finished):
    text = (finished / FOLDER / "report.txt").read_text()
    table = text.split("Sets of one class: ")[1].split("\n\n")[0]
    crossed = step(finished, 0)["evaluation"]["sycophant"]["cross_set_auroc"]
    assert crossed["n"] == 8 and crossed["n_against"] == 55
    assert f"{crossed['value']:.3f} [{crossed['value_ci'][0]:.3f}, {crossed['value_ci'][1]:.3f}]" in table
    assert not any(line.startswith("benchmark") for line in table.splitlines())
    scores = load_scores(finished / FOLDER / "scores")
    rows = scores.where("sycophant", "held_out") | (scores.where("gold_106") & ~scores.labels)
    oracle = roc_auc_score(scores.labels[rows], scores.scores[scores.of_step(0)][rows])
    assert crossed["value"] == pytest.approx(oracle)


def table_of(home, title):
    """The lines of a table of the report, its title first."""
    lines = (home / FOLDER / "report.txt").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(title))
    return lines[start : lines.index("", start)]


def test_a_gap_to_a_set_whose_source_is_in_training_is_marked(finished):
    _, _, head, *lines = table_of(finished, "Gap: ")
    assert head.endswith("benchmark")
    assert [line.endswith("*") for line in lines] == [False, False, False, True]
    figure = pd.read_csv(finished / FOLDER / "gap_by_step.csv")
    assert not figure["set"].str.startswith("mean").any()  # of one set it would be that set once more
    assert figure.loc[figure["set"].eq("benchmark"), "source_trained_on"].tolist() == [False, False, False, True]


def test_an_exact_bound_is_told_from_the_resampled_ones_beside_it(finished):
    crossed = [step(finished, k)["evaluation"]["sycophant"]["cross_set_auroc"] for k in range(4)]
    perfect = [c["value"] == 1.0 for c in crossed]
    assert any(perfect) and not all(perfect)
    title, _, _, *lines = table_of(finished, "Sets of one class")
    assert "† all resamples are equal: an exact bound, wider than" in title
    assert ["†" in line for line in lines if line.startswith("sycophant")] == perfect
    assert "†" not in "".join(table_of(finished, "AUROC with"))


def swept(by_step, n):
    """Scores on one set of n positives and n negatives: what to add to the positives at each step."""
    noise = np.random.default_rng(0).normal(size=2 * n)
    labels = np.arange(2 * n) < n
    rows = pd.DataFrame({"set": "away", "part": "test", "label": labels, "group": [f"away {i}" for i in range(2 * n)]})
    mixtures = tuple(Mixture(f"s{k}", "step", (f"source {k}",), k) for k in range(len(by_step)))
    scores = np.stack([noise + shift * labels for shift in by_step])
    steps = {k: {"n_training_samples": 100 * (k + 1), "thresholds": []} for k in range(len(by_step))}
    found = MixtureScores(rows, mixtures, scores, np.zeros(scores.shape, dtype=bool), {}, {})
    return compare_steps(found, steps, SweepSets((SetRole("away", None, True),), None, (0.05,), 1000, 0))


def test_the_first_gain_is_the_step_where_the_set_first_does_better_and_losses_are_named():
    found = swept([0.0, 0.0, 3.0, 3.0, 0.0], 60)
    assert found["first_gain"]["away"] == {"step": 2, "losses": [4], "n_tested": 4}
    assert [g["difference"] == 0 for g in found["gains"]] == [True, False, True, False]


def test_three_rows_of_a_class_tell_no_gain_however_large_and_twelve_do():
    few, enough = swept([-9.0, 9.0], 3), swept([-9.0, 9.0], 12)
    assert few["gains"][0]["difference"] == enough["gains"][0]["difference"] == 1.0
    assert few["gains"][0]["p"] == pytest.approx(2 * 0.5**3) and few["first_gain"]["away"]["step"] is None
    assert enough["first_gain"]["away"]["step"] == 1


def test_the_page_lists_steps_in_their_order(finished):
    found = orders(RunFolder.open(finished / FOLDER))
    assert next(iter(found)) == "run" and found["run"][:4] == list(NAMES)


def test_the_report_has_the_accuracy_of_every_set_that_has_one(finished):
    text = (
        (finished / FOLDER / "report.txt").read_text().split("Accuracy at a probability of a half")[1].split("\n\n")[0]
    )
    assert f"{step(finished, 3)['evaluation']['gold_106']['accuracy']:.3f}" in text


def test_a_class_with_one_row_gives_no_cross_validation_and_says_so(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_cache(tmp_path / "cache/layer_40", {**SETS, "train": (1, 90, 0)})
    assert run("run", "--steps", "0")[0] == 0
    found = step(tmp_path, 0)
    assert (found["cv_auroc_mean"], found["cv_reason"]) == (None, "too_few_rows_of_a_class_to_fold")
    assert found["thresholds"][0]["score"] is None
    assert found["evaluation"]["gold_106"]["auroc"] is not None
