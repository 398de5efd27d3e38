"""Statistics over concepts: intervals that hold the truth, exact tests, and no recovery of a gain that may be none."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import bootstrap, permutation_test

from probeshift.errors import UsageError
from probeshift.metrics.intervals import resample_weights
from probeshift.metrics.units import (
    ALL_EQUAL,
    BCA,
    NOT_FINITE,
    TOO_FEW_UNITS,
    holm,
    mean_estimate,
    ratio_of_sums,
    share_estimate,
    sign_flip_p,
)
from probeshift.steering.effects import (
    NO_NATIVE_GAIN,
    align,
    compare,
    concept_means,
    native_gain_problem,
    non_inferiority,
    recovery,
)


def drawn(seed, n=40):
    """Concepts whose native gain is 1 on average and whose transferred gain is 0.6 of it, with noise of their own."""
    generator = np.random.default_rng(seed)
    none = generator.normal(0.3, 0.1, n)
    gain = generator.gamma(4.0, 0.25, n)
    return none, none + gain, none + 0.6 * gain + generator.normal(0, 0.2, n)


def test_the_interval_of_a_mean_is_scipys_bca():
    values = np.random.default_rng(0).exponential(size=30)
    expected = bootstrap((values,), np.mean, n_resamples=10_000, random_state=np.random.default_rng(5))
    got = mean_estimate(values, seed=5)
    assert (got.low, got.high) == pytest.approx(tuple(expected.confidence_interval))
    assert (got.value, got.n, got.ci_kind, got.reason) == (pytest.approx(values.mean()), 30, BCA, None)


def test_a_mean_of_few_or_equal_units_has_a_value_and_no_bounds():
    for values, why in ((np.array([0.1, 0.2]), TOO_FEW_UNITS), (np.full(9, 0.5), ALL_EQUAL)):
        got = mean_estimate(values)
        assert got.value == pytest.approx(values.mean()) and np.isnan([got.low, got.high]).all()
        assert (got.reason, got.ci_reason) == (None, why)
    nothing = mean_estimate(np.array([]))
    assert np.isnan(nothing.value) and nothing.reason == TOO_FEW_UNITS
    broken = mean_estimate(np.array([0.1] * 9 + [np.nan]))
    assert np.isnan(broken.value) and broken.reason == NOT_FINITE


def test_recovery_is_the_ratio_of_sums_not_the_mean_of_ratios():
    none, native, transfer = drawn(0)
    got = recovery(transfer=transfer, none=none, native=native)
    assert got.value == pytest.approx((transfer - none).sum() / (native - none).sum())
    assert got.value != pytest.approx(np.mean((transfer - none) / (native - none)), abs=1e-3)


def test_the_interval_of_recovery_holds_the_truth_about_as_often_as_it_says():
    """200 draws of 40 concepts: 95 % intervals miss 10 times on average; 20 or more would happen 1 time in 400."""
    missed = 0
    for seed in range(200):
        none, native, transfer = drawn(seed)
        got = ratio_of_sums(transfer - none, native - none, seed=seed, n_resamples=1000)
        missed += not got.low <= 0.6 <= got.high
    assert 1 <= missed < 20


def test_native_against_itself_recovers_one_and_none_recovers_zero():
    none, native, _ = drawn(1)
    for transfer, share in ((native, 1.0), (none, 0.0)):
        got = recovery(transfer=transfer, none=none, native=native)
        assert (got.value, got.low, got.high) == pytest.approx((share, share, share))


def test_nothing_is_recovered_of_a_gain_that_may_be_none():
    generator = np.random.default_rng(2)
    none, native = generator.normal(size=30), generator.normal(size=30)
    got = recovery(transfer=native, none=none, native=native)
    assert np.isnan([got.value, got.low, got.high]).all() and got.reason == NO_NATIVE_GAIN
    test = non_inferiority(transfer=native, none=none, native=native)
    assert (test.shown, test.reason) == (None, NO_NATIVE_GAIN) and np.isnan(test.p)
    clear = native_gain_problem(none=none, native=none + 1.0 + 0.1 * generator.normal(size=30))
    assert clear is None, "the twin: a clear gain"


def test_a_negative_native_gain_is_no_gain():
    none, native, transfer = drawn(3)
    assert recovery(transfer=transfer, none=native, native=none).reason == NO_NATIVE_GAIN


def test_a_gain_barely_clear_of_zero_gives_wide_bounds_or_none_never_false_ones():
    """Of resamples without a native gain, none may narrow the interval: it is at least as wide as without them."""
    generator = np.random.default_rng(4)
    for _ in range(30):
        bottom = generator.normal(0.45, 1.0, 25)
        top = 0.5 * bottom + generator.normal(0, 0.3, 25)
        got = ratio_of_sums(top, bottom)
        if got.reason is None and np.isfinite(got.low):
            weights = np.random.default_rng(0).multinomial(25, np.full(25, 1 / 25), 10_000)
            positive = weights @ bottom > 0
            naive = np.quantile((weights @ top)[positive] / (weights @ bottom)[positive], [0.025, 0.975])
            assert got.low <= naive[0] + 0.1 and got.high >= naive[1] - 0.1


def test_resamples_without_a_native_gain_count_as_the_worst_and_the_best_ratio():
    """Counted out one by one; the twin: leaving them out gives other, narrower bounds."""
    bottom = np.random.default_rng(29).normal(0.45, 1.0, 25)
    top = 0.5 * bottom + np.random.default_rng(30).normal(0, 0.3, 25)
    weights = resample_weights(25, 10_000, 0)
    ratios = [t / b if b > 0 else None for t, b in zip(weights @ top, weights @ bottom, strict=True)]
    without = ratios.count(None)
    assert 0 < without < 250, "some resamples have no gain, but fewer than either tail holds"
    defined = sorted(ratio for ratio in ratios if ratio is not None)
    got = ratio_of_sums(top, bottom)
    assert (got.low, got.high) == (defined[249 - without], defined[-(250 - without)])
    assert (got.low, got.high) != (defined[249], defined[-250])


@pytest.mark.parametrize("one_sided", [False, True])
def test_sign_flips_of_few_units_are_scipys_exact_test(one_sided):
    generator = np.random.default_rng(6)
    for n in (2, 5, 9, 12):
        a, b = generator.normal(0.4, 1, n), generator.normal(0, 1, n)
        expected = permutation_test(
            (a, b),
            lambda x, y, axis: (x - y).mean(axis=axis) if one_sided else np.abs((x - y).mean(axis=axis)),
            permutation_type="samples",
            vectorized=True,
            n_resamples=np.inf,
            alternative="greater",
        )
        assert sign_flip_p(a - b, one_sided=one_sided) == pytest.approx(expected.pvalue)


def test_random_sign_flips_agree_with_all_of_them():
    generator = np.random.default_rng(7)
    differences = generator.normal(0.5, 1, 16)
    patterns = np.array(list(product((-1, 1), repeat=16)))
    exact = (np.abs(patterns @ differences) >= abs(differences.sum()) - 1e-9).mean()
    assert sign_flip_p(differences) == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 10_000))


def test_sign_flips_hold_their_level_without_an_effect_and_find_one_that_is_there():
    generator = np.random.default_rng(8)
    without = [sign_flip_p(generator.normal(0, 1, 12)) for _ in range(300)]
    with_effect = [sign_flip_p(generator.normal(1.5, 1, 12)) for _ in range(50)]
    assert np.mean(np.array(without) <= 0.05) <= 0.09  # 0.05 plus three standard errors of 300 draws
    assert np.mean(np.array(with_effect) <= 0.05) > 0.9


def test_units_that_do_not_differ_give_p_one():
    assert sign_flip_p(np.array([3.0])) == 1.0 and sign_flip_p(np.array([3.0]), one_sided=True) == 0.5
    assert sign_flip_p(np.zeros(8)) == 1.0 and sign_flip_p(np.zeros(30)) == 1.0
    assert np.isnan(sign_flip_p(np.array([])))


def naive_holm(p, level):
    """The step-down procedure as it is told: test the smallest at level / m, go on while it rejects."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    rejected = set()
    for step, index in enumerate(order):
        if p[index] > level / (len(p) - step):
            break
        rejected.add(index)
    return rejected


def test_holm_rejects_what_its_step_down_procedure_rejects():
    generator = np.random.default_rng(9)
    for _ in range(100):
        p = (generator.random(7) ** 3).tolist()
        for level in (0.01, 0.05, 0.2):
            assert {i for i, q in enumerate(holm(p)) if q <= level} == naive_holm(p, level)


def test_holm_leaves_undefined_tests_out():
    adjusted = holm([0.01, float("nan"), 0.04])
    assert adjusted[::2] == pytest.approx([0.02, 0.04]) and np.isnan(adjusted[1])
    assert holm([]) == []


def test_a_comparison_counts_improved_unchanged_and_harmed_concepts():
    other = np.zeros(10)
    got = compare(np.array([0.5] * 5 + [0.0] * 2 + [-0.2] * 3), other)
    assert (got.improved.value, got.harmed.value) == (0.5, 0.3)
    assert got.difference.value == pytest.approx(0.19)
    tolerant = compare(np.array([0.5] * 5 + [0.0] * 2 + [-0.2] * 3), other, tolerance=0.3)
    assert (tolerant.improved.value, tolerant.harmed.value) == (0.5, 0.0)
    assert share_estimate([True] * 3 + [False] * 7).low == pytest.approx(got.harmed.low)


def test_the_margin_is_shown_only_when_it_is_kept_for_sure():
    none, native, _ = drawn(10)
    kept = non_inferiority(transfer=none + 0.95 * (native - none), none=none, native=native)
    assert kept.shown is True and kept.p < 0.05 and kept.surplus.low > 0
    lost = non_inferiority(transfer=none + 0.5 * (native - none), none=none, native=native)
    assert lost.shown is False and lost.p > 0.5
    lower = non_inferiority(transfer=none + 0.5 * (native - none), none=none, native=native, kept_share=0.4)
    assert lower.shown is True, "a lower margin is another claim"


def test_at_the_margin_itself_it_is_shown_about_one_time_in_twenty():
    shown = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        none, native, _ = drawn(seed)
        transfer = none + 0.8 * (native - none) + generator.normal(0, 0.3, len(none))
        shown += bool(non_inferiority(transfer=transfer, none=none, native=native).shown)
    assert shown <= 22  # 10 expected; more than 22 happens less than one time in a thousand


@pytest.mark.parametrize("share", [0.0, 1.2, -1.0])
def test_a_margin_that_is_none_is_refused(share):
    none, native, transfer = drawn(11)
    with pytest.raises(UsageError, match="must be in"):
        non_inferiority(transfer=transfer, none=none, native=native, kept_share=share)


def test_concepts_are_the_units_and_missing_ratings_are_left_out():
    scores = np.array([1.0, 2.0, np.nan, 0.0, np.nan])
    means = concept_means(scores, ["a", "a", "a", "b", "c"])
    assert means["a"] == 1.5 and means["b"] == 0.0 and np.isnan(means["c"])
    with pytest.raises(UsageError, match="5 scores for 2"):
        concept_means(scores, ["a", "b"])


def test_conditions_are_joined_by_concept_never_by_row():
    arrays, kept, dropped = align({"x": {"a": 1.0, "b": 2.0, "c": 3.0}, "y": {"c": 30.0, "a": 10.0, "b": np.nan}})
    assert (kept, dropped) == (["a", "c"], ["b"])
    assert arrays["x"].tolist() == [1.0, 3.0] and arrays["y"].tolist() == [10.0, 30.0]
