"""Means of recovered accuracy: their intervals, and the tables of how well probes generalise."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
from drawn_study import drawn_study
from simulated_study import Simulation, study

from probeshift.errors import UsageError
from probeshift.metrics import questions, recovered_accuracy
from probeshift.results import ROW_COLUMNS
from probeshift.summaries import CONTROLS, CellKey, Won
from probeshift.summaries.beside_best import NO_PROBE, layers_beside_best, methods_beside_best, trains_beside_best
from probeshift.summaries.blocks import Blocks
from probeshift.summaries.ceilings import set_weights
from probeshift.summaries.generalisation import method_means, train_means, train_test_means
from probeshift.summaries.headline import headline
from probeshift.summaries.layer_shares import LAYER_SHARE, OVERALL_SHARE, PROBE, probes_by_layer, share_above
from probeshift.summaries.resampling import mean_table, replicated_means
from probeshift.summaries.study import Study

STRENGTH = {"lr-g": 2.2, "dim": 1.6, "lda": 1.0, "ccs": 0.7, "random": 0.0}


def planted(method, train, layer, test):
    """Methods differ as in STRENGTH, got_cities teaches best, nothing is there before layer 3."""
    if method == "random" or layer < 3:
        return 0.0
    return STRENGTH[method] * (1.5 if train == test else 1.2 if train == "got_cities" else 1.0)


@cache
def simulated(protocol="strict") -> Study:
    return study(
        Simulation(strength=planted, methods=tuple(STRENGTH), protocol=protocol, n_questions=50), n_resamples=100
    )


def handmade(won, *, chance=0.5, n_resamples=400, protocol="strict", missing=()) -> Study:
    """A study of given correctness {(method, train, test): [question]} at one layer; selection accuracy is a probe's own.

    `missing` keys have an accuracy and no correctness.
    """
    rows = []
    for (method, train, test), correct in won.items():
        shared = {"model": "tiny", "method": method, "seed": 0, "train": train, "test": test, "layer": 5,
                  "position": "last", "protocol": protocol, "metric": "accuracy", "in_distribution": train == test,
                  "n": len(correct), "n_kind": "questions", "chance": chance, "train_family": "a",
                  "test_family": "a"}  # fmt: skip
        value = correct.mean() if np.isfinite(correct).all() else np.nan
        rows += [{**shared, "split": split, "value": value} for split in ("selection", "test")]
    kept = {CellKey(m, a, 5, b): correct for (m, a, b), correct in won.items() if (m, a, b) not in missing}
    return Study(pd.DataFrame(rows, columns=list(ROW_COLUMNS)), Won(kept, kept), 10, n_resamples=n_resamples)


def coins(rng, share, n=120):
    return (rng.random(n) < share).astype(float)


def square(rng, *, home=0.95, away=0.75, methods=("dim",), sets=("a", "b"), n=120):
    return {
        (m, train, test): coins(rng, home if train == test else away, n)
        for m in methods
        for train in sets
        for test in sets
    }


def drawn_questions(of: Study, test, split, resample):
    """The questions of one split in one resample, repeated as drawn."""
    n = len(next(won for key, won in getattr(of.won, split).items() if key.test == test))
    weights = set_weights(test, split, n, n_resamples=of.n_resamples, seed=of.seed)
    return np.repeat(np.arange(n), weights[resample].astype(int))


def naive_choice(of: Study, test, questions):
    """The learned probe at home that wins most of these selection questions: the lower layer, then the alphabet, of ties."""
    own = [key for key in of.won.selection if key.train == key.test == test and key.method != "random"]
    return max(
        sorted(own, key=lambda key: (key.layer, key.method)), key=lambda key: of.won.selection[key][questions].mean()
    )


def naive_replicates(of: Study, cells, by, resample, *, corrected):
    """The means of one resample, question by question and cell by cell."""
    values: dict = {}
    for cell in cells.itertuples():
        won = of.won.test[CellKey(cell.method, cell.train, cell.layer, cell.test)]
        top = of.won.test[naive_choice(of, cell.test, drawn_questions(of, cell.test, "selection", resample))]
        drawn = drawn_questions(of, cell.test, "test", resample)
        floor = cell.chance_accuracy if corrected else 0.0
        ratio = (won[drawn].mean() - floor) / (top[drawn].mean() - floor)
        values.setdefault(getattr(cell, by), []).append(
            np.clip(ratio, 0, 1) if of.published and not corrected else ratio
        )
    return {name: np.mean(found) for name, found in values.items()}


@pytest.mark.parametrize("protocol", ["strict", "published"])
@pytest.mark.parametrize("corrected", [False, True])
def test_replicates_are_what_a_loop_over_drawn_questions_gives(protocol, corrected):
    found = simulated(protocol)
    cells = found.counted[found.counted["layer"].isin([6, 8])]
    means = replicated_means(found, cells, ["train"], corrected=corrected)
    assert np.isfinite(means.replicates).all() and means.replicates.shape == (6, 100)
    for resample in (0, 99):
        expected = naive_replicates(found, cells, "train", resample, corrected=corrected)
        assert dict(zip(means.groups["train"], means.replicates[:, resample], strict=True)) == pytest.approx(expected)
    column = "corrected" if corrected else found.measure
    expected = cells.groupby("train")[column].mean()
    assert dict(zip(means.groups["train"], means.value, strict=True)) == pytest.approx(dict(expected))


def test_cells_in_small_pieces_give_the_same_sums(monkeypatch):
    found = simulated("published")
    whole = replicated_means(found, found.counted, ["method"]).replicates
    monkeypatch.setattr(questions, "CHUNK_ELEMENTS", 700)
    np.testing.assert_allclose(replicated_means(found, found.counted, ["method"]).replicates, whole, rtol=1e-12)


def test_a_test_set_is_drawn_the_same_everywhere_and_other_sets_independently():
    found = simulated()

    def weights(test="imdb", split="test", seed=0):
        return set_weights(test, split, 40, n_resamples=100, seed=seed)

    np.testing.assert_array_equal(weights(), weights())
    for other in (weights("boolq"), weights(split="selection")):
        assert (weights() != other).any(axis=1).all()
    assert (weights(seed=1) != weights()).any()
    all_methods = replicated_means(found, found.counted, ["method"])
    alone = replicated_means(found, found.counted[found.counted["method"] == "lda"], ["method"])
    np.testing.assert_allclose(all_methods.replicates[all_methods.groups["method"] == "lda"], alone.replicates)


def test_copies_of_a_probe_do_not_narrow_the_interval_and_other_probes_do():
    rng = np.random.default_rng(3)
    one = square(rng)
    names = [f"m{number}" for number in range(8)]
    copies = {(name, train, test): won for name in names for (_, train, test), won in one.items()}
    others = one | {key: won for key, won in square(rng, methods=names).items() if key[1] != key[2]}
    width = {}
    for name, won in (("one", one), ("copies", copies), ("others", others)):
        made = handmade(won)
        means = replicated_means(made, made.counted, ["model"])
        width[name] = float(means.high[0] - means.low[0])
    assert width["copies"] == pytest.approx(width["one"]) and width["others"] < 0.85 * width["one"]


def test_intervals_hold_the_true_mean_about_95_times_in_100_and_half_of_them_less_often():
    true, held, half_held = 0.8 * 0.75 / 0.9 + 0.2 * 0.6 / 0.9, 0, 0
    for repeat in range(120):
        rng = np.random.default_rng([7, repeat])
        won = {("top", "a", "a"): coins(rng, 0.9, 150), ("top", "b", "b"): coins(rng, 0.9, 150)}
        for method, share in zip("vwxyz", (0.75,) * 4 + (0.6,), strict=True):
            # Half the questions are shared by all methods, so that their errors hang together.
            for train, test in (("a", "b"), ("b", "a")):
                shared = np.random.default_rng([8, repeat, test == "a"]).random(150)
                won[method, train, test] = (np.where(np.arange(150) % 2, shared, rng.random(150)) < share).astype(float)
        made = handmade(won, n_resamples=300)
        means = replicated_means(made, made.counted, ["model"])
        middle, reach = (means.low[0] + means.high[0]) / 2, (means.high[0] - means.low[0]) / 2
        held += abs(true - middle) <= reach
        half_held += abs(true - middle) <= reach / 2
    # 120 tries at 95 %: 114 +- 2.4; half the width holds about 67 %.
    assert 106 <= held <= 120 and half_held <= 96


@pytest.mark.parametrize("protocol", ["strict", "published"])
def test_a_mean_has_one_interval_in_figures_and_in_sentences(protocol):
    found = simulated(protocol)
    drawn, blocks = (make(found, found.counted, ["method"]) for make in (replicated_means, Blocks.of))
    said = [headline(blocks.union(np.arange(len(blocks.value)) == row)) for row in range(len(blocks.value))]
    np.testing.assert_allclose([drawn.low, drawn.high], [[s.low for s in said], [s.high for s in said]], rtol=1e-12)


def test_clipping_does_not_push_the_interval_off_the_mean():
    """Cells at their ceiling, where clipped resamples only fall: percentiles that are not centred miss the mean."""
    at_the_ceiling = drawn_study(
        6, {"dim": 0.85}, n_sets=24, n_questions=100, protocol="published", taste=0.0, home=0.0
    )
    means = replicated_means(at_the_ceiling, at_the_ceiling.counted, ["method"])
    assert means.low[0] < means.value[0] < means.high[0]
    assert np.quantile(means.replicates[0], 0.975) < means.value[0]


def test_published_means_stay_within_the_ceiling_and_strict_ones_do_not():
    won = square(np.random.default_rng(0), home=0.7, away=0.95)
    published, strict = (handmade(won, protocol=name) for name in ("published", "strict"))
    cells = published.cells[~published.cells["in_distribution"].astype(bool)]
    bounded, free = (replicated_means(made, cells, ["train"]) for made in (published, strict))
    assert (bounded.replicates <= 1).all() and (bounded.high <= 1).all() and (bounded.value == 1).all()
    assert (free.value > 1.1).all() and (free.high > free.value).all()


def test_sets_whose_ceiling_can_fall_to_chance_are_in_no_corrected_mean():
    rng = np.random.default_rng(1)
    near, clear = handmade(square(rng, home=0.56, away=0.5)), handmade(square(rng))
    table = mean_table(near, near.counted, ["method"]).iloc[0]
    assert np.isnan(table["corrected"]) and np.isnan(table["corrected_low"]) and np.isfinite(table["ci_low"])
    assert table["corrected_reason"] == "ceiling_not_clear_of_chance" and table["n_corrected"] == 0
    assert np.isfinite(table["value"]) and table["reason"] is None
    table = mean_table(clear, clear.counted, ["method"]).iloc[0]
    assert table["corrected_low"] < table["corrected"] < table["corrected_high"]
    assert table["corrected_ci_reason"] is None


def test_cells_without_questions_leave_the_mean_without_an_interval_and_no_other():
    won = square(np.random.default_rng(2), sets=("a", "b", "c"))
    made = handmade(won, missing={("dim", "a", "b")})
    table = mean_table(made, made.counted, ["train"]).set_index("train")
    assert np.isnan(table.loc["a", "ci_low"]) and np.isfinite(table.loc["a", "value"])
    assert table.loc["a", "ci_reason"] == "per-question correctness is not at hand"
    assert np.isfinite(table.loc[["b", "c"], "ci_low"]).all() and table.loc["b", "ci_reason"] is None
    no_ceiling = handmade(won, missing={("dim", "b", "b")})
    lost = mean_table(no_ceiling, no_ceiling.counted, ["test"]).set_index("test")["ci_low"].isna()
    assert lost["b"] and not lost[["a", "c"]].any()


def test_undefined_cells_are_left_out_and_counted():
    won = square(np.random.default_rng(2), sets=("a", "b", "c"))
    won["dim", "a", "b"] = np.full(120, np.nan)
    won["dim", "b", "a"] = won["dim", "b", "c"] = np.full(120, np.nan)
    made = handmade(won)
    table = mean_table(made, made.counted, ["train"]).set_index("train")
    only = made.counted.set_index(["train", "test"])["value"][("a", "c")]
    assert table.loc["a", "value"] == pytest.approx(only) and np.isfinite(table.loc["a", "ci_low"])
    assert dict(table["n_cells"]) == {"a": 1, "b": 0, "c": 2} and dict(table["n_undefined"]) == {"a": 1, "b": 2, "c": 0}
    assert dict(table["n_questions"]) == {"a": 120, "b": 0, "c": 240}
    assert np.isnan(table.loc["b", ["value", "ci_low", "chance"]].astype(float)).all()
    assert (
        table.loc["b", "reason"] == table.loc["b", "ci_reason"] == "undefined_accuracy"
        and table.loc["c", "reason"] is None
    )


def test_means_whose_resamples_all_agree_get_the_bound_of_single_cells():
    won = square(np.random.default_rng(5), sets=("a", "b"))
    won["dim", "a", "b"] = won["dim", "b", "b"]
    made = handmade(won)
    means = replicated_means(made, made.counted, ["test"])
    at = dict(zip(means.groups["test"], range(2), strict=True))
    copy = won["dim", "b", "b"]
    single = recovered_accuracy(copy[None], made.drawn_ceiling("b"), chance=0.5)
    assert np.ptp(means.replicates[at["b"]]) < 1e-12 and means.value[at["b"]] == 1.0
    assert means.low[at["b"]] == pytest.approx(single.plain.low[0]) and means.high[at["b"]] == pytest.approx(
        single.plain.high[0]
    )
    corrected = replicated_means(made, made.counted, ["test"], corrected=True)
    assert corrected.low[at["b"]] == pytest.approx(single.corrected.low[0])
    assert np.ptp(means.replicates[at["a"]]) > 0.1


def test_a_mean_of_nothing_is_refused():
    found = simulated()
    with pytest.raises(UsageError, match="no cells to average"):
        replicated_means(found, found.counted.iloc[:0], ["method"])
    shallow = replace(found, rows=found.rows[found.rows["layer"] < 3])
    for table in (method_means, train_means, train_test_means, methods_beside_best, probes_by_layer):
        with pytest.raises(UsageError, match=r"layer 3 or deeper .* --layers"):
            table(shallow)


def counted_by_hand(found, cells, protocol):
    deep = (cells["layer"] >= 3) & ~cells["in_distribution"].astype(bool)
    return cells[(cells["test"] != "truthful_qa") & (deep | (protocol == "published"))]


@pytest.mark.parametrize("protocol", ["strict", "published"])
def test_method_means_are_over_the_counted_cells_with_the_control_on_the_same(protocol):
    found = simulated(protocol)
    table = method_means(found).set_index("name")
    cells = counted_by_hand(found, found.cells, protocol)
    expected = cells.groupby("method")["clipped" if protocol == "published" else "value"].agg(["mean", "size"])
    assert dict(table["value"]) == pytest.approx(dict(expected["mean"]))
    assert dict(table["n_cells"]) == dict(expected["size"])
    # 3 or 4 layers x 6 training sets x 5 or 6 test sets, less the set without questions for grouped methods.
    assert table["n_cells"]["dim"] == table["n_cells"]["random"] == {"strict": 90, "published": 144}[protocol]
    assert table["n_cells"]["ccs"] == {"strict": 75, "published": 120}[protocol]
    assert dict(table["corrected"]) == pytest.approx(dict(cells.groupby("method")["corrected"].mean()))
    assert (table["ci_low"] < table["value"]).all() and (table["value"] < table["ci_high"]).all()


def test_method_means_come_in_the_planted_order_with_the_control_last():
    table = method_means(simulated())
    assert list(table["name"]) == ["lr-g", "dim", "lda", "ccs", "random"]
    assert list(table["kind"]) == ["learned"] * 4 + ["control"]
    assert list(table["supervised"]) == [True, True, True, False, False]
    assert list(table["grouped"]) == [True, False, False, True, False]
    control = table.iloc[-1]
    # Scores without a signal recover what guessing does; 90 cells of 50 questions leave a few percent.
    assert control["value"] == pytest.approx(control["chance"], abs=0.04) and abs(control["corrected"]) < 0.06
    assert table.loc[1, "corrected"] > 0.4
    no_control = simulated()
    no_control = replace(no_control, rows=no_control.rows[~no_control.rows["method"].isin(CONTROLS)])
    assert "control" not in set(method_means(no_control)["kind"])


def test_train_means_put_the_best_teacher_first_and_know_families():
    table = train_means(simulated())
    assert table["name"].iloc[0] == "got_cities" and table["family"].iloc[0] == "got"
    assert table["name"].iloc[-1] == "random" and len(table) == 7
    n_cells = table.set_index("name")["n_cells"]
    # 3 layers x 5 other sets x methods that can use the set
    assert n_cells["got_cities"] == 60 and n_cells["got_cities_cities_conj"] == 30 and n_cells["random"] == 90


@pytest.mark.parametrize(
    "home, below, unclear", [(0.95, "", ""), (0.56, "", "b"), (0.4, "b", "")], ids=["clear", "unclear", "below"]
)
def test_weak_ceilings_are_named_and_clear_ones_are_not(home, below, unclear):
    rng = np.random.default_rng(4)
    won = square(rng, sets=("a", "b", "c"))
    won["dim", "b", "b"] = (np.arange(120) < 120 * home).astype(float)
    table = method_means(handmade(won)).iloc[0]
    assert (table["below_chance"], table["unclear"]) == (below, unclear)
    left = [set_ for set_ in "abc" if set_ not in (below, unclear)]
    cells = handmade(won).counted.set_index("test")["corrected"][left]
    assert table["corrected"] == pytest.approx(cells.mean()) and np.isfinite(table["corrected_low"])
    assert table["n_cells"] == 6 and table["n_corrected"] == 2 * len(left)


@pytest.mark.parametrize("protocol", ["strict", "published"])
def test_the_matrix_averages_deep_layers_and_methods_and_its_rows_leave_home_out(protocol):
    found = simulated(protocol)
    table = train_test_means(found)
    column = "clipped" if protocol == "published" else "value"
    deep = found.cells[(found.cells["layer"] >= 3) & (found.cells["method"] != "random")]
    expected = deep.groupby(["train", "test"])[column].mean()
    by_cell = table.set_index(["train", "test"])
    assert len(table) == 36 and "truthful_qa" not in set(table["test"])
    assert dict(by_cell["value"]) == pytest.approx({key: expected[key] for key in by_cell.index})
    every_layer = found.cells[found.cells["method"] != "random"].groupby(["train", "test"])[column].mean()
    assert by_cell["value"].mean() > every_layer[by_cell.index].mean() + 0.05
    away = deep[~deep["in_distribution"].astype(bool) & (deep["test"] != "truthful_qa")]
    rows = table.drop_duplicates("train").set_index("train")
    assert dict(rows["row_value"]) == pytest.approx(dict(away.groupby("train")[column].mean()))
    assert (rows["row_low"] < rows["row_value"]).all() and dict(rows["row_cells"]) == dict(away.groupby("train").size())
    assert list(rows.index) == found.train_order == list(dict.fromkeys(table["test"]))


def test_tables_around_the_best_probe_hold_single_cells_with_their_intervals():
    found = simulated()
    best = found.best
    assert best.method == "lr-g" and best.train == "got_cities"
    whole = found.cells.set_index(["method", "train", "layer", "test"])["value"]
    for build, column, held in (
        (methods_beside_best, "method", {"train": best.train, "layer": best.layer}),
        (trains_beside_best, "train", {"method": best.method, "layer": best.layer}),
        (layers_beside_best, "layer", {"method": best.method, "train": best.train}),
    ):
        table = build(found)
        assert set(table["test"]) == set(found.train_order) - {best.train}
        assert all((table[name] == value).all() for name, value in held.items())
        for cell in table[table["value"].notna()].itertuples():
            assert cell.value == whole[cell.method, cell.train, cell.layer, cell.test]
            assert cell.ci_low <= cell.value <= cell.ci_high and cell.method not in CONTROLS
        away = table[~table["in_distribution"]].groupby(column)["value"].mean()
        rows = table.drop_duplicates(column).set_index(column)["row_value"]
        assert dict(rows.dropna()) == pytest.approx(dict(away.dropna()))
    assert list(dict.fromkeys(methods_beside_best(found)["method"])) == ["lr-g", "dim", "lda", "ccs"]
    assert list(dict.fromkeys(trains_beside_best(found)["train"])) == found.train_order
    assert list(dict.fromkeys(layers_beside_best(found)["layer"])) == [0, 3, 6, 8]


def test_training_sets_a_method_cannot_use_stay_as_gaps_and_are_dropped_as_published():
    strict = trains_beside_best(simulated())
    gap = strict[strict["train"] == "got_cities_cities_conj"]
    assert len(gap) == 5 and gap["value"].isna().all() and set(gap["reason"]) == {NO_PROBE}
    published = simulated("published")
    table = trains_beside_best(published)
    assert published.best.method == "lr-g" and "got_cities_cities_conj" not in set(table["train"])
    assert len(table) == 25 and (table[["value", "ci_high", "chance"]] <= 1).all().all()


def shares(table, series="learned"):
    part = table[table["series"] == series]
    by_layer = part[part["kind"] == LAYER_SHARE].set_index("layer")
    return part[part["kind"] == PROBE], by_layer, part[part["kind"] == OVERALL_SHARE].iloc[0]


@pytest.mark.parametrize("protocol", ["strict", "published"])
def test_probes_by_layer_average_test_sets_and_count_those_above_80_percent(protocol):
    found = simulated(protocol)
    probes, by_layer, overall = shares(probes_by_layer(found))
    cells = found.learned if protocol == "published" else found.learned[~found.learned["in_distribution"].astype(bool)]
    expected = cells.groupby(["method", "train", "layer"])[found.measure].mean()
    means = probes.set_index(["method", "train", "layer"])["value"]
    assert dict(means) == pytest.approx(dict(expected)) and len(means) == 88
    above = expected > 0.8
    for layer in (0, 3, 6, 8):
        assert by_layer.loc[layer, "value"] == above.xs(layer, level="layer").mean()
    deep = above[above.index.get_level_values("layer") >= 3]
    assert overall["value"] == deep.mean() and overall["n_probes"] == 66
    assert 0.1 < overall["ci_low"] < overall["value"] < overall["ci_high"] < 1
    assert set(probes["own_set"]) == {"own set included" if protocol == "published" else "own set excluded"}


def test_layers_and_controls_without_a_signal_have_no_probe_above_80_percent():
    table = probes_by_layer(simulated())
    _, by_layer, overall = shares(table)
    assert by_layer.loc[0, "value"] < 0.05 and by_layer.loc[8, "value"] > 0.3
    control = shares(table, "control")[2]
    assert control["value"] < 0.05 < overall["ci_low"] and control["n_probes"] == 18


def test_share_bounds_hold_the_share_and_need_all_replicates():
    found = simulated()
    means = replicated_means(found, found.counted, ["method", "train", "layer"])
    everyone = np.ones(len(means.value), dtype=bool)
    fine = share_above(means, everyone)
    assert fine["ci_low"] <= fine["value"] <= fine["ci_high"] and fine["n_probes"] == len(everyone)
    drifted = replace(means, replicates=means.replicates + 0.3)
    found_drifted = share_above(drifted, everyone)
    assert found_drifted["ci_low"] == found_drifted["value"] < found_drifted["ci_high"]
    holed = replace(means, ci_reason=("why", *means.ci_reason[1:]))
    assert np.isnan(share_above(holed, everyone)["ci_low"]) and share_above(holed, everyone)["ci_reason"] == "why"
    assert np.isfinite(share_above(holed, ~np.eye(len(everyone), dtype=bool)[0])["ci_low"])
    nobody = share_above(means, ~everyone)
    assert np.isnan(nobody["value"]) and nobody["n_probes"] == 0 and nobody["reason"]


def test_how_narrowly_a_ceiling_was_chosen_is_told():
    """One probe far ahead is chosen every time; eight alike are not, and the bounds say so."""
    rng = np.random.default_rng(8)
    ahead = square(rng, methods=("dim",), n=60) | {
        (f"m{i}", a, b): coins(rng, 0.5, 60) for i in range(7) for a in "ab" for b in "ab"
    }
    alike = square(rng, home=0.7, methods=[f"m{i}" for i in range(8)], n=60)
    one, many = (handmade(won).ceiling_choices.set_index("test").loc["a"] for won in (ahead, alike))
    assert one["n_chosen"] == 1 and many["n_chosen"] > 4
    for row in (one, many):
        assert row["choice_low"] < row["value"] < row["choice_high"]
    assert many["choice_high"] - many["choice_low"] > 1.5 * (one["choice_high"] - one["choice_low"])
    bare = replace(handmade(ahead), won=Won({}, {})).ceiling_choices
    assert bare[["n_chosen", "choice_low", "choice_high"]].isna().all(axis=None) and bare["value"].notna().all()


def test_the_resampled_ceiling_is_that_of_the_table():
    found = simulated()
    for row in found.ceilings.dropna(subset=["value"]).itertuples():
        assert found.drawn_ceiling(row.test).value == pytest.approx(row.value)


def test_candidates_without_a_score_are_never_drawn_and_a_set_of_them_has_no_ceiling():
    """Both are chosen in some resamples until one has no score on the test split; where the best has none there is no ceiling."""
    rng = np.random.default_rng(9)
    whole = handmade({(m, a, b): coins(rng, 0.7, 40) for m in ("one", "other") for a in "ab" for b in "ab"})
    assert len(set(whole.drawn_ceiling("a").chosen.tolist())) == 2
    best = whole.ceilings.set_index("test").loc["a", "method"]

    def without(method):
        """No score of `method` on the test questions of `a`."""
        blank = whole.rows["split"].eq("test") & whole.rows["method"].eq(method) & whole.rows["test"].eq("a")
        won = {
            key: np.full(40, np.nan) if key.method == method and key.test == "a" else w
            for key, w in whole.won.test.items()
        }
        rows = whole.rows.assign(value=whole.rows["value"].where(~blank))
        return replace(whole, rows=rows, won=replace(whole.won, test=won)).ceiling_choices.set_index("test").loc["a"]

    row = without("other" if best == "one" else "one")
    assert row["n_chosen"] == 1 and 0 < row["choice_low"] < row["value"] < row["choice_high"] < 1
    row = without(best)
    assert row[["value", "n_chosen", "choice_low", "choice_high"]].isna().all() and row["selection_value"] > 0.5
