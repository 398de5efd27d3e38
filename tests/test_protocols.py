"""Published beside strict, and inverted directions: planted ones are counted exactly, each claim with its opposite."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulated_study import Simulation, study

from probeshift.errors import UsageError
from probeshift.summaries.inverted import anti_generalising, anti_generalising_counts
from probeshift.summaries.protocols import NO_TRUTHFUL_QA, protocol_table


def strength(method, train, layer, test):
    """`lda` on imdb points the wrong way on boolq and conj at layers 3 and 6; layer 0 says nothing."""
    if layer == 0 or method == "random":
        return 0.0
    return -3.0 if (method, train) == ("lda", "imdb") and test in ("boolq", "got_cities_cities_conj") else 2.5


SIMULATION = Simulation(methods=("dim", "lda", "random"), layers=(0, 3, 6), n_questions=50, strength=strength)
# Nothing points the wrong way: every learned probe is strong wherever it is deep enough to count.
UPRIGHT = replace(SIMULATION, strength=lambda m, _, layer, __: 0.0 if layer == 0 or m == "random" else 3.0)


def both(simulation):
    return tuple(study(replace(simulation, protocol=name), n_resamples=100) for name in ("strict", "published"))


@pytest.fixture(scope="module")
def pair():
    return both(SIMULATION)


@pytest.fixture(scope="module")
def upright():
    return both(UPRIGHT)


@pytest.fixture(scope="module")
def table(pair):
    return protocol_table(*pair).set_index("key")


def kept(study, own, deep):
    return study.learned[(own | (study.learned["train"] != study.learned["test"])) & (study.learned["layer"] >= deep)]


@pytest.mark.parametrize(
    "key, own, deep",
    [("mean_away_deep", False, 3), ("mean_with_own_deep", True, 3), ("mean_away_all_layers", False, 0),
     ("mean_with_own_all_layers", True, 0)],
)  # fmt: skip
def test_means_are_those_of_the_rules_and_lie_in_their_intervals(pair, table, key, own, deep):
    row = table.loc[key]
    strict, published = (kept(study, own, deep) for study in pair)
    assert row["strict"] == pytest.approx((strict["accuracy"] / strict["ceiling"]).mean())
    assert row["published"] == pytest.approx((published["accuracy"] / published["ceiling"]).clip(0, 1).mean())
    assert row["difference"] == pytest.approx(row["published"] - row["strict"])
    assert row["n_cells"] == row["published_n_cells"] == len(strict) and row["ci_kind"] == "bootstrap_questions"
    assert row["strict_low"] < row["strict"] < row["strict_high"]
    assert row["published_low"] < row["published"] < row["published_high"] <= 1


def test_the_rules_are_named_in_the_rows_they_made(table):
    assert (
        table.loc["mean_away_deep", "quantity"]
        == "mean recovered, own set excluded, layers 3 and deeper (the strict rule)"
    )
    assert table.loc["mean_with_own_all_layers", "quantity"].endswith(
        "own set included, all layers (the published rule)"
    )
    assert table["words"].str.endswith(".").all() and table["quantity"].is_unique


def test_probe_shares_accuracy_and_best_probes_equal_plain_counting(pair, table):
    for one, side in zip(pair, ("strict", "published"), strict=True):
        cells = kept(one, one.published, 3)
        means = cells.groupby(["method", "train", "layer"])[one.measure].mean()
        assert table.loc["share_of_probes", side] == pytest.approx((means > 0.8).mean())
        best = kept(one, one.published, 0).set_index(["method", "train", "layer"])
        mine = best.loc[(one.best.method, one.best.train, one.best.layer), one.measure]
        assert table.loc["best_probe", side] == pytest.approx(mine.mean())
        assert table.loc["mean_accuracy", side] == pytest.approx(kept(one, False, 3)["accuracy"].mean())
    assert table.loc["best_probe", "n_cells"] == 5 and table.loc["best_probe", "published_n_cells"] == 6
    assert table.loc["share_of_probes", ["n_kind", "n_cells"]].tolist() == ["probes", 24]
    assert table.loc[["share_of_probes", "mean_accuracy"], "strict_low"].isna().all()
    assert table.loc[["share_of_probes", "mean_accuracy"], "reason"].str.startswith("no interval").all()


def test_turned_cells_are_the_planted_ones(table):
    number, share = table.loc["number_turned"], table.loc["share_turned"]
    assert (number["published"], number["strict"], number["n_cells"]) == (4, 0, 2 * 6 * 5 * 2)  # 2 sets x 2 layers
    assert (
        share["published"] == pytest.approx(4 / 120)
        and np.isnan(share["strict_low"])
        and "by definition" in share["reason"]
    )


@pytest.mark.parametrize("key", ["share_turned", "share_of_probes", "truthful_qa"])
def test_shares_of_cells_and_probes_have_no_interval_as_if_these_were_independent(table, key):
    row = table.loc[key]
    bounds = row[["strict_low", "strict_high", "published_low", "published_high"]].astype(float)
    assert np.isfinite(row["published"]) and bounds.isna().all() and row["ci_kind"] == "none"
    assert "no independent trials" in row["reason"]


def test_nothing_is_turned_where_nothing_points_the_wrong_way(upright):
    table = protocol_table(*upright).set_index("key")
    assert table.loc["number_turned", "published"] == 0 and table.loc["share_turned", "published"] == 0


def test_a_flip_that_was_not_below_chance_is_not_counted(pair):
    """With four options the reversed order can beat an order that is itself above chance."""
    strict, published = pair
    upright = published.rows["method"].eq("dim") & published.rows["n_kind"].eq("questions")
    more = published.rows.assign(flipped=published.rows["flipped"] | upright)
    assert protocol_table(strict, replace(published, rows=more)).set_index("key").loc["number_turned", "published"] == 4
    none = published.rows.assign(flipped=False)
    assert protocol_table(strict, replace(published, rows=none)).set_index("key").loc["number_turned", "published"] == 0


def test_the_published_procedure_gives_to_those_who_know_nothing(pair, upright, table):
    row = table.loc["control"]
    for one, side in zip(pair, ("strict", "published"), strict=True):
        control = one.cells[one.cells["method"].eq("random") & (one.cells["layer"] >= 3)]
        control = control[(control["train"] != control["test"]) & (control["test"] != "truthful_qa")]
        assert row[side] == pytest.approx(control[one.measure].mean()) and row["n_cells"] == len(control) == 60
    assert row["published"] > row["strict_high"] and row["strict"] < row["published_low"]
    gain = protocol_table(*upright).set_index("key")["difference"]
    assert gain["mean_away_deep"] <= 0 < 0.02 < gain["control"]  # strong probes only lose what is clipped


def test_without_a_control_its_row_says_so(pair):
    bare = (replace(study, rows=study.rows[study.rows["method"] != "random"]) for study in pair)
    row = protocol_table(*bare).set_index("key").loc["control"]
    assert np.isnan(row["strict"]) and row["n_cells"] == 0 and row["reason"] == "nothing to count"


def test_the_truthful_qa_share_equals_plain_counting_and_is_missing_without_the_set(pair, table):
    for one, side in zip(pair, ("strict", "published"), strict=True):
        means = kept(one, False, 0).groupby(["method", "train", "layer"])[one.measure].mean()
        good = means[means > 0.8].index
        truthful = one.cells[one.cells["test"] == "truthful_qa"].set_index(["method", "train", "layer"])["accuracy"]
        assert table.loc["truthful_qa", side] == pytest.approx((truthful[good] > 0.359).mean())
    without = (replace(one, rows=one.rows[one.rows["test"] != "truthful_qa"]) for one in pair)
    row = protocol_table(*without).set_index("key").loc["truthful_qa"]
    assert np.isnan(row["strict"]) and np.isnan(row["difference"]) and row["reason"] == NO_TRUTHFUL_QA


def test_studies_that_do_not_belong_together_are_refused(pair):
    strict, published = pair
    with pytest.raises(UsageError, match="got published and strict"):
        protocol_table(published, strict)
    fewer = replace(published, rows=published.rows[published.rows["layer"] != 6])
    with pytest.raises(UsageError, match=r"\d+ cells only in the strict one, 0 only in the published one"):
        protocol_table(strict, fewer)


def test_inverted_cells_are_the_planted_ones_and_what_the_control_adds(pair):
    found = anti_generalising(pair[0])
    learned = found[found["method"] != "random"]
    cells = {(row.method, row.train, row.test, row.layer) for row in learned.itertuples()}
    assert cells == {("lda", "imdb", test, layer) for test in ("boolq", "got_cities_cities_conj") for layer in (3, 6)}
    assert (found["ci_high"] < found["chance"]).all() and (found["value"] < found["ci_high"]).all()
    assert set(learned.loc[learned["test"] == "boolq", "metric"]) == {"auroc", "accuracy"}
    assert set(learned.loc[learned["test"] == "got_cities_cities_conj", "metric"]) == {"auroc"}
    counts = anti_generalising_counts(pair[0]).set_index("method")
    assert counts.loc["lda", ["n_inverted", "n_cells"]].tolist() == [
        4,
        72,
    ]  # 6 sets x (5 others and TruthfulQA) x 2 layers
    assert counts.loc["dim", "n_inverted"] == 0 and counts.loc["dim", "share"] == 0
    control = found[found["method"] == "random"].drop_duplicates(["train", "test", "layer"])
    assert counts.loc["random", "n_inverted"] == len(control)
    assert counts.loc["lda", "share"] == pytest.approx(4 / 72)


def test_nothing_is_inverted_where_nothing_points_the_wrong_way(upright):
    counts = anti_generalising_counts(upright[0]).set_index("method")
    assert counts.loc[["dim", "lda"], "n_inverted"].tolist() == [0, 0] and (counts["n_cells"] == 72).all()


@pytest.mark.parametrize("kind, listed", [("rows", False), ("questions", True)])
def test_row_accuracy_below_chance_is_a_matter_of_threshold(upright, kind, listed):
    rows = upright[0].rows.copy()
    chosen = rows["test"].eq("boolq") & rows["train"].eq("imdb") & rows["layer"].eq(6) & rows["metric"].eq("accuracy")
    chosen &= rows["method"].eq("dim")
    rows.loc[chosen, ["value", "ci_low", "ci_high"]] = 0.2, 0.1, 0.3
    rows.loc[chosen, "n_kind"] = kind
    assert ("dim" in set(anti_generalising(replace(upright[0], rows=rows))["method"])) is listed


@pytest.mark.parametrize("train, layer, listed", [("imdb", 0, False), ("boolq", 6, False), ("imdb", 6, True)])
def test_shallow_layers_and_the_own_set_are_left_out(upright, train, layer, listed):
    rows = upright[0].rows.copy()
    chosen = rows["test"].eq("boolq") & rows["train"].eq(train) & rows["layer"].eq(layer) & rows["metric"].eq("auroc")
    rows.loc[chosen & rows["method"].eq("dim"), ["value", "ci_low", "ci_high"]] = 0.2, 0.1, 0.3
    assert ("dim" in set(anti_generalising(replace(upright[0], rows=rows))["method"])) is listed


def test_a_published_study_cannot_show_inverted_directions(pair):
    for function in (anti_generalising, anti_generalising_counts):
        with pytest.raises(UsageError, match="--protocol strict"):
            function(pair[1])
