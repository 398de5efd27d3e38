"""Recovered accuracy: plain, chance-corrected, and its paired intervals."""

from __future__ import annotations

import numpy as np
import pytest

from probeshift.metrics import recovered_accuracy, resample_weights
from probeshift.metrics.recovered import Ceiling


def wins(rng, share, n_probes=3, n=200):
    return (rng.random((n_probes, n)) < share).astype(float)


def ceiling_of(won, *, n_resamples=1000, seed=0):
    """A ceiling without a choice: one candidate."""
    weights = resample_weights(len(won), n_resamples, seed)
    return Ceiling.choose(won[None], won[None], weights, weights)


def test_values_and_intervals_equal_a_naive_paired_loop():
    rng = np.random.default_rng(0)
    correct, ceiling = wins(rng, 0.7), wins(rng, 0.9, n_probes=1)[0]
    got = recovered_accuracy(correct, ceiling_of(ceiling, n_resamples=200, seed=4), chance=0.5)
    weights = resample_weights(200, 200, seed=4)
    for probe, row in enumerate(correct):
        assert got.plain.value[probe] == pytest.approx(row.mean() / ceiling.mean(), abs=1e-15)
        for ratio, chance in ((got.plain, 0.0), (got.corrected, 0.5)):
            naive = [
                (np.average(row, weights=drawn) - chance) / (np.average(ceiling, weights=drawn) - chance)
                for drawn in weights
            ]
            naive += ratio.value[probe] - np.mean(naive)
            np.testing.assert_allclose(
                [ratio.low[probe], ratio.high[probe]], np.quantile(naive, [0.025, 0.975]), rtol=0, atol=1e-12
            )
    assert set(got.plain.ci_kind) == {"bootstrap_questions"}


def test_pairing_shortens_the_interval_of_a_probe_that_wins_the_same_questions():
    rng = np.random.default_rng(1)
    ceiling = wins(rng, 0.8, n_probes=1)[0]
    alike = ceiling.copy()
    alike[:4] = 1 - alike[:4]
    unlike = rng.permutation(alike)
    got = recovered_accuracy(np.stack([alike, unlike]), ceiling_of(ceiling), chance=0.5)
    widths = got.plain.high - got.plain.low
    assert widths[0] < widths[1] / 2


def test_more_than_the_ceiling_is_shown_and_only_the_published_value_is_clipped():
    rng = np.random.default_rng(2)
    got = recovered_accuracy(wins(rng, 0.95), ceiling_of(wins(rng, 0.6, n_probes=1)[0]), chance=0.5)
    assert (got.plain.value > 1).all() and (got.clipped == 1).all()


def test_guessing_recovers_half_of_a_binary_ceiling_but_nothing_above_chance():
    rng = np.random.default_rng(3)
    got = recovered_accuracy(wins(rng, 0.5, n=4000), ceiling_of(np.ones(4000)), chance=0.5)
    # 4000 fair coins: standard error 0.008
    np.testing.assert_allclose(got.plain.value, 0.5, atol=0.04)
    np.testing.assert_allclose(got.corrected.value, 0.0, atol=0.08)


def test_a_ceiling_at_or_below_chance_leaves_only_the_plain_value():
    ceiling = np.tile([1.0, 0.0], 20)
    got = recovered_accuracy(np.ones((1, 40)), ceiling_of(ceiling), chance=0.5)
    assert got.plain.value[0] == 2.0
    assert np.isnan(got.corrected.value[0]) and got.corrected.reason == ("ceiling_not_above_chance",)
    assert np.isnan([got.corrected.low[0], got.corrected.high[0]]).all()


def test_a_ceiling_barely_above_chance_has_a_value_but_no_interval():
    ceiling = np.array([1.0] * 22 + [0.0] * 18)
    got = recovered_accuracy(np.ones((1, 40)), ceiling_of(ceiling), chance=0.5).corrected
    assert got.value[0] == pytest.approx(10.0) and np.isnan(got.low[0])
    assert got.reason == (None,) and got.ci_reason == ("ceiling_not_clear_of_chance",)


def test_unknown_chance_undefined_probes_and_a_zero_ceiling_say_so():
    correct = np.array([[1.0, 0.0, 1.0, 1.0], [np.nan] * 4])
    got = recovered_accuracy(correct, ceiling_of(np.ones(4)), chance=float("nan"))
    assert got.plain.reason == (None, "undefined_accuracy")
    assert got.corrected.reason == ("chance_unknown", "undefined_accuracy")
    assert recovered_accuracy(correct, ceiling_of(np.zeros(4)), chance=0.0).plain.reason[0] == "ceiling_is_zero"


def test_equal_wins_everywhere_get_the_discordance_bound():
    ceiling = np.ones(50)
    got = recovered_accuracy(np.ones((1, 50)), ceiling_of(ceiling), chance=0.5)
    reach = 1 - 0.025 ** (1 / 50)
    assert got.plain.ci_kind == ("degenerate_discordance",)
    np.testing.assert_allclose([got.plain.low[0], got.plain.high[0]], [1 - reach, 1 + reach])
    np.testing.assert_allclose(got.corrected.high[0], 1 + 2 * reach)


def test_the_ceiling_is_chosen_anew_in_each_resample_and_judged_on_the_test_questions():
    rng = np.random.default_rng(6)
    selection, test = wins(rng, 0.7, n_probes=5, n=60), wins(rng, 0.7, n_probes=5, n=80)
    drawn = resample_weights(60, 50, seed=1), resample_weights(80, 50, seed=2)
    got = Ceiling.choose(selection, test, *drawn)
    assert got.value == test[selection.mean(axis=1).argmax()].mean()
    for resample in range(50):
        questions = [np.repeat(np.arange(w.shape[1]), w[resample].astype(int)) for w in drawn]
        best = selection[:, questions[0]].mean(axis=1).argmax()
        assert got.chosen[resample] == best and got.drawn[resample] == pytest.approx(test[best, questions[1]].mean())
    assert len(set(got.chosen)) > 1


def test_a_ceiling_that_wins_every_question_gets_exact_bounds():
    assert ceiling_of(np.ones(50)).bounds == pytest.approx((0.025 ** (1 / 50), 1.0))
    some = ceiling_of((np.arange(50) < 40).astype(float)).bounds
    assert some[0] < 0.8 < some[1] < 1


def test_intervals_hold_what_other_selection_and_test_questions_give_and_a_choice_taken_as_given_does_not():
    """Many candidates of unlike worth, few questions: 95 in 100 intervals of the ratio should overlap that of a repeat."""
    shares = np.linspace(0.55, 0.75, 20)
    held = {"chosen anew": 0, "taken as given": 0}
    for repeat in range(150):
        rng = np.random.default_rng([5, repeat])
        selection, test, again, probe = (rng.random((n, 60)) < s for n, s in (
            (20, shares[:, None]), (20, shares[:, None]), (20, shares[:, None]), (1, 0.6)))  # fmt: skip
        weights = resample_weights(60, 400, seed=repeat), resample_weights(60, 400, seed=1000 + repeat)
        anew = Ceiling.choose(selection.astype(float), test.astype(float), *weights)
        best = selection.mean(axis=1).argmax()
        given = Ceiling.choose(*(part[[best]].astype(float) for part in (selection, test)), *weights)
        # what a repeat divides by: the true share of the candidate that other selection questions choose
        true = 0.6 / shares[again.mean(axis=1).argmax()]
        for name, ceiling in (("chosen anew", anew), ("taken as given", given)):
            ratio = recovered_accuracy(probe.astype(float), ceiling, chance=0.5).plain
            held[name] += ratio.low[0] <= true <= ratio.high[0]
    assert held["chosen anew"] >= 0.92 * 150 and held["taken as given"] < held["chosen anew"]
