"""Operating points, calibration, confounding, paired differences, marginal gains, near-duplicates: each against an oracle."""

from itertools import permutations

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import brier_score_loss, roc_curve

from probeshift.datasets.near_duplicates import duplicate_groups, near_duplicates
from probeshift.metrics.calibration import brier, calibration_error
from probeshift.metrics.confounding import cramers_v, source_only_auroc
from probeshift.metrics.differences import auroc_draws, detection_p, smallest_p
from probeshift.metrics.marginal_gains import marginal_gains
from probeshift.metrics.operating_points import frozen_threshold, rate_above, recall_at_fpr
from probeshift.summaries.sweep import duplicates_across


def drawn(n_true=200, n_false=400, apart=1.5, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n_true + n_false) < n_true
    return rng.normal(size=len(labels)) + apart * labels, labels


# -- operating points


@pytest.mark.parametrize(
    ("count", "n", "low", "high"), [(0, 319, 0.0, 0.0115), (725, 730, 0.984, 0.998), (112, 319, 0.299, 0.406)]
)
def test_detection_rates_have_the_exact_binomial_interval(count, n, low, high):
    rate = rate_above(np.where(np.arange(n) < count, 1.0, -1.0), 0.0)
    assert (rate.value, rate.n) == (count / n, n)
    assert (rate.low, rate.high) == pytest.approx((low, high), abs=6e-4)
    oracle = stats.binomtest(count, n).proportion_ci(method="exact")
    assert (rate.low, rate.high) == pytest.approx((oracle.low, oracle.high), abs=1e-9)


@pytest.mark.parametrize("target", [0.01, 0.05, 0.1])
def test_a_frozen_threshold_never_passes_its_target_and_no_lower_one_keeps_it(target):
    scores, labels = drawn()
    negatives = scores[~labels]
    found = frozen_threshold(negatives, target)
    assert found.reached.value <= target
    lower = np.sort(negatives)[np.searchsorted(np.sort(negatives), found.value) - 1]
    assert (negatives > lower).mean() > target


def test_tied_negatives_do_not_pass_the_target():
    assert frozen_threshold(np.ones(400), 0.01).reached.value == 0.0


@pytest.mark.parametrize(
    ("n", "target", "resolved"), [(299, 0.01, False), (300, 0.01, True), (59, 0.05, False), (60, 0.05, True)]
)
def test_a_rate_is_resolved_from_three_expected_false_positives(n, target, resolved):
    found = frozen_threshold(np.arange(n, dtype=float), target)
    assert (found.value is not None) is resolved
    assert resolved or found.reason == f"not_resolvable:{n}_of_{n + 1}_negatives"


@pytest.mark.parametrize("target", [0.05, 0.1])
def test_recall_at_fpr_is_that_of_the_roc_curve(target):
    scores, labels = drawn()
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    found = recall_at_fpr(scores, labels, target)
    assert found.value == pytest.approx(true[false <= target].max())
    assert found.low < found.value < found.high


def test_recall_without_enough_negatives_is_undefined_and_not_a_number():
    scores, labels = drawn(n_false=54)
    assert recall_at_fpr(scores, labels, 0.01).value is None
    assert recall_at_fpr(scores[labels], labels[labels], 0.01).reason == "single_class:positive"
    assert recall_at_fpr(scores[~labels], labels[~labels], 0.01).reason == "single_class:negative"


def test_rates_of_rows_that_share_a_group_have_the_interval_of_whole_groups():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(40), 25)
    scores = np.repeat(rng.normal(size=40), 25)  # rows of a group agree, so there are 40 observations and not 1,000
    alone, together = rate_above(scores, 0.3), rate_above(scores, 0.3, groups)
    assert alone.value == together.value and (alone.ci_kind, together.ci_kind) == (
        "clopper_pearson",
        "bootstrap_questions",
    )
    low, high = stats.binomtest(round(40 * alone.value), 40).proportion_ci(method="exact")
    assert (together.low, together.high) == pytest.approx((low, high), abs=0.04)
    assert alone.high - alone.low < 0.4 * (together.high - together.low)
    single = rate_above(scores, 0.3, np.arange(1000))  # groups of one row are rows
    assert (single.low, single.high) == (alone.low, alone.high)


def naive_recalls(scores, labels, groups, target, n, seed):
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(groups == g) for g in np.unique(groups)]
    for _ in range(n):
        rows = np.concatenate([members[i] for i in rng.integers(len(members), size=len(members))])
        false, true, _ = roc_curve(labels[rows], scores[rows], drop_intermediate=False)
        yield true[false <= target + 1e-12].max()


@pytest.mark.parametrize("size", [1, 10])
def test_recall_at_fpr_resamples_whole_groups_with_a_threshold_each(size):
    rng = np.random.default_rng(0)
    labels = np.arange(600) < 200
    groups = np.arange(600) // size
    scores = rng.normal(size=600 // size).repeat(size) + 1.5 * labels + 0.01 * rng.normal(size=600)
    found = recall_at_fpr(scores, labels, 0.05, groups if size > 1 else None, seed=1)
    naive = np.quantile(list(naive_recalls(scores, labels, groups, 0.05, 1000, 2)), [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx(naive, abs=0.05)


def test_recall_of_nothing_is_not_said_to_be_certain():
    scores = np.concatenate([np.zeros(100), np.linspace(1, 2, 360)])
    found = recall_at_fpr(scores, np.arange(460) < 100, 0.01)
    assert found.value == 0.0
    assert found.high == pytest.approx(stats.binomtest(0, 100).proportion_ci(method="exact").high)


# -- calibration


def test_brier_is_scikit_learns():
    scores, labels = drawn()
    chances = 1 / (1 + np.exp(-scores))
    assert brier(chances, labels) == pytest.approx(brier_score_loss(labels, chances))


def test_calibrated_probabilities_have_a_small_error_and_shifted_ones_their_shift():
    rng = np.random.default_rng(0)
    chances = rng.uniform(0, 0.8, size=20_000)
    labels = rng.random(len(chances)) < chances
    assert calibration_error(chances, labels) < 0.02
    assert calibration_error(chances + 0.2, labels) == pytest.approx(0.2, abs=0.02)


def test_bins_hold_equal_mass_and_keep_ties_together():
    rng = np.random.default_rng(1)
    chances, labels = rng.random(1000), rng.random(1000) < 0.5
    order = np.argsort(chances)
    naive = sum(abs((chances[b] - labels[b]).sum()) for b in np.array_split(order, 10)) / 1000
    assert calibration_error(chances, labels) == pytest.approx(naive)
    tied = np.full(100, 0.5)
    assert calibration_error(tied, np.arange(100) < 50) == 0.0  # one bin, half of it true: nothing is wrong


# -- confounding


def test_cramers_v_is_scipys():
    rng = np.random.default_rng(0)
    sources = rng.integers(4, size=300)
    labels = rng.random(300) < 0.2 + 0.2 * sources
    table = np.array([[((sources == s) & (labels == t)).sum() for t in (False, True)] for s in range(4)])
    assert cramers_v(sources, labels) == pytest.approx(stats.contingency.association(table, method="cramer"))


def test_a_source_that_is_the_label_has_association_one_and_one_that_is_not_has_none():
    labels = np.arange(100) % 2 == 0
    assert cramers_v(labels.astype(int), labels) == pytest.approx(1.0)
    assert source_only_auroc(labels.astype(int), labels) == 1.0
    unrelated = np.arange(100) // 50
    assert cramers_v(unrelated, labels) == pytest.approx(0.0)
    assert source_only_auroc(unrelated, labels) == 0.5


def test_association_is_undefined_with_one_source_or_one_class():
    labels = np.arange(10) % 2 == 0
    assert cramers_v(np.zeros(10, dtype=int), labels) is None
    assert cramers_v(np.arange(10) % 3, np.ones(10, dtype=bool)) is None
    assert source_only_auroc(np.arange(10) % 3, np.ones(10, dtype=bool)) is None


# -- differences


def test_paired_draws_tell_a_small_gain_from_nothing_that_separate_draws_cannot():
    rng = np.random.default_rng(0)
    labels = np.arange(300) < 150
    hard = rng.normal(size=300) + 0.8 * labels
    scores = np.stack([hard + 0.05 * rng.normal(size=300), hard + 0.08 * labels])
    paired = auroc_draws(scores, labels, seed=1)
    gain = paired[1] - paired[0]
    assert np.quantile(gain, 0.025) > 0
    apart = paired[1] - auroc_draws(scores, labels, seed=2)[0]
    assert np.quantile(apart, 0.025) < 0


def test_draws_of_groups_resample_groups_whole():
    labels = np.repeat(np.arange(20) % 2 == 0, 30)
    groups = np.repeat(np.arange(20), 30)
    scores = (labels + np.random.default_rng(0).normal(size=20).repeat(30))[None]
    assert auroc_draws(scores, labels, groups).std() > 3 * auroc_draws(scores, labels).std()


def test_mcnemar_is_the_exact_binomial_of_the_rows_that_differ():
    first, second = np.zeros(30, dtype=bool), np.arange(30) < 8
    assert detection_p(first, second) == pytest.approx(2 * 0.5**8)
    assert detection_p(first, first) == 1.0


def test_detections_of_whole_groups_are_counted_by_group_and_of_single_rows_by_row():
    first, second = np.zeros(30, dtype=bool), np.arange(30) < 8
    assert detection_p(first, second, np.arange(30)) == pytest.approx(detection_p(first, second))
    many = np.ones(30, dtype=bool)  # too many for all sign patterns to be tried, and still exact
    assert detection_p(first, many, np.arange(30)) == detection_p(first, many) == pytest.approx(2 * 0.5**30)
    assert detection_p(first, many, np.arange(30) // 2) == pytest.approx(2 * 0.5**15)
    assert detection_p(first, ~first, np.arange(30) // 10) == pytest.approx(
        2 * 0.5**3
    )  # three groups, whatever their rows
    assert detection_p(first, first, np.arange(30) // 10) == 1.0
    # +4, +2 and -1 against random signs: 7 and 5 are as far out, either way
    first, second, unequal = np.arange(7) == 6, np.arange(7) < 6, np.array([0] * 4 + [1] * 2 + [2])
    assert detection_p(first, second, unequal) == pytest.approx(4 / 8)


def test_no_difference_on_few_rows_has_a_small_p():
    assert smallest_p(0) == smallest_p(1) == 1.0
    assert smallest_p(6) == pytest.approx(2 * 0.5**6)


# -- marginal gains


def test_shapley_is_the_mean_over_all_orders_of_adding():
    rng = np.random.default_rng(0)
    sources = ("a", "b", "c", "d")
    values = {frozenset(s for i, s in enumerate(sources) if mask >> i & 1): rng.random() for mask in range(16)}
    naive = {
        s: np.mean(
            [values[frozenset(o[: o.index(s) + 1])] - values[frozenset(o[: o.index(s)])] for o in permutations(sources)]
        )
        for s in sources
    }
    found = marginal_gains(values, sources)
    assert {g.source: g.shapley for g in found} == pytest.approx(naive)
    assert sum(g.shapley for g in found) == pytest.approx(values[frozenset(sources)] - values[frozenset()])
    assert found[0].add_last == pytest.approx(values[frozenset(sources)] - values[frozenset("bcd")])
    assert all(g.n_pairs == 8 for g in found)


def test_subsets_without_a_value_are_left_out_and_counted():
    values = {frozenset(): 0.5, frozenset("a"): 0.7, frozenset("ab"): 0.8}  # b alone cannot be trained
    a, b = marginal_gains(values, ("a", "b"))
    assert (a.shapley, a.n_pairs, a.n_pairs_in_all) == (pytest.approx(0.2), 1, 2)
    assert a.add_last is None
    assert (b.shapley, b.add_last) == (pytest.approx(0.1), pytest.approx(0.1))
    nothing = marginal_gains({frozenset(): 0.5}, ("a", "b"))[0]
    assert nothing.shapley is None


# -- near-duplicates


def naive_pairs(first, second, threshold=0.5):
    def grams(text):
        words = text.lower().replace(".", "").replace(",", "").split()
        return {tuple(words[i : i + 3]) for i in range(max(1, len(words) - 2))}

    overlaps = (
        (i, j, len(grams(a) & grams(b)) / len(grams(a) | grams(b)))
        for i, a in enumerate(first)
        for j, b in enumerate(second)
    )
    return {(i, j) for i, j, share in overlaps if share >= threshold}


def sentences(n, seed):
    rng = np.random.default_rng(seed)
    words = [f"word{i}" for i in range(60)]
    return [" ".join(rng.choice(words, size=40)) for _ in range(n)]


def altered(text, n_changed, seed):
    words = text.split()
    for place in np.random.default_rng(seed).choice(len(words), size=n_changed, replace=False):
        words[place] = "changed"
    return " ".join(words)


def test_near_duplicates_are_those_a_full_comparison_finds():
    tests = sentences(40, 0)
    train = [*sentences(60, 1), *(altered(t, i % 8, i) for i, t in enumerate(tests))]
    found = near_duplicates(train, tests)
    assert {(p.first, p.second) for p in found} == naive_pairs(train, tests)
    assert 15 < len(found) < 40  # some copies are changed too much to count


def test_copies_among_a_sources_held_out_rows_are_found_whoever_trains_on_them():
    """Row 0 of `b` is held out and repeats row 1 of `a`, which is trained on; row 2 of `a` is held out too: it leaks nothing."""
    one, other, test = sentences(4, 5), sentences(3, 6), sentences(2, 7)
    other[0] = one[1] + " indeed"
    other[1] = one[2]
    parts = {"a": [0, 1], "b": [2]}, {"a": [2, 3], "b": [0, 1]}
    found = {(r["source"], r["test"]): r for r in duplicates_across({"a": one, "b": other}, {"t": test}, *parts)}
    assert set(found) == {
        ("a", "b"),
        ("a", "t"),
        ("b", "a"),
        ("b", "t"),
    }  # not within a source, which its groups have cut
    assert found["a", "b"]["train_rows"] == [1] and found["a", "b"]["n_test_rows"] == 1
    assert all(found[pair]["n_train_rows"] == 0 for pair in found if pair != ("a", "b"))
    whole = duplicates_across({"a": one}, {"t": test}, {"a": [0, 1, 2, 3]}, {"a": []})
    assert [(r["source"], r["test"]) for r in whole] == [("a", "t")]


def test_texts_that_share_nothing_are_no_near_duplicates():
    assert near_duplicates(sentences(50, 2), sentences(50, 3)) == []


def test_texts_of_few_words_are_near_duplicates_of_the_same_words_only():
    texts = ["", "?!", "one", "one two", "two one", "One, two.", "one two three", "three two one"]
    assert {(p.first, p.second) for p in near_duplicates(texts)} == {(0, 1), (3, 5)}


def test_rows_joined_by_copies_are_one_group():
    texts = sentences(6, 4)
    texts += [altered(texts[2], 1, 0), texts[5]]
    groups = duplicate_groups(len(texts), near_duplicates(texts))
    assert groups == [0, 1, 2, 3, 4, 5, 2, 5]
