"""Cells: a direction that holds, one that is inverted, one that is not there; labels of the test set only count."""

import json

import numpy as np
import planted
import pytest

from probeshift.errors import StoreError
from probeshift.probes import METHODS, Fitted, Method, find_method
from probeshift.results import ROW_COLUMNS, ResultFolder, load_probes, probe_path
from probeshift.shift import Scoring, fit_probes, score_slice
from probeshift.summaries import Won, ceilings, recovered

HOME = planted.Recipe("home", planted.unit(1))
AWAY = planted.Recipe("away", planted.unit(1), seed=1)
INVERTED = planted.Recipe("inverted", planted.unit(1), strength=-3.0, seed=2)
ELSEWHERE = planted.Recipe("elsewhere", planted.unit(9), seed=3)
LOOSE = planted.Recipe("loose", planted.unit(1), grouped=False, seed=4)


QUICK = Scoring(n_resamples=200)


def study(tmp_path, tests, *, scoring=QUICK, methods=METHODS, layers=planted.LAYERS):
    results = ResultFolder(tmp_path / "out")
    train = planted.write(tmp_path / "acts", HOME)
    probes = fit_probes(train, methods, planted.LAYERS, results)
    contexts = []
    for recipe in tests:
        for split in ("selection", "test"):
            test = planted.write(tmp_path / "acts", recipe, split)
            contexts.append((test.dataset, test.split, score_slice(test, probes, layers, results, scoring)))
    return results, results.collect(contexts)


def value(rows, test, metric="auroc", method="dim", split="test", layer=1):
    found = rows[
        (rows.test == test)
        & (rows.metric == metric)
        & (rows.method == method)
        & (rows.split == split)
        & (rows.layer == layer)
    ]
    assert len(found) == 1
    return found.iloc[0]


def test_a_direction_holds_where_it_was_planted_and_not_elsewhere(tmp_path):
    _, rows = study(tmp_path, [HOME, AWAY, ELSEWHERE])
    assert value(rows, "home").value > 0.95 and value(rows, "away").value > 0.95
    assert value(rows, "elsewhere").ci_low < 0.5 < value(rows, "elsewhere").ci_high
    control = [value(rows, t, method="random").value for t in ("home", "away", "elsewhere")]
    assert np.mean(control) < 0.8


def test_an_inverted_direction_is_shown_inverted_and_only_the_published_protocol_folds_it(tmp_path):
    _, strict = study(tmp_path / "s", [INVERTED])
    _, published = study(tmp_path / "p", [INVERTED], scoring=Scoring("published", n_resamples=200))
    assert value(strict, "inverted").value < 0.05 and not value(strict, "inverted").flipped
    folded = value(published, "inverted")
    assert folded.value > 0.95 and folded.flipped and folded.protocol == "published"
    assert folded.sign_source == "evaluation labels" and value(strict, "inverted").sign_source == "training data"


def test_test_labels_only_count(tmp_path):
    """Twin stores, the labels of one turned round: probes and scores stay, every metric mirrors."""
    results, rows = study(tmp_path, [AWAY])
    before = {m.name: load_probes(results.folder, m.name, "home").directions.tobytes() for m in METHODS}
    test = planted.write(tmp_path / "turned", AWAY, "test")
    table = test.store.rows
    table["label"] = ~table["label"]
    table.to_parquet(test.store.folder / "rows.parquet")
    probes = [load_probes(results.folder, m.name, "home") for m in METHODS]
    turned = ResultFolder(tmp_path / "turned-out")
    mirrored = turned.collect(
        [("away", "test", score_slice(test, probes, planted.LAYERS, turned, Scoring(n_resamples=200)))]
    )
    for metric in ("accuracy", "accuracy_row", "auroc"):
        for method in ("dim", "random"):
            a, b = value(rows, "away", metric, method).value, value(mirrored, "away", metric, method).value
            assert a + b == pytest.approx(1.0)
    assert before == {m.name: load_probes(results.folder, m.name, "home").directions.tobytes() for m in METHODS}


def test_every_row_has_n_an_interval_and_its_sources(tmp_path):
    _, rows = study(tmp_path, [HOME, LOOSE])
    assert list(rows.columns) == list(ROW_COLUMNS)
    defined = rows[rows.value.notna()]
    assert len(defined) == len(rows) == 2 * 2 * len(METHODS) * len(planted.LAYERS) * 3
    assert (defined.ci_low <= defined.value + 1e-12).all() and (defined.value <= defined.ci_high + 1e-12).all()
    assert (defined.n > 0).all() and defined.ci_kind.notna().all() and (defined.sign_source == "training data").all()
    assert set(rows[(rows.test == "loose") & (rows.metric == "accuracy")].n_kind) == {"rows"}
    assert set(rows[(rows.test == "home") & (rows.metric == "accuracy")].n_kind) == {"questions"}


def test_auroc_is_not_a_copy_of_accuracy(tmp_path):
    _, rows = study(tmp_path, [AWAY, ELSEWHERE])
    wide = rows[rows.split == "test"].pivot_table(index=["method", "test", "layer"], columns="metric", values="value")
    assert (wide["accuracy"] - wide["auroc"]).abs().max() > 0.01


def test_scored_layers_are_not_scored_again_and_other_layers_join_them(tmp_path):
    results = ResultFolder(tmp_path / "out")
    probes = fit_probes(planted.write(tmp_path, HOME), METHODS, planted.LAYERS, results)
    test = planted.write(tmp_path, AWAY, "test")
    context = score_slice(test, probes, [1], results, Scoring(n_resamples=100))
    stamp = {p: p.stat().st_mtime_ns for p in results.parts("away", "test", context)}
    assert score_slice(test, probes, [0, 1, 2], results, Scoring(n_resamples=100)) == context
    assert all(p.stat().st_mtime_ns == s for p, s in stamp.items())
    rows = results.collect([("away", "test", context)])
    assert sorted(rows.layer.unique()) == [0, 1, 2] and not rows.duplicated(["method", "layer", "metric"]).any()


def test_rows_of_another_scoring_are_never_mixed_in(tmp_path):
    results, rows = study(tmp_path, [AWAY], scoring=Scoring(seed=0, n_resamples=100))
    probes = [load_probes(results.folder, m.name, "home") for m in METHODS]
    test = planted.write(tmp_path / "more", planted.Recipe("away", planted.unit(1), seed=1, n_questions=60), "test")
    context = score_slice(test, probes, planted.LAYERS, results, Scoring(n_resamples=100))
    again = results.collect([("away", "test", context)])
    assert set(again.n[again.metric == "accuracy"]) == {60}
    assert set(rows.n[(rows.metric == "accuracy")]) == {120}


def test_fitted_probes_are_read_back_not_fitted_again(tmp_path):
    results = ResultFolder(tmp_path / "out")
    train = planted.write(tmp_path, HOME)
    fit_probes(train, METHODS, planted.LAYERS, results)

    def never(*_):
        raise AssertionError("fitted again")

    frozen = [Method(m.name, m.source, never, m.sign, m.threshold, m.needs_groups, m.control) for m in METHODS]
    assert len(fit_probes(train, frozen, planted.LAYERS, results)) == len(METHODS)
    with pytest.raises(AssertionError, match="fitted again"):
        fit_probes(train, frozen, planted.LAYERS, results, seed=1)


def test_methods_that_need_questions_are_left_out_where_there_are_none(tmp_path):
    needy = Method(
        "needy",
        "test",
        lambda t, s: Fitted(np.ones((len(s), planted.D_MODEL))),
        "train labels",
        "balanced",
        needs_groups=True,
    )
    results = ResultFolder(tmp_path / "out")
    assert [
        p.card.method
        for p in fit_probes(planted.write(tmp_path, LOOSE), [needy, find_method("dim")], planted.LAYERS, results)
    ] == ["dim"]
    assert [p.card.method for p in fit_probes(planted.write(tmp_path, HOME), [needy], planted.LAYERS, results)] == [
        "needy"
    ]


def test_an_unsupervised_direction_gets_its_sign_from_training_labels(tmp_path):
    wrong_way = Method(
        "wrong_way", "test", lambda t, s: Fitted(np.tile(-planted.unit(1), (len(s), 1))), "train labels", "balanced"
    )
    results, rows = study(tmp_path, [AWAY], methods=[wrong_way])
    card = json.loads(probe_path(results.folder, "wrong_way", "home").with_suffix(".json").read_text())
    assert card["flipped"] == [True] * 3 and card["sign"] == "train labels"
    assert value(rows, "away", method="wrong_way").value > 0.95
    # the threshold came with it: accuracy by row is far above chance without seeing a test label
    assert value(rows, "away", "accuracy_row", method="wrong_way").value > 0.85


def test_probes_of_another_model_are_refused(tmp_path):
    results = ResultFolder(tmp_path / "out")
    probes = fit_probes(planted.write(tmp_path, HOME), METHODS, planted.LAYERS, results)
    foreign = planted.write(tmp_path, AWAY, "test", weights="other")
    with pytest.raises(StoreError, match=r"was fitted on planted.*other weights"):
        score_slice(foreign, probes, planted.LAYERS, results, Scoring())


def test_recovered_accuracy_has_intervals_from_the_stored_questions(tmp_path):
    results, rows = study(tmp_path, [HOME, AWAY])
    table = recovered(rows, Won.read(results), layer=1, method="dim", ceiling=ceilings(rows))
    own = table[table.test == "home"].iloc[0]
    assert own.ci_low <= own.value <= own.ci_high
    assert table[table.test == "away"].iloc[0].reason is not None, "nobody trained on `away`, so it has no ceiling"


def test_a_damaged_probe_file_is_named(tmp_path):
    results = ResultFolder(tmp_path / "out")
    train = planted.write(tmp_path, HOME)
    fit_probes(train, METHODS, planted.LAYERS, results)
    path = probe_path(results.folder, "dim", "home")
    path.write_bytes(b"not a probe")
    with pytest.raises(StoreError, match=r"dim.home\.safetensors is not a readable probe file"):
        load_probes(results.folder, "dim", "home")
