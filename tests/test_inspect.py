"""`table`, `ls`, `show`, `diff` and `doctor`: what is on disk is told as it is, and chance is not taken for a change."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny_models
from safetensors.numpy import save_file

import probeshift as ps
from probeshift.errors import UsageError
from probeshift.inspection import doctor, tables
from probeshift.inspection.comparing import compare_runs
from probeshift.results import ROW_COLUMNS, ProbeCard, ProbeFile, ResultFolder, save_probes

LAYERS = (3, 5)
TRAINS = tuple(f"set{i}" for i in range(10))
N = 200


@pytest.fixture(autouse=True)
def inside(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBESHIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def make_run(folder, *, better=(), seed=0, content="hash", level=0.7, kept=True, **settings):
    """A run on one test set: every probe wins the same questions as in every other run, but for `better` ones and, with `seed`, chance."""
    results, keys = ResultFolder(Path(folder)), [("dim", train, layer) for layer in LAYERS for train in TRAINS]
    common, own = np.random.default_rng(1), np.random.default_rng(seed)
    won = (common.random((len(keys), N)) < level).astype(float)
    if seed:
        noise = own.random(won.shape) < 0.1
        won[noise] = (own.random(noise.sum()) < level).astype(float)
    for i, (_, train, _) in enumerate(keys):
        if train in better:
            won[i, :60] = 1.0
    rows = [row for key, w in zip(keys, won, strict=True) for row in _rows(*key, w)]
    results.append("facts", "test", "c" * 64, rows, keys, won)
    results.collect([("facts", "test", "c" * 64)])
    if not kept:
        (results.folder / "results.contexts.json").unlink()
    manifest = {
        "model": {"model": "toy"}, "settings": settings, "made": {"versions": {"torch": "2"}},
        "datasets": {"facts": {"content_hash": content}},
    }  # fmt: skip
    (results.folder / "manifest.json").write_text(json.dumps(manifest))
    return results.folder


def _rows(method, train, layer, won):
    shared = {
        "model": "toy", "method": method, "seed": 0, "train": train, "test": "facts", "split": "test", "layer": layer,
        "position": "last", "protocol": "strict", "n": N, "n_kind": "questions", "chance": 0.5, "in_distribution": train == "set0",
    }  # fmt: skip
    half = 1.96 * np.sqrt(won.mean() * (1 - won.mean()) / N)
    value = {"value": won.mean(), "ci_low": won.mean() - half, "ci_high": won.mean() + half, "ci_kind": "wald"}
    yield {**dict.fromkeys(ROW_COLUMNS), **shared, **value, "metric": "accuracy"}
    yield {**dict.fromkeys(ROW_COLUMNS), **shared, "metric": "auroc", "reason": "constant scores"}


# table


@pytest.mark.parametrize(
    ("conditions", "query"),
    [
        (["layer=3"], "layer == 3"),
        (["layer!=3"], "layer != 3"),
        (["layer>3", "metric=accuracy"], "layer > 3 and metric == 'accuracy'"),
        (["layer<=3"], "layer <= 3"),
        (["train=set1,set2"], "train in ['set1', 'set2']"),
        (["train!=set1,set2"], "train not in ['set1', 'set2']"),
        (["in_distribution=true"], "in_distribution == True"),
        (["value="], "value != value"),
        (["value!="], "value == value"),
        (["value>=0.7"], "value >= 0.7"),
    ],
)
def test_conditions_keep_the_rows_that_pandas_keeps(conditions, query):
    rows = tables.read_runs([make_run("a")])
    kept = tables.where(rows, conditions)
    pd.testing.assert_frame_equal(kept, rows.query(query))
    assert 0 < len(kept) < len(rows)


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("layre=3", "Nearest: `layer`"),
        ("train=set11", "Nearest: `set1`"),
        ("layer=deep", "is no number"),
        ("layer", "is not understood"),
    ],
)
def test_a_condition_that_can_keep_nothing_by_mistake_is_told(run, condition, told):
    code, _, err = run("table", make_run("a"), "--where", condition)
    assert code == 2 and told in err


def test_the_wide_table_is_the_pivot_with_intervals_and_n_beside():
    rows = tables.where(tables.read_runs([make_run("a")]), ["metric=accuracy"])
    wide = tables.wide(rows, "train", "layer")
    assert list(wide.columns) == ["train", "3", "3 ci_low", "3 ci_high", "3 n", "5", "5 ci_low", "5 ci_high", "5 n"]
    pivot = rows.pivot(index="train", columns="layer", values="value").loc[list(TRAINS)]
    np.testing.assert_array_equal(wide[["3", "5"]].to_numpy(float), pivot.to_numpy())


def test_a_wide_table_that_would_hide_rows_says_what_to_choose():
    rows = tables.read_runs([make_run("a")])
    with pytest.raises(UsageError, match=r"layer \(2 values\), metric \(2 values\)"):
        tables.wide(rows, "train", "test")


def test_every_format_holds_the_same_rows(run):
    folder = make_run("a")
    for name in ("t.csv", "t.parquet", "t.json", "t.md"):
        code, out, err = run(
            "table", folder, "--where", "metric=accuracy", "--columns", "train,layer,value", "--output", name
        )
        assert (code, out.strip()) == (0, name), err
    frames = [pd.read_csv("t.csv"), pd.read_parquet("t.parquet"), pd.DataFrame(json.loads(Path("t.json").read_text()))]
    for frame in frames:
        np.testing.assert_allclose(frame["value"], frames[0]["value"])
        assert frame["train"].tolist() == frames[0]["train"].tolist()
    lines = Path("t.md").read_text().splitlines()
    assert len(lines) == 2 + len(frames[0]) and lines[0] == "| train | layer | value |"
    code, out, _ = run("table", folder, "--where", "metric=accuracy", "--format", "json", "--limit", 3)
    assert len(json.loads(out)["rows"]) == 3
    code, _, err = run("table", folder, "--limit", -3)
    assert code == 2 and "--limit" in err


def test_what_is_undefined_is_an_empty_cell_and_a_bar_does_not_break_the_table():
    table = pd.DataFrame({"a": ["x|y\nz", None], "value": [0.5, np.nan]})
    assert tables.to_markdown(table).splitlines()[2:] == ["| x\\|y z | 0.5 |", "|  |  |"]
    assert tables.to_records(table)[1] == {"a": None, "value": None}


def test_several_runs_are_told_apart(run):
    a, b = make_run("a"), make_run("b", better=("set1",))
    rows = tables.read_runs([a, b])
    assert rows.columns[0] == "run" and rows["run"].unique().tolist() == [str(a), str(b)]


# ls, show


@pytest.fixture
def probe():
    card = ProbeCard(
        fit_id="f", method="dim", source="s", model="toy", model_weights="w", dtype="float32", train="cities", family="facts",
        position="last", layers=LAYERS, n_rows=8, n_questions=4, seed=0, layer_seeds=(5, 6), sign="fitted", threshold="midpoint",
        control=False, flipped=(False, True), failures=(None, "not converged"),
    )  # fmt: skip
    return ProbeFile(card, np.ones((2, 4), np.float32), np.zeros(2))


@pytest.fixture
def store():
    model = ps.load_model(str(tiny_models.shared("llama")), dtype="float32")
    return ps.read_activations(model, ps.load_dataset("facts_cities_affirmed").split("train", 5), layers=[1, 2])


def test_ls_finds_what_is_there_with_its_size(run, probe, store):
    save_probes(make_run("runs/one"), probe)
    save_probes(Path("loose"), probe)
    save_file({"x": np.ones(3, np.float32)}, "vectors.safetensors", {"probeshift": "{}", "card:honesty": "{}"})
    save_file({"x": np.ones(3, np.float32)}, "other.safetensors")
    (store.folder / "index.json").rename(store.folder / "index.bak")
    code, out, err = run("ls", ".", "--json")
    assert code == 0, err
    items = {(i["kind"], Path(i["path"]).name): i for i in json.loads(out)["items"]}
    assert set(items) == {
        ("run", "one"), ("probe", "cities.safetensors"), ("vectors", "vectors.safetensors"), ("unfinished store", store.folder.name),
    }  # fmt: skip
    assert items["run", "one"]["bytes"] == sum(p.stat().st_size for p in Path("runs/one").rglob("*") if p.is_file())
    assert (
        "toy, 40 rows, 1 probe files" in items["run", "one"]["what"]
        and "honesty" in items["vectors", "vectors.safetensors"]["what"]
    )
    code, out, err = run("ls", "rusn")
    assert code == 2 and "Nearest: `runs`" in err


def test_show_tells_probe_run_and_store(run, probe, store):
    save_probes(make_run("one"), probe)
    told = json.loads(run("show", "one/probes/dim/cities.safetensors", "--json")[1])
    assert told["threshold"] == "score > 0 (midpoint)" and told["model"] == "toy" and told["d_model"] == 4
    assert [at["failure"] for at in told["layers"]] == [None, "not converged"]
    told = json.loads(run("show", "one", "--json")[1])
    assert told["rows"]["n"] == 40 and told["rows"]["undefined"] == 20 and told["probes"] == {"dim": 1}
    told = json.loads(run("show", store.folder, "--json")[1])
    assert told["n_rows"] == len(store.rows) and told["shards"] == "1 of 1" and told["layers"] == [1, 2]
    for path in ("one", store.folder, "one/probes/dim/cities.safetensors"):
        assert run("show", path)[0] == 0
    code, _, err = run("show", "one/probes")
    assert code == 2 and "probeshift ls" in err


# diff


def test_a_run_does_not_differ_from_itself(run):
    a = make_run("a")
    found = compare_runs(a, a)
    assert found.settings == () and found.counts()["changed"] == found.counts()["beyond_noise"] == 0
    assert found.counts()["equal"] == found.counts()["undefined_in_both"] == 20
    assert found.counts()["cells"] == 40 and found.counts()["tested_paired"] == 20


def test_planted_changes_are_found_and_chance_is_not():
    a, b = make_run("a"), make_run("b", seed=5, better=("set3", "set7"))
    cells = compare_runs(a, b).cells.query("metric == 'accuracy'")
    assert set(cells[cells["beyond_noise"].eq(True)]["train"]) == {"set3", "set7"}
    assert (cells["difference"].abs() > 0).sum() >= 15, "chance changed most cells"
    planted = cells[cells["train"].isin(["set3", "set7"])]
    assert (
        (planted["ci_low"] > 0).all()
        and (planted["difference"] > planted["ci_low"]).all()
        and set(cells["how"]) == {"paired"}
    )


def test_pairing_sees_what_intervals_cannot():
    a, b = make_run("a"), make_run("b", better=("set3",))
    paired = compare_runs(a, b).cells.query("train == 'set3' and metric == 'accuracy'")
    assert paired["beyond_noise"].eq(True).all()
    loose = compare_runs(make_run("c", kept=False), b).cells.query("train == 'set3' and metric == 'accuracy'")
    assert set(loose["how"]) == {"intervals"} and loose["beyond_noise"].eq(False).all()


def test_other_questions_are_not_paired():
    a, b = make_run("a"), make_run("b", content="other hash", better=("set3",))
    found = compare_runs(a, b)
    assert "paired" not in set(found.cells["how"])
    assert ("data.facts", "hash", "other hash") in found.settings


def test_a_far_change_is_beyond_noise_by_intervals_too():
    a, b = make_run("a", kept=False, level=0.3), make_run("b", kept=False, level=0.8)
    cells = compare_runs(a, b).cells.query("metric == 'accuracy'")
    assert set(cells["how"]) == {"intervals"} and cells["beyond_noise"].eq(True).all()


def test_undefined_values_are_told_as_not_told():
    cells = compare_runs(make_run("a"), make_run("b", seed=5)).cells.query("metric == 'auroc'")
    assert set(cells["how"]) == {"not told"} and cells["beyond_noise"].isna().all() and cells["difference"].isna().all()


def test_false_alarms_stay_rare_where_nothing_changed():
    alarms = [
        compare_runs(make_run(f"a{s}", seed=s), make_run(f"b{s}", seed=s + 50)).counts()["beyond_noise"]
        for s in range(1, 11)
    ]
    assert sum(alarm > 0 for alarm in alarms) <= 2  # 5 % of ten comparisons are expected


def test_diff_prints_what_was_done_differently_and_what_changed(run):
    a, b = make_run("a", train_limit=40), make_run("b", train_limit=80, better=("set3",))
    code, out, err = run("diff", a, b, "--output", "cells.csv")
    assert code == 0, err
    assert "settings.train_limit: 40 -> 80" in out and "set3" in out
    assert len(pd.read_csv("cells.csv")) == 40
    told = json.loads(run("diff", a, b, "--json")[1])
    assert told["counts"]["beyond_noise"] == 2 and {c["train"] for c in told["cells"]} == {"set3"}


def test_runs_with_nothing_in_common_are_refused(run):
    rows = tables.read_runs([make_run("a")])
    rows.assign(train="elsewhere").to_parquet("other.parquet")
    code, _, err = run("diff", "a", "other.parquet")
    assert code == 2 and "no cell in common" in err


# doctor


def test_a_gpu_that_torch_cannot_use_is_told():
    assert doctor.gpu(["H200"], [], cuda_build=False).told.startswith("GPU present but CPU wheel")
    assert doctor.gpu(["H200"], [], cuda_build=True).level == "warning"
    assert doctor.gpu(["H200"], ["H200, 100 of 140 GB free"], cuda_build=True).level == "ok"
    assert doctor.gpu([], [], cuda_build=False).level == "ok"


def test_doctor_proves_a_named_model_and_fails_with_a_bad_one(run):
    code, out, err = run("doctor", "--model", tiny_models.shared("gpt2"), "--json")
    assert code == 0, err
    found = {f["name"]: f for f in json.loads(out)["findings"]}
    assert "hooks equal hidden states at" in found["parity"]["told"]
    assert {"python", "packages", "torch", "gpu", "cache", "models"} <= set(found)
    code, out, _ = run("doctor", "--model", "no-such-model")
    assert code == 1 and "problem" in out


def test_a_full_disk_is_a_warning(monkeypatch):
    import shutil

    monkeypatch.setattr(doctor, "FREE_AT_LEAST", shutil.disk_usage(".").total * 2)
    (cache,) = (f for f in doctor.examine() if f.name == "cache")
    assert cache.level == "warning" and "PROBESHIFT_CACHE" in cache.remedy


def test_a_probe_of_a_failed_fit_is_not_used(probe):
    save_probes(Path("loose"), replace(probe))
    with pytest.raises(UsageError, match="not converged"):
        ps.open_probe("loose/probes/dim/cities.safetensors", 5)
    assert ps.open_probe("loose/probes/dim/cities.safetensors", 3).probe.layer == 3
