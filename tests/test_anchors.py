"""The published summary numbers come out of the published matrices, by the functions a study's own matrices go through.

Sources: figures of "How well do truth probes generalise?" (2024), printed as whole percent, and result files of a later fork of
its code, given to four decimals (`anchors/`). All choose the sign on evaluation labels.

Tolerances. A stated number is half a unit of its last digit from what it was rounded from (`TENTH` of a percent, `PERCENT`).
Where it was computed from the very cells of the file, that is all. Cells printed as whole percent are off by up to 0.005 each,
a mean of n of them typically by 0.003 / sqrt(n): against the unprinted matrix 0.0002 for all 324 cells, 0.0007 for a row.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from simulated_study import study

from probeshift.errors import UsageError
from probeshift.summaries.directions import distances, merges
from probeshift.summaries.generalisation import train_test_means
from probeshift.summaries.matrix_means import (
    away,
    family_means,
    matrix_means,
    matrix_of,
    means_of_columns,
    means_of_rows,
    read_matrix,
    recovered_of_own,
    without,
)

FOLDER = Path(__file__).parent / "anchors"
TENTH, PERCENT = 0.0005 + 1e-9, 0.005 + 1e-9

DLK = "imdb amazon_polarity ag_news dbpedia_14 rte copa piqa boolq".split()
REPE = "open_book_qa race arc_challenge arc_easy common_sense_qa".split()
GOT = "got_cities got_sp_en_trans got_larger_than got_cities_cities_conj got_cities_cities_disj".split()
FAMILY = {**dict.fromkeys(DLK, "dlk"), **dict.fromkeys(REPE, "repe"), **dict.fromkeys(GOT, "got")}


def published(name):
    return read_matrix(FOLDER / f"{name}.csv")


@pytest.fixture
def r3b():
    return published("r3b_matrix_pct")


def test_r3b_means_with_without_and_on_the_diagonal(r3b):
    means = matrix_means(r3b)
    assert (means.n_away, means.n_home) == (18 * 17, 18)
    assert means.everything == pytest.approx(0.762, abs=TENTH)
    assert means.away == pytest.approx(0.754, abs=TENTH)
    assert means.home == pytest.approx(0.904, abs=TENTH)


def test_r3b_means_without_piqa_which_a_mean_of_rows_would_miss(r3b):
    means = matrix_means(without(r3b, ["piqa"]))
    assert means.everything == pytest.approx(0.760, abs=TENTH) and means.away == pytest.approx(0.751, abs=TENTH)
    assert means.n_home == 17
    rows_only = r3b.drop(index="piqa")
    assert matrix_means(rows_only).everything != pytest.approx(0.760, abs=TENTH)


def test_a_third_of_the_cells_off_the_diagonal_exceed_80_percent(r3b):
    """Cells printed as 80 stand for 79.5 to 80.5: the share is that of 81 and above, at most 6 points below the unprinted one."""
    assert matrix_means(r3b).share_above == pytest.approx(0.34, abs=PERCENT)
    at_80 = matrix_means(r3b, line=0.7999).share_above - matrix_means(r3b).share_above
    assert at_80 == pytest.approx(0.06, abs=PERCENT)


STATED = {
    "dlk": {"dlk": 84.0, "got": 71.9, "repe": 70.3},
    "got": {"dlk": 78.2, "got": 78.3, "repe": 65.2},
    "repe": {"dlk": 75.6, "got": 67.4, "repe": 81.7},
}


def test_r3b_family_means_leave_the_diagonal_out(r3b):
    stated = pd.DataFrame(STATED).T
    found = 100 * family_means(r3b, FAMILY)
    pd.testing.assert_frame_equal(
        found.loc[stated.index, stated.columns], stated, check_names=False, rtol=0, atol=0.0501
    )
    block = 100 * r3b.loc[REPE, REPE].to_numpy().mean()
    assert abs(block - stated.loc["repe", "repe"]) > 1.0  # what the diagonal would add


ROWS_R1B = {
    "dbpedia_14": 92.4, "amazon_polarity": 91.4, "rte": 91.4, "ag_news": 90.1, "imdb": 90.0, "copa": 86.7,
    "got_cities_cities_conj": 86.1, "got_cities_cities_disj": 79.1, "got_sp_en_trans": 74.6, "got_cities": 72.6,
}  # fmt: skip


def test_r1b_row_means_leave_the_own_set_out():
    table = published("r1b_dim_l21_pct")
    rows = means_of_rows(table).sort_values(ascending=False)
    assert table.shape == (18, 17) and {"dbpedia_14"} == set(table.index) - set(table.columns)
    for name, stated in ROWS_R1B.items():
        assert 100 * rows[name] == pytest.approx(stated, abs=0.0501), name
    stated_order = ["dbpedia_14", "amazon_polarity", "rte", "ag_news", "imdb", "copa", "got_cities_cities_conj"]
    assert list(rows.index[:7]) == stated_order
    assert list(rows.index[-3:]) == ["got_cities_cities_disj", "got_sp_en_trans", "got_cities"]
    assert 100 * rows.mean() == pytest.approx(84.9, abs=0.0501) and (rows > 0.8).sum() == 15
    assert table.loc["imdb"].mean() != pytest.approx(0.900, abs=TENTH)


ROWS_R1A = {"DIM": 92.4, "LR-G": 91.9, "LR": 87.1, "PCA-G": 79.8, "PCA": 79.0, "LAT": 77.0, "CCS": 76.7, "LDA": 71.5}
ROWS_R1C = {1: 52.8, 5: 52.2, 9: 64.5, 13: 84.2, 17: 89.7, 21: 92.4, 25: 90.2, 29: 89.2, 33: 86.5, 37: 85.3}


@pytest.mark.parametrize("name, stated", [("r1a_dbpedia_l21_pct", ROWS_R1A), ("r1c_dbpedia_dim_pct", ROWS_R1C)])
def test_means_of_methods_and_layers_of_the_best_training_set(name, stated):
    rows = 100 * means_of_rows(published(name))
    assert set(rows.index) == set(stated)
    for row, value in stated.items():
        assert rows[row] == pytest.approx(value, abs=0.0501), row


def test_three_figures_print_the_best_probe_alike():
    rows = [("r1a_dbpedia_l21_pct", "DIM"), ("r1b_dim_l21_pct", "dbpedia_14"), ("r1c_dbpedia_dim_pct", 21)]
    first, *others = (published(name).loc[row] for name, row in rows)
    for other in others:
        pd.testing.assert_series_equal(first, other, check_names=False)


def test_r3a_values_and_order_which_is_that_of_the_matrix(r3b):
    table = published("r3c_from_to").sort_values("generalizes_from", ascending=False, kind="stable")
    order = list(table.index)
    assert order[0] == "got_cities_cities_conj" and order[-1] == "got_sp_en_trans"
    assert table["generalizes_from"].iloc[[0, -1]].to_list() == pytest.approx([0.74, 0.67], abs=PERCENT)
    assert order == list(r3b.index) == list(r3b.columns)
    assert order != list(table.sort_values("generalizes_to", ascending=False).index)


def test_r3c_averages_the_same_cells_by_row_and_by_column():
    """Read off a figure, +-0.001; conj and disj have fewer probes, so the two means are close and not equal."""
    table = published("r3c_from_to")
    assert table.mean().to_list() == pytest.approx([0.695, 0.695], abs=0.001)


def test_means_of_columns_are_the_means_of_rows_of_the_transpose(r3b):
    pd.testing.assert_series_equal(means_of_columns(r3b), means_of_rows(r3b.T))
    others = [name for name in r3b.index if name != "boolq"]
    assert means_of_columns(r3b)["boolq"] == pytest.approx(np.mean([r3b.loc[name, "boolq"] for name in others]))
    assert means_of_columns(r3b)["boolq"] != pytest.approx(means_of_rows(r3b)["boolq"], abs=0.01)


def merge_of(steps, *names):
    return steps.loc[steps["members"].map(set) == set(names), "height"].item()


def test_clustering_joins_the_published_datasets_at_the_published_heights(r3b):
    """A pair's height is the mean of two printed cells, off by up to 0.005; the reading itself may be off by 0.001."""
    steps = merges(distances(r3b))
    without_disj = [name for name in GOT if name != "got_cities_cities_disj"]
    assert merge_of(steps, "amazon_polarity", "imdb") == pytest.approx(0.016, abs=PERCENT)
    assert merge_of(steps, "got_cities_cities_conj", "got_cities") == pytest.approx(0.067, abs=PERCENT)
    assert merge_of(steps, *DLK, *without_disj) == pytest.approx(0.232, abs=TENTH)
    assert merge_of(steps, *DLK, *without_disj, *REPE) == pytest.approx(0.296, abs=TENTH)
    assert merge_of(steps, *FAMILY) == pytest.approx(0.304, abs=TENTH)
    assert steps["height"].is_monotonic_increasing and len(steps) == 17


def test_clustering_does_not_read_the_diagonal(r3b):
    np.fill_diagonal(changed := r3b.to_numpy(copy=True), 0.0)
    changed = pd.DataFrame(changed, r3b.index, r3b.columns)
    pd.testing.assert_frame_equal(merges(distances(r3b)), merges(distances(changed)))
    one_cell = r3b.copy()
    one_cell.loc["imdb", "amazon_polarity"] = 0.5
    assert not merges(distances(one_cell)).equals(merges(distances(r3b)))


FORK = {  # mean accuracy, mean recovered: all cells, off-diagonal; share of off-diagonal cells above 80 %
    "qwen3-4b_layer_h27": (0.844, 0.842, 0.956, 0.953, 0.97),
    "qwen3-8b_layer_h27": (0.836, 0.833, 0.927, 0.922, 0.84),
    "qwen3-14b_layer_h31": (0.828, 0.822, 0.890, 0.883, 0.76),
    "qwen3-4b-base_layer_h27": (0.711, 0.703, 0.840, 0.830, 0.64),
    "llama2-13b-chat_layer_h31": (0.722, 0.715, 0.861, 0.853, 0.69),
    "llama2-13b_layer_h31": (0.635, 0.626, 0.816, 0.804, 0.58),
}


@pytest.mark.parametrize("model", FORK)
def test_fork_matrices_give_their_published_means(model):
    """Cells have four decimals: 0.00005 each on top of the stated digit."""
    accuracy = published(f"fork_{model}_dim_acc")
    assert accuracy.shape == (17, 17)
    plain, recovered = matrix_means(accuracy), matrix_means(recovered_of_own(accuracy))
    found = plain.everything, plain.away, recovered.everything, recovered.away
    assert found == pytest.approx(FORK[model][:4], abs=TENTH + 0.00005)
    assert recovered.share_above == pytest.approx(FORK[model][4], abs=PERCENT)
    assert recovered.home == pytest.approx(1.0)


def test_the_published_recovered_means_of_the_fork_are_clipped():
    accuracy = published("fork_qwen3-4b_layer_h27_dim_acc")
    own = pd.Series(np.diag(accuracy.loc[accuracy.columns]), accuracy.columns)
    assert (accuracy / own).to_numpy().mean() > FORK["qwen3-4b_layer_h27"][2] + 0.005


def test_a_study_s_own_matrix_goes_through_the_same_functions():
    made = study()
    matrix = matrix_of(train_test_means(made))
    cells = made.cells[(made.cells["method"] != "random") & (made.cells["layer"] >= made.cut_layer)]
    by_hand = {
        (train, test): cells[(cells["train"] == train) & (cells["test"] == test)]["value"].mean()
        for train in matrix.index
        for test in matrix.columns
    }
    far = [value for (train, test), value in by_hand.items() if train != test]
    home = [value for (train, test), value in by_hand.items() if train == test]
    means = matrix_means(matrix)
    assert (means.away, means.home) == pytest.approx((np.mean(far), np.mean(home)))
    assert means.share_above == pytest.approx(np.mean(np.array(far) > 0.8))
    rows = [np.mean([v for (a, b), v in by_hand.items() if a == "imdb" and b != "imdb"]), means_of_rows(matrix)["imdb"]]
    assert rows[0] == pytest.approx(rows[1])


def test_undefined_cells_leave_the_means_and_empty_sides_are_undefined():
    matrix = pd.DataFrame({"a": [1.0, 0.5], "b": [np.nan, 0.9]}, index=["a", "b"])
    means = matrix_means(matrix)
    assert (means.everything, means.away, means.home) == pytest.approx((0.8, 0.5, 0.95)) and means.n_away == 1
    assert away(matrix).notna().to_numpy().sum() == 1
    lonely = matrix_means(matrix.loc[["a"], ["a"]])
    assert np.isnan(lonely.away) and np.isnan(lonely.share_above) and lonely.home == 1.0


def test_a_file_that_is_no_matrix_is_refused(tmp_path):
    path = tmp_path / "words_pct.csv"
    path.write_text("train,a,b\na,1,x\nb,2,3\n")
    with pytest.raises(UsageError, match="not a matrix of numbers"):
        read_matrix(path)
