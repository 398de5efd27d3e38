"""Sentences on a study change with its numbers: planted cases and their opposites."""

from __future__ import annotations

from dataclasses import replace

import pytest
from drawn_study import drawn_study
from simulated_study import Simulation, study

from probeshift.errors import UsageError
from probeshift.report.comparison.reading import reading
from probeshift.summaries import Won
from probeshift.summaries.paired import compare_methods
from probeshift.summaries.protocols import protocol_table

EQUAL = {"dim": 0.75, "lda": 0.75, "random": 0.5}
UNEQUAL = {"dim": 0.8, "lda": 0.6, "random": 0.5}


def sentence(study, start, published=None):
    """The one sentence that holds `start`."""
    (found,) = [line for line in reading(study, published) if start in line]
    return found


def turned(simulation):
    return tuple(study(replace(simulation, protocol=name), n_resamples=100) for name in ("strict", "published"))


def inverted(method, train, layer, test):
    return 0.0 if method == "random" else -2.5 if train == "imdb" and test == "boolq" else 2.5


PLANTED = Simulation(methods=("dim", "random"), layers=(3, 6), strength=inverted)
UPRIGHT = replace(PLANTED, strength=lambda method, *_: 0.0 if method == "random" else 2.5)


@pytest.fixture(scope="module")
def planted():
    return turned(PLANTED)


@pytest.fixture(scope="module")
def upright():
    return turned(UPRIGHT)


def test_methods_are_told_apart_only_where_the_tests_do():
    assert "`dim` is above `lda` (" in sentence(drawn_study(0, UNEQUAL), "On the cells both have")
    alike = drawn_study(0, EQUAL)
    first, second = sorted({"dim", "lda"}, key=alike.method_order.index)
    assert f"`{first}` is not told apart from `{second}` (" in sentence(alike, "On the cells both have")
    assert "not tested against `lda`" in sentence(
        replace(drawn_study(0, UNEQUAL), won=Won({}, {})), "On the cells both have"
    )


def test_a_method_that_is_ahead_only_on_cells_of_its_own_is_said_to_be_below():
    """`lda` has no probe on set0, where both would do badly: its mean is higher, on common cells it loses."""
    both = drawn_study(1, {"dim": 0.7, "lda": 0.66}, n_questions=200, taste=0.0)
    rows = both.rows[~(both.rows["method"].eq("lda") & both.rows["train"].eq("set0"))].copy()
    hard = rows["train"].eq("set0") & rows["test"].ne("set0")
    rows.loc[hard, "value"] = 0.2
    assert "`lda` is below `dim`" in sentence(replace(both, rows=rows), "On the cells both have")
    assert "`dim` is above `lda`" in sentence(both, "On the cells both have")


def test_one_method_alone_is_compared_with_nobody():
    lines = reading(drawn_study(0, {"dim": 0.75}))
    assert any("Only `dim` was evaluated" in line for line in lines)
    assert any("No control was evaluated" in line for line in lines) and not any("Wilcoxon" in line for line in lines)


def test_the_control_sentence_has_the_tested_difference():
    strong, weak = drawn_study(0, UNEQUAL), drawn_study(0, {"dim": 0.5, "random": 0.5})
    row = compare_methods(strong).set_index(["method_a", "method_b"]).loc[("dim", "random")]
    said = sentence(strong, "The control")
    assert (
        f"`dim` is {100 * row['difference']:.1f} points [{100 * row['ci_low']:.1f}, " in said
        and "above it (q = " in said
    )
    assert "cannot be told from it" in sentence(weak, "The control")
    below = sentence(drawn_study(0, {"dim": 0.4, "random": 0.6}), "The control")
    row = compare_methods(drawn_study(0, {"dim": 0.4, "random": 0.6})).iloc[0]
    assert (
        f"`dim` is {-100 * row['difference']:.1f} points [{-100 * row['ci_high']:.1f}, " in below
        and "below it" in below
    )


def test_the_mean_above_chance_says_when_it_is_guessing():
    strong = drawn_study(0, {"dim": 0.75}, home=0.2)
    assert "guessing." not in sentence(strong, "Corrected for chance") and "on 30 cells" not in sentence(
        strong, "Corrected"
    )
    assert "cannot be told from guessing." in sentence(drawn_study(0, {"dim": 0.5}, home=0.4), "Corrected for chance")
    assert "That is below guessing." in sentence(drawn_study(0, {"dim": 0.35}, home=0.5), "Corrected for chance")


def test_sets_left_out_above_chance_are_named_with_what_decided_it():
    clear = drawn_study(0, {"dim": 0.75}, home=0.2)
    assert "Left out" not in sentence(clear, "Corrected for chance")
    own = clear.rows["test"].eq("set0") & clear.rows["train"].eq("set0")
    one = replace(clear, rows=clear.rows.assign(value=clear.rows["value"].where(~own, 0.4)))
    assert "Left out: `set0`, whose ceiling may be chance. The questions decide" in sentence(
        one, "Corrected for chance"
    )


def test_inverted_cells_are_counted_in_words(planted, upright):
    # 6 sets x (5 others and TruthfulQA) x 2 layers; planted: one training set on one other set.
    assert ": 2 of 72 cells of learned probes" in sentence(planted[0], "Inverted directions")
    assert ": 0 of 72 cells of learned probes" in sentence(upright[0], "Inverted directions")
    assert "of `random`:" in sentence(planted[0], "Inverted directions")
    assert "cannot be seen" in sentence(planted[1], "Inverted directions")


@pytest.mark.parametrize("hard", ["boolq", "race"])
def test_the_worst_set_is_the_planted_one(hard):
    def strength(method, train, layer, test):
        return 2.5 if train == test else 0.3 if test == hard else 2.0

    weak = Simulation(methods=("dim",), layers=(6,), strength=strength)
    assert sentence(study(weak, n_resamples=100), "Worst test set").startswith(
        f"Worst test set: `{hard}`, mean recovered "
    )
    assert ", told apart from" in sentence(study(weak, n_resamples=100), "Worst test set")


def test_worst_sets_that_are_equally_hard_are_not_told_apart():
    even = drawn_study(2, {"dim": 0.7})
    assert ", not told apart from" in sentence(even, "Worst test set")


def test_the_best_probe_and_what_its_interval_forbids():
    near, far = drawn_study(3, {"dim": 0.75}, home=0.0), drawn_study(3, {"dim": 0.55}, home=0.4, n_questions=100)
    best = near.best
    said = sentence(near, "Best probe")
    assert f"`{best.method}` on `{best.train}`, layer {best.layer}, chosen on the selection split" in said
    assert "reaches the ceiling" in said and "reaches the ceiling" not in sentence(far, "Best probe")
    mean = near.counted.loc[near.counted["train"] == best.train, "value"].mean()
    assert f"it recovers {100 * mean:.1f} % [" in said and "mean over 5 test sets, its own excluded" in said


def test_the_loosest_ceiling_is_named_with_its_bounds():
    even = drawn_study(2, {f"m{i}": 0.6 for i in range(6)})
    widths = even.ceiling_choices.assign(width=lambda t: t["choice_high"] - t["choice_low"]).set_index("test")["width"]
    said = sentence(even, "A ceiling is a choice")
    top = even.ceiling_choices.set_index("test").loc[widths.idxmax()]
    assert f"The loosest is `{widths.idxmax()}`'s, {100 * top['value']:.1f} % [{100 * top['choice_low']:.1f}" in said
    assert "up to 6 different probes of a set" in said
    for other in (drawn_study(2, {"dim": 0.6}), replace(even, won=Won({}, {}))):  # no choice, no questions
        assert not any("A ceiling is a choice" in line for line in reading(other))


def test_leads_that_other_sets_may_turn_are_named():
    few = reading(drawn_study(0, UNEQUAL, n_sets=5))
    assert any("The lead of `dim` over `lda`, `random` is not tested over sets" in line for line in few)
    many = reading(drawn_study(0, UNEQUAL, n_sets=8))
    assert not any("over sets" in line or "With test sets as units" in line for line in many)


def test_a_lead_from_a_single_set_is_not_shown_over_sets():
    """`dim` is far ahead on one of eight sets and level on the others."""
    level = drawn_study(4, {"dim": 0.7, "lda": 0.7}, n_sets=8)
    test = {
        k: won * 0 if k.method == "lda" and k.test == "set0" != k.train else won for k, won in level.won.test.items()
    }
    rows = level.rows.copy()
    lost = rows["method"].eq("lda") & rows["test"].eq("set0") & rows["train"].ne("set0") & rows["split"].eq("test")
    rows.loc[lost, "value"] = 0.0
    lines = reading(replace(level, rows=rows, won=replace(level.won, test=test)))
    assert any("With test sets as units the lead of `dim` over `lda` is not shown" in line for line in lines)
    assert not any("With test sets as units" in line for line in reading(drawn_study(4, UNEQUAL, n_sets=8)))


def test_what_the_published_procedure_adds_is_said_with_the_numbers_of_its_table(planted, upright):
    rows = protocol_table(*planted).set_index("key")
    mean = rows.loc["mean_away_deep"]
    said = sentence(planted[0], "On the same cells the published", planted[1])
    assert (
        f"a mean of {100 * mean['published']:.1f} % [" in said
        and f"where strict reads {100 * mean['strict']:.1f} % [" in said
    )
    assert "It turned 2 of 60 cells (3.3 %)" in sentence(planted[0], "It turned", planted[1])
    assert "It turned 0 of 60 cells (0.0 %)" in sentence(upright[0], "It turned", upright[1])
    assert not any("It turned" in line for line in reading(planted[0]))
    control = f"For the control it reads {100 * rows.loc['control', 'published']:.1f} % ["
    assert control in sentence(planted[0], "For the control", planted[1])


def test_undefined_cells_are_counted_in_the_first_sentence():
    whole = drawn_study(5, {"dim": 0.7})
    assert "undefined" not in reading(whole)[0] and "30 cells of learned probes on 6 test sets" in reading(whole)[0]
    rows = whole.rows.copy()
    rows.loc[rows["train"].eq("set0") & rows["test"].eq("set1"), "value"] = float("nan")
    assert "1 of them are undefined" in reading(replace(whole, rows=rows))[0]


def test_a_study_without_counted_cells_is_refused():
    shallow = drawn_study(0, {"dim": 0.7})
    with pytest.raises(UsageError, match="--layers"):
        reading(replace(shallow, rows=shallow.rows.assign(layer=0)))
