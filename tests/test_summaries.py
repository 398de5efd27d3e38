"""Rows to tables: ceilings, recovered accuracy, best layer, matrices, imports of published results."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_anchors import FOLDER, FORK

from probeshift.errors import MissingError, UsageError
from probeshift.metrics import measure
from probeshift.results import ROW_COLUMNS
from probeshift.summaries import (
    CellKey,
    Won,
    best_layer,
    by_layer,
    ceilings,
    import_reference,
    matrix,
    ood_mean,
    recovered,
)

DATA = Path(os.environ.get("PROBESHIFT_DATA", "../shared/data"))
PUBLISHED = DATA / "reference_results" / "repeng_ensemble"
SETS = ("cities", "facts", "maths")


def row(**given):
    blank = dict.fromkeys(ROW_COLUMNS)
    usual = {
        "model": "tiny", "method": "dim", "seed": 0, "split": "test", "layer": 4, "position": "last", "n": 100,
        "n_kind": "questions", "protocol": "strict", "metric": "accuracy", "ci_kind": "clopper_pearson", "chance": 0.5,
        "limited": False, "related": False,
    }  # fmt: skip
    made = {**blank, **usual, **given}
    made["in_distribution"] = made["train"] == made["test"]
    made["ci_low"], made["ci_high"] = made["value"] - 0.05, made["value"] + 0.05
    return made


def grid(accuracy, *, sets=SETS, methods=("dim", "random"), layers=(4, 8), splits=("selection", "test")):
    """Rows of a full grid with `accuracy(method, train, test, split, layer)`."""
    return pd.DataFrame(
        [
            row(method=m, train=a, test=b, split=s, layer=layer, value=accuracy(m, a, b, s, layer))
            for m in methods
            for a in sets
            for b in sets
            for s in splits
            for layer in layers
        ]
    )


def plain(method, train, test, split, layer):
    if method == "random":
        return 0.5
    return (0.9 if train == test else 0.7) + (0.05 if layer == 8 else 0.0) - (0.02 if split == "test" else 0.0)


def test_a_ceiling_is_chosen_on_selection_and_judged_on_test():
    def accuracy(method, train, test, split, layer):
        if method == "random":
            return 0.99  # a control never sets the ceiling
        return {("selection", 4): 0.9, ("selection", 8): 0.8, ("test", 4): 0.85, ("test", 8): 0.95}[split, layer]

    table = ceilings(grid(accuracy)).set_index("test")
    assert (table["layer"] == 4).all() and (table["value"] == 0.85).all() and (table["method"] == "dim").all()
    on_test = ceilings(grid(accuracy), selected_on="test").set_index("test")
    assert (
        (on_test["layer"] == 8).all() and (on_test["value"] == 0.95).all() and (on_test["selected_on"] == "test").all()
    )


def test_a_set_nobody_trained_on_has_no_ceiling_and_says_why():
    rows = grid(plain)
    extra = pd.DataFrame([row(train="cities", test="truth", split=s, value=0.4) for s in ("selection", "test")])
    rows = pd.concat([rows, extra], ignore_index=True)
    truth = ceilings(rows).set_index("test").loc["truth"]
    assert np.isnan(truth["value"]) and truth["reason"] == "no in-distribution probe on selection"
    cell = recovered(rows).set_index("test").loc["truth"]
    assert np.isnan(cell["value"]) and cell["reason"] == "undefined_accuracy" and cell["accuracy"] == 0.4


def test_recovered_without_correctness_has_values_and_no_intervals():
    table = recovered(grid(plain), layer=8, method="dim")
    cell = table.set_index(["train", "test"]).loc[("cities", "maths")]
    assert cell["value"] == pytest.approx(0.73 / 0.93) and cell["corrected"] == pytest.approx(0.23 / 0.43)
    assert cell["chance"] == pytest.approx(0.5 / 0.93) and cell["chance_accuracy"] == 0.5
    assert np.isnan(cell["ci_low"]) and cell["ci_reason"] == "per-question correctness is not at hand"
    assert cell["reason"] is None


def measured_rows(seed=0):
    """Rows and questions won of noisy scores: cities and facts, two probes each, 60 questions."""
    rng = np.random.default_rng(seed)
    labels, groups = np.tile([True, False], 60), np.repeat(np.arange(60), 2)
    rows, won = [], Won({}, {})
    for test in ("cities", "facts"):
        for split in ("selection", "test"):
            shifts = np.array([[2.0 if train == test else 0.7] for train in ("cities", "facts")])
            got = measure(rng.normal(size=(2, 120)) + shifts * labels, labels, groups)
            for probe, train in enumerate(("cities", "facts")):
                rows.append(row(train=train, test=test, split=split, value=got.accuracy.value[probe], n=60))
                getattr(won, split)[CellKey("dim", train, 4, test)] = got.correct[probe]
    return pd.DataFrame(rows), won


def test_recovered_intervals_come_from_the_same_questions():
    rows, won = measured_rows()
    table = recovered(rows, won).set_index(["train", "test"])
    away = table.loc[("cities", "facts")]
    assert away["ci_low"] < away["value"] < away["ci_high"] and away["ci_kind"] == "bootstrap_questions"
    assert away["corrected_low"] < away["corrected"] < away["corrected_high"] and away["ci_reason"] is None
    home = table.loc[("facts", "facts")]
    assert home["value"] == 1.0 and home["ci_kind"] == "degenerate_discordance"
    naive = won.test["dim", "cities", 4, "facts"].mean() / won.test["dim", "facts", 4, "facts"].mean()
    assert away["value"] == pytest.approx(naive)


def test_correctness_is_refused_when_rows_mix_models():
    rows, won = measured_rows()
    with pytest.raises(UsageError, match="model `tiny`, `large`"):
        recovered(pd.concat([rows, rows.assign(model="large")], ignore_index=True), won)


def test_best_layer_is_chosen_at_home_on_the_selection_split_only():
    def accuracy(method, train, test, split, layer):
        good = (layer == 8) == (train == test and split == "selection")
        return 0.9 if good and method == "dim" else 0.6

    choice = best_layer(grid(accuracy), metric="accuracy")
    assert choice.layer == 8 and choice.value == pytest.approx(0.9)
    assert choice.used == "accuracy of in-distribution cells, selection split"
    auroc = grid(accuracy).assign(metric="auroc")
    assert best_layer(pd.concat([grid(plain), auroc])).used == "auroc of in-distribution cells, selection split"


def test_best_layer_without_own_cells_says_it_used_the_others():
    rows = grid(plain)
    choice = best_layer(rows[~rows["in_distribution"]], metric="accuracy")
    assert (choice.layer, choice.used) == (8, "accuracy of off-diagonal cells, selection split")


def test_best_layer_is_never_chosen_on_test_rows_unasked():
    rows = grid(plain, splits=("test",))
    with pytest.raises(UsageError, match="Splits present: `test`"):
        best_layer(rows, metric="accuracy")
    assert best_layer(rows, metric="accuracy", split="test").used.endswith("test split")


def test_matrix_has_train_rows_and_test_columns():
    got = matrix(grid(plain), "accuracy", 8, "dim")
    assert list(got.value.index) == list(got.value.columns) == list(SETS)
    assert got.value.loc["facts", "cities"] == pytest.approx(0.73) and got.n.loc["facts", "cities"] == 100
    assert got.high.loc["facts", "cities"] == pytest.approx(0.78)


def test_matrix_errors_name_what_is_wrong():
    rows = grid(plain)
    with pytest.raises(UsageError, match=r"no rows with method `dimm`\. Nearest: `dim`"):
        matrix(rows, "accuracy", 8, "dimm")
    with pytest.raises(UsageError, match="seed `0`, `1`"):
        matrix(pd.concat([rows, rows.assign(seed=1)]), "accuracy", 8, "dim")


def test_out_of_distribution_means_leave_out_own_undefined_and_related_sets():
    rows = grid(plain, layers=(8,), methods=("dim",), splits=("test",))
    rows.loc[(rows["train"] == "cities") & (rows["test"] == "maths"), "value"] = np.nan
    rows.loc[(rows["train"] == "facts") & (rows["test"] == "maths"), ["value", "related"]] = [0.1, True]
    table = ood_mean(rows).set_index("train")
    assert table.loc["cities", ["n_cells", "n_undefined"]].tolist() == [1, 1]
    assert table.loc["cities", "value"] == pytest.approx(0.73)
    assert table.loc["facts", ["worst_test", "worst_value"]].tolist() == ["maths", 0.1]
    assert ood_mean(rows, related=False).set_index("train").loc["facts", "value"] == pytest.approx(0.73)


def test_layer_curves_hold_own_far_and_control_lines():
    table = by_layer(grid(plain), "accuracy", "dim").set_index(["series", "layer"])
    far = table.loc[("out-of-distribution mean", 8)]
    assert far["value"] == pytest.approx(0.73) and far["n_cells"] == 6
    # Three test sets, each with two probes that err together by 0.05: 0.05 / sqrt(3) on the mean.
    assert far["ci_high"] - far["value"] == pytest.approx(0.05 / np.sqrt(3))
    assert table.loc[("control (random), out-of-distribution mean", 4), "value"] == 0.5


def test_tables_of_nothing_keep_their_columns():
    rows = grid(plain, sets=("cities",))
    assert len(ood_mean(rows)) == 0 and "value" in ood_mean(rows)
    assert list(by_layer(rows, "auroc", "dim").columns)[:3] == ["series", "layer", "metric"]


def published_line(**changes):
    value = {
        "llm_id": "tiny", "train_dataset": "a", "eval_dataset": "b", "probe_method": "dim", "point_name": "h3",
        "token_idx": -1, "accuracy": 0.75, "accuracy_n": 8, "auc": 0.9,
    }  # fmt: skip
    return json.dumps({"key": "result_0", "value": {**value, **changes}})


def write(tmp_path, *lines):
    path = tmp_path / "layer_h3" / "probe_evaluate-v2.jsonl"
    path.parent.mkdir()
    path.write_text("\n".join(lines))
    return path


def test_import_reads_a_file_and_the_folder_above_it_alike(tmp_path):
    path = write(tmp_path, published_line(), "", published_line(eval_dataset="a", token_idx=5))
    rows = import_reference(path)
    pd.testing.assert_frame_equal(rows, import_reference(tmp_path))
    first = rows.iloc[0]
    assert (first["layer"], first["position"], first["protocol"], first["n"]) == (3, "last", "published", 8)
    assert first["ci_kind"] == "clopper_pearson" and 0.3 < first["ci_low"] < 0.75 < first["ci_high"]
    assert rows["in_distribution"].tolist() == [False, True] * 2 and rows.iloc[1]["position"] == "5"
    ranked = rows[rows["metric"] == "auroc"].iloc[0]
    assert ranked["value"] == 0.9 and ranked["reason"] == "imported: no interval can be made"
    assert list(rows.columns) == list(ROW_COLUMNS) and rows.attrs["warnings"] == []


@pytest.mark.parametrize(
    "line, message",
    [
        ("{", "line 2: not a result record"),
        ('{"key": "x"}', "no 'value'"),
        (published_line(point_name="embed"), "'embed' is not h and a layer number"),
        (published_line(accuracy=84), "outside 0..1"),
        (published_line(accuracy_n=0), "accuracy_n 0 is not a count"),
        ("[1, 2]", "line 2"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number(tmp_path, line, message):
    path = write(tmp_path, published_line(), line)
    with pytest.raises(UsageError, match=message) as caught:
        import_reference(path)
    assert str(path) in str(caught.value)


def test_importing_nothing_says_what_is_missing(tmp_path):
    with pytest.raises(MissingError, match=r"no `probe_evaluate-v2.jsonl`"):
        import_reference(tmp_path)
    with pytest.raises(UsageError, match="holds no result records"):
        import_reference(write(tmp_path, ""))


@pytest.fixture(scope="module")
def imported():
    if not PUBLISHED.is_dir():
        pytest.skip("the published result files are not on this machine (PROBESHIFT_DATA)")
    return import_reference(PUBLISHED)


def test_the_published_files_raise_both_alarms(imported, caplog):
    warnings = import_reference(PUBLISHED).attrs["warnings"]
    assert len(warnings) == 2 and "one is a copy" in warnings[0] and "got_cities_cities_conj" in warnings[1]
    assert "one is a copy" in caplog.text
    ranked, accuracy = (imported[imported["metric"] == name] for name in ("auroc", "accuracy"))
    assert ranked["value"].isna().all() and (ranked["reason"] == "imported file repeats accuracy").all()
    assert accuracy["value"].notna().all()
    no_count = set(accuracy.loc[accuracy["ci_low"].isna(), "test"])
    assert {"got_cities_cities_conj", "got_cities_cities_disj"} <= no_count and "imdb" not in no_count


def test_the_published_layer_sweep_is_reproduced(imported):
    """Off-diagonal recovered accuracy, clipped, ceiling at the best layer, on the 14 sets that all versions share."""
    later = {"complex_truth", "counterfact_true_false", "diverse_truth", "likely"}
    ceiling = ceilings(imported, protocol="published", selected_on="test")
    table = recovered(imported, protocol="published", ceiling=ceiling)
    cells = table[~table["in_distribution"] & ~table["train"].isin(later) & ~table["test"].isin(later)]
    means = cells.groupby(["model", "layer"])["clipped"].mean()
    assert cells["train"].nunique() == 14
    expected = {
        "Qwen/Qwen3-4B": {9: 0.54, 13: 0.55, 17: 0.72, 21: 0.88, 27: 0.94, 31: 0.91},
        "Llama-2-13b-chat-hf": {11: 0.71, 15: 0.85, 19: 0.88, 25: 0.85, 29: 0.82, 35: 0.81},
    }
    for model, by_layer_expected in expected.items():
        for layer, value in by_layer_expected.items():
            assert means[model, layer] == pytest.approx(value, abs=0.0051)  # printed with two decimals


@pytest.mark.parametrize("name", FORK)
def test_the_published_matrices_give_the_published_means(name):
    long = (
        pd.read_csv(FOLDER / f"fork_{name}_dim_acc.csv")
        .melt("train_dataset", var_name="test", value_name="value")
        .rename(columns={"train_dataset": "train"})
    )
    rows = pd.DataFrame([row(**cell, protocol="published") for cell in long.to_dict("records")])
    table = recovered(rows, protocol="published", ceiling=ceilings(rows, protocol="published", selected_on="test"))
    off = table[~table["in_distribution"]]
    assert len(table) == 17 * 17
    got = [t[c].mean() for c in ("accuracy", "clipped") for t in (table, off)] + [(off["value"] > 0.8).mean()]
    np.testing.assert_allclose(got[:4], FORK[name][:4], atol=0.001)  # cells have four decimals, means three
    assert got[4] == pytest.approx(FORK[name][4], abs=0.0051)
