"""Paired tests between methods: values by naive loops, calibration by simulation, each claim with its opposite."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
import pytest
from drawn_study import drawn_study
from simulated_study import Simulation, study

from probeshift.summaries import CellKey, Won
from probeshift.summaries.ceilings import NO_CORRECTNESS, set_weights
from probeshift.summaries.paired import (
    NO_COMMON_CELLS,
    NOTHING_DIFFERS,
    TOO_FEW_SETS,
    bootstrap_p,
    compare_methods,
    discovery_rates,
    signed_rank_p,
)
from probeshift.summaries.resampling import replicated_means

SMALL = Simulation(methods=("dim", "lda", "lr-g", "random"), layers=(0, 3, 6), n_questions=30, strength=lambda m, *_: {
    "dim": 1.4, "lda": 0.9, "lr-g": 1.2, "random": 0.0}[m])  # fmt: skip


def pair(table, a, b):
    (row,) = table[table["method_a"].eq(a) & table["method_b"].eq(b)].itertuples()
    return row


@pytest.fixture(scope="module")
def small():
    return study(SMALL, n_resamples=100)


@pytest.fixture(scope="module")
def compared(small):
    return compare_methods(small)


def naive_differences(study, a, b):
    """The difference on the questions as they are and in every resample, cell by cell."""
    kept = study.counted if b != "random" else pd.concat([study.counted, study.cells[study.cells["method"] == b]])
    keys = {
        m: set(zip(*(kept.loc[kept["method"] == m, c] for c in ("train", "layer", "test")), strict=True))
        for m in (a, b)
    }
    if b == "random":
        keys[b] = {k for k in keys[b] if k[0] != k[2] and k[1] >= study.cut_layer and k[2] in set(study.rows["train"])}
    shared = sorted(keys[a] & keys[b])
    drawn_with = {"n_resamples": study.n_resamples, "seed": study.seed}
    own = {
        test: sorted(
            (k for k in study.won.selection if k.train == k.test == test and k.method != "random"),
            key=lambda k: (k.layer, k.method),
        )
        for test in set(study.rows["train"])
    }
    weights = {
        (test, split): set_weights(test, split, len(getattr(study.won, split)[keys[0]]), **drawn_with)
        for test, keys in own.items()
        for split in ("selection", "test")
    }

    def mean(weigh):
        tops = {t: max(own[t], key=lambda k: weigh(t, "selection") @ study.won.selection[k]) for t in own}

        def ratio(key):
            weight = weigh(key.test, "test")
            return weight @ study.won.test[key] / (weight @ study.won.test[tops[key.test]])

        gaps = [ratio(CellKey(a, *key)) - ratio(CellKey(b, *key)) for key in shared]
        return np.mean(gaps), len(gaps)

    value, n_cells = mean(lambda *of: np.ones(weights[of].shape[1]))
    drawn = np.array([mean(lambda *of, r=r: weights[of][r])[0] for r in range(study.n_resamples)])
    return value, drawn - drawn.mean() + value, n_cells


@pytest.mark.parametrize("a, b", [("dim", "lda"), ("dim", "lr-g"), ("lr-g", "random")])
def test_differences_bounds_and_p_equal_a_loop_over_resamples_and_common_cells(small, compared, a, b):
    value, drawn, n_cells = naive_differences(small, a, b)
    row = pair(compared, a, b)
    assert row.n_cells == n_cells and row.difference == pytest.approx(value, abs=1e-12)
    np.testing.assert_allclose([row.ci_low, row.ci_high], np.quantile(drawn, [0.025, 0.975]), atol=1e-12)
    rarer = min((drawn <= 0).sum(), (drawn >= 0).sum())
    assert row.p == pytest.approx(min(1, (1 + 2 * rarer) / (1 + len(drawn))))


def test_only_cells_that_both_methods_have_are_compared(small, compared):
    """`lr-g` has no probe on the set without questions: 5 training sets x 5 other sets x 2 layers; `dim` and `lda` have 6."""
    assert pair(compared, "dim", "lr-g").n_cells == 5 * 5 * 2 and pair(compared, "dim", "lda").n_cells == 6 * 5 * 2
    spoilt = small.rows.copy()
    ungrouped = spoilt["train"].eq("got_cities_cities_conj") & spoilt["method"].eq("dim") & ~spoilt["in_distribution"]
    spoilt.loc[ungrouped & spoilt["metric"].eq("accuracy"), "value"] = 0.0
    worse = compare_methods(replace(small, rows=spoilt))
    methods = {"lr-g", "dim"}
    alone = worse[[{row.method_a, row.method_b} == methods for row in worse.itertuples()]].iloc[0]
    assert abs(alone["difference"]) == pytest.approx(pair(compared, "dim", "lr-g").difference)
    others = worse[[{row.method_a, row.method_b} == {"lda", "dim"} for row in worse.itertuples()]].iloc[0]
    assert abs(others["difference"]) != pytest.approx(pair(compared, "dim", "lda").difference)


def test_there_is_a_row_for_every_pair_and_the_control_comes_last(compared):
    assert len(compared) == 6 and (compared["n_sets"] == 6).all() and compared["reason"].isna().all()
    assert set(compared.loc[compared["method_b"] == "random", "method_a"]) == {"dim", "lda", "lr-g"}
    assert "random" not in set(compared["method_a"]) and (compared["mean_a"] >= compared["mean_b"]).all()


def test_equal_methods_are_rarely_told_apart_and_p_is_calibrated():
    p, q = [], []
    for seed in range(40):
        table = compare_methods(drawn_study(seed, {"dim": 0.7, "lda": 0.7}))
        p.append(table["p"].iloc[0])
        q.append(table["q"].iloc[0])
    # 40 fair tests at 5 %: more than 6 rejections have probability 0.003, at 50 % fewer than 10 or more than 30 have 0.0003.
    assert (np.array(q) < 0.05).sum() <= 6
    assert 10 <= (np.array(p) < 0.5).sum() <= 30


def test_different_methods_are_told_apart():
    told = [compare_methods(drawn_study(seed, {"dim": 0.7, "lda": 0.6}))["q"].iloc[0] < 0.05 for seed in range(15)]
    assert np.mean(told) > 0.9


def test_p_counts_the_rarer_side_of_zero_twice():
    assert bootstrap_p(np.array([-1.0, 1.0, 2.0, 3.0])) == pytest.approx(3 / 5)
    assert bootstrap_p(np.full(999, 0.1)) == pytest.approx(1 / 1000) == bootstrap_p(np.full(999, -0.1))
    assert bootstrap_p(np.zeros(10)) == 1.0 == bootstrap_p(np.full(10, 1e-16))


def test_signed_ranks_equal_all_sign_changes():
    differences = np.array([0.3, -0.1, 0.25, 0.4, 0.05, 0.6, -0.02])
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    sums = [ranks @ np.array(signs) for signs in product([-1, 1], repeat=7)]
    extreme = np.mean(np.abs(sums) >= abs(ranks @ np.sign(differences)))
    assert signed_rank_p(differences) == pytest.approx(extreme)
    assert signed_rank_p(np.append(differences, 0.0)) == pytest.approx(
        extreme
    )  # a set that does not differ says nothing


def test_fewer_than_six_sets_have_no_test_over_sets():
    few = compare_methods(drawn_study(1, {"dim": 0.8, "lda": 0.6}, n_sets=5)).iloc[0]
    assert np.isnan(few["p_sets"]) and np.isnan(few["q_sets"]) and few["reason"] == TOO_FEW_SETS and few["p"] < 0.05
    enough = compare_methods(drawn_study(1, {"dim": 0.8, "lda": 0.6}, n_sets=6)).iloc[0]
    assert enough["p_sets"] == pytest.approx(2 / 2**6) and enough["reason"] is None


def test_discovery_rates_are_those_of_benjamini_and_hochberg_over_the_defined_tests():
    p = pd.Series([0.01, np.nan, 0.04, 0.03, 0.5])
    by_hand = [0.04, np.nan, min(0.04 * 4 / 3, 0.5), min(0.03 * 4 / 2, 0.04 * 4 / 3), 0.5]
    np.testing.assert_allclose(discovery_rates(p), by_hand)
    assert discovery_rates(pd.Series([np.nan])).isna().all()


def test_methods_that_win_the_same_questions_have_p_one_and_no_bounds():
    twins = drawn_study(2, {"dim": 0.7, "lda": 0.7})
    same = Won(
        *({key: won[key._replace(method="dim")] for key in won} for won in (twins.won.test, twins.won.selection))
    )
    rows = twins.rows.copy()
    values = rows[rows["method"] == "dim"].set_index(["train", "test", "split"])["value"]
    rows["value"] = [values[key] for key in zip(rows["train"], rows["test"], rows["split"], strict=True)]
    row = compare_methods(replace(twins, rows=rows, won=same)).iloc[0]
    assert row["difference"] == 0 and row["p"] == 1 and row["reason"] == NOTHING_DIFFERS and np.isnan(row["ci_low"])
    other = compare_methods(twins).iloc[0]
    assert other["ci_low"] < other["difference"] < other["ci_high"] and other["reason"] is None


def test_what_both_methods_share_is_not_in_the_interval():
    """The questions differ in how hard they are; as both answer the same ones, that cancels."""
    alike = drawn_study(3, {"dim": 0.75, "lda": 0.7}, taste=0.0)
    row = compare_methods(alike).iloc[0]
    means = replicated_means(alike, alike.counted, ["method"])
    unpaired = np.quantile(means.replicates[0] - means.replicates[1][::-1], [0.025, 0.975])
    assert row["ci_high"] - row["ci_low"] < 0.8 * np.ptp(unpaired)


def test_clipping_does_not_push_the_interval_off_the_difference():
    """`dim` sits at its ceiling, where clipped resamples only fall: bounds that are not centred miss the difference."""
    clipped = drawn_study(
        6, {"dim": 0.85, "lda": 0.5}, n_sets=20, n_questions=100, protocol="published", taste=0.0, home=0.0
    )
    row = compare_methods(clipped).iloc[0]
    assert row["ci_low"] < row["difference"] < row["ci_high"]
    means = replicated_means(clipped, clipped.counted, ["method"])
    low, high = np.quantile(means.replicates[0] - means.replicates[1], [0.025, 0.975])
    assert not low < row["difference"] < high
    assert row["n_cells"] == 20 * 20  # as published: own sets included


def test_without_the_questions_won_the_difference_stays_and_the_tests_say_why(small, compared):
    bare = compare_methods(replace(small, won=Won({}, {})))
    assert (bare["reason"] == NO_CORRECTNESS).all() and bare[["p", "q", "ci_low", "ci_high"]].isna().all(axis=None)
    np.testing.assert_allclose(bare["difference"], compared["difference"])
    np.testing.assert_allclose(bare["p_sets"], compared["p_sets"])


def test_methods_without_a_common_cell_are_not_compared():
    apart = drawn_study(5, {"dim": 0.7, "lda": 0.7, "lr": 0.7})
    number = apart.rows["train"].str[3:].astype(int)
    keep = ~(apart.rows["method"].eq("dim") & (number < 3)) & ~(apart.rows["method"].eq("lda") & (number >= 3))
    table = compare_methods(replace(apart, rows=apart.rows[keep]))
    none = table[table["n_cells"] == 0].iloc[0]
    assert {none["method_a"], none["method_b"]} == {"dim", "lda"} and none["reason"] == NO_COMMON_CELLS
    assert np.isnan(none["difference"]) and np.isnan(none["q"]) and np.isnan(none["q_sets"])
    others = table[table["n_cells"] > 0]
    assert (others["n_cells"] == 15).all() and others["q"].notna().all()


def test_one_method_alone_has_no_pairs():
    alone, two = (compare_methods(drawn_study(0, methods)) for methods in ({"dim": 0.7}, {"dim": 0.7, "lda": 0.6}))
    assert len(alone) == 0 and len(two) == 1 and set(alone) == set(two)
