"""Intervals: exact oracles, naive bootstrap loops, honest bounds, coverage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from probeshift.metrics import clopper_pearson, measure, resample_weights
from probeshift.metrics.intervals import bootstrap_ratio, independent_pairs
from probeshift.metrics.questions import lay_out


def pairs(n_questions=40, n_probes=4, shift=1.0, seed=0):
    rng = np.random.default_rng(seed)
    labels, groups = np.tile([True, False], n_questions), np.repeat(np.arange(n_questions), 2)
    return rng.normal(size=(n_probes, 2 * n_questions)) + shift * labels, labels, groups


def test_clopper_pearson_equals_scipy():
    n = 319
    successes = np.array([0, 1, 112, 160, 318, 319])
    low, high = clopper_pearson(successes.astype(float), n)
    for count, *bounds in zip(successes, low, high, strict=True):
        exact = binomtest(int(count), n).proportion_ci(0.95, method="exact")
        np.testing.assert_allclose(bounds, [exact.low, exact.high], rtol=0, atol=1e-12)


def test_clopper_pearson_of_a_fraction_lies_between_its_whole_neighbours():
    low, high = clopper_pearson(np.array([3.0, 3.5, 4.0]), 10)
    assert (np.diff(low) > 0).all() and (np.diff(high) > 0).all()


def test_resample_weights_draw_n_units_and_repeat_with_the_seed():
    weights = resample_weights(30, 200, seed=5)
    assert (weights.sum(axis=1) == 30).all() and weights.shape == (200, 30)
    np.testing.assert_array_equal(weights, resample_weights(30, 200, seed=5))
    assert (weights != resample_weights(30, 200, seed=6)).any()
    # 6000 draws per unit on average 200: five standard deviations of a Poisson(200) are 71
    assert np.abs(weights.sum(axis=0) - 200).max() < 71


def test_plain_question_accuracy_has_the_exact_interval():
    scores, labels, groups = pairs()
    got = measure(scores, labels, groups).accuracy
    assert set(got.ci_kind) == {"clopper_pearson"}
    for value, low, high in zip(got.value, got.low, got.high, strict=True):
        exact = binomtest(round(value * 40), 40).proportion_ci(0.95, method="exact")
        np.testing.assert_allclose([low, high], [exact.low, exact.high], atol=1e-12)


def test_row_accuracy_of_an_ungrouped_set_has_the_exact_interval():
    scores, labels, _ = pairs()
    got = measure(scores, labels).accuracy_row
    exact = binomtest(round(got.value[0] * 80), 80).proportion_ci(0.95, method="exact")
    np.testing.assert_allclose([got.low[0], got.high[0]], [exact.low, exact.high], atol=1e-12)


def naive_bootstrap(metric, groups, weights):
    """Draw whole questions, repeating their rows, and take percentiles."""
    values = []
    for drawn in weights:
        repeated = np.repeat(np.arange(len(groups)), drawn[groups].astype(int))
        values.append(metric(repeated))
    return np.quantile(values, [0.025, 0.975])


def test_grouped_intervals_equal_a_naive_loop_over_the_same_resamples():
    scores, labels, groups = pairs(n_questions=25, n_probes=3)
    scores = np.round(scores)  # ties, so that accuracy by question needs the bootstrap too
    got = measure(scores, labels, groups, n_resamples=150, seed=3)
    weights = resample_weights(25, 150, seed=3)
    for probe, row in enumerate(scores):
        by_row = naive_bootstrap(lambda r, row=row: np.mean((row[r] > 0) == labels[r]), groups, weights)
        ranked = naive_bootstrap(lambda r, row=row: roc_auc_score(labels[r], row[r]), groups, weights)
        won = np.quantile([np.average(got.correct[probe], weights=drawn) for drawn in weights], [0.025, 0.975])
        np.testing.assert_allclose([got.accuracy_row.low[probe], got.accuracy_row.high[probe]], by_row, atol=1e-12)
        np.testing.assert_allclose([got.auroc.low[probe], got.auroc.high[probe]], ranked, atol=1e-12)
        np.testing.assert_allclose([got.accuracy.low[probe], got.accuracy.high[probe]], won, atol=1e-12)
    assert set(got.accuracy.ci_kind) == set(got.auroc.ci_kind) == {"bootstrap_questions"}


def test_ungrouped_auroc_interval_equals_a_naive_loop():
    scores, labels, _ = pairs(n_questions=15, n_probes=2)
    got = measure(scores, labels, n_resamples=100).auroc
    weights = resample_weights(30, 100, seed=0)
    for probe, row in enumerate(scores):
        expected = naive_bootstrap(lambda r, row=row: roc_auc_score(labels[r], row[r]), np.arange(30), weights)
        np.testing.assert_allclose([got.low[probe], got.high[probe]], expected, atol=1e-12)
    assert set(got.ci_kind) == {"bootstrap_rows"}


def test_resamples_with_one_class_are_left_out_and_counted():
    labels = np.array([True, False, False, False, False])
    got = measure(np.array([[2.0, 1.0, 3.0, 0.0, 1.5]]), labels, n_resamples=400).auroc
    weights = resample_weights(5, 400, seed=0)
    assert got.n_excluded == np.sum((weights[:, 0] == 0) | (weights[:, 0] == 5)) > 0
    assert np.isfinite([got.low[0], got.high[0]]).all()


def test_two_calls_give_the_same_bits_and_another_seed_does_not():
    scores, labels, groups = pairs()
    one, two = (measure(scores, labels, groups, seed=1).auroc for _ in range(2))
    np.testing.assert_array_equal([one.low, one.high], [two.low, two.high])
    assert (measure(scores, labels, groups, seed=2).auroc.low != one.low).any()


def test_probes_are_measured_the_same_alone_and_in_company(monkeypatch):
    scores, labels, groups = pairs(n_probes=9)
    together = measure(scores, labels, groups)
    monkeypatch.setattr("probeshift.metrics.questions.CHUNK_ELEMENTS", 1)  # one probe per chunk
    chunked = measure(scores, labels, groups)
    alone = measure(scores[4:5], labels, groups)
    for name in ("accuracy", "accuracy_row", "auroc"):
        for column in ("value", "low", "high"):
            whole = getattr(getattr(together, name), column)
            np.testing.assert_array_equal(whole, getattr(getattr(chunked, name), column))
            assert whole[4] == getattr(getattr(alone, name), column)[0]


@pytest.mark.parametrize("sign, value", [(1, 1.0), (-1, 0.0)])
def test_perfect_separation_gets_a_bound_from_independent_pairs(sign, value):
    _, labels, groups = pairs()
    scores = sign * (2.0 * labels - 1 + 0.001 * np.arange(80))[None]
    got = measure(scores, labels, groups)
    far = 0.025 ** (1 / 20)  # 40 questions make 20 pairs that share no question, all ordered alike
    assert got.auroc.ci_kind == ("degenerate_clopper_pearson_pairs",)
    expected = [far, 1.0] if sign > 0 else [0.0, 1 - far]
    np.testing.assert_allclose([got.auroc.low[0], got.auroc.high[0]], expected, atol=1e-12)
    assert got.auroc.value[0] == got.accuracy_row.value[0] == value
    assert got.accuracy_row.ci_kind == ("degenerate_clopper_pearson_questions",)
    assert got.accuracy_row.high[0] - got.accuracy_row.low[0] == pytest.approx(1 - 0.025 ** (1 / 40))


def test_ungrouped_rows_pair_up_to_the_smaller_class():
    labels = np.array([True] * 3 + [False] * 9)
    assert independent_pairs(lay_out(labels, None)) == 3
    assert independent_pairs(lay_out(np.tile([True, False], 5), np.repeat(np.arange(5), 2))) == 2


def test_all_questions_drawn_level_still_have_an_interval():
    scores = np.repeat(np.arange(20.0), 2)[None]
    got = measure(scores, np.tile([True, False], 20), np.repeat(np.arange(20), 2)).accuracy
    assert got.value[0] == 0.5 and got.ci_kind == ("degenerate_clopper_pearson_questions",)
    assert got.low[0] < 0.4 and got.high[0] > 0.6


def clustered_hits(rng, n_questions=80, n_rows=5):
    """Rows of a question share one latent difficulty: right together or wrong together, 70 % right on average."""
    latent = rng.beta(0.35, 0.15, n_questions)
    return rng.random((n_questions, n_rows)) < latent[:, None]


def coverage(resample_questions: bool, n_sims=300) -> float:
    rng, covered = np.random.default_rng(11), 0
    for sim in range(n_sims):
        hits = clustered_hits(rng).astype(float)
        tops = hits.sum(axis=1) if resample_questions else hits.ravel()
        sizes = np.full(len(tops), 5.0 if resample_questions else 1.0)
        interval = bootstrap_ratio(tops[None], sizes, resample_weights(len(tops), 300, seed=sim))
        covered += interval.low[0] <= 0.7 <= interval.high[0]
    return covered / n_sims


def test_resampling_questions_covers_and_resampling_their_rows_does_not():
    # 300 simulations at 95 %: standard error 1.3 points; the percentile bootstrap at 80 questions may lack one or two.
    assert 0.90 <= coverage(resample_questions=True) <= 0.985
    # With rows this alike the effective n is about a third of the row count, so the naive interval is too short by 1.7.
    assert coverage(resample_questions=False) < 0.82


def test_auroc_intervals_cover():
    rng, covered, n_sims = np.random.default_rng(12), 0, 300
    labels = np.tile([True, False], 30)
    groups = np.repeat(np.arange(30), 2)
    scores = rng.normal(size=(n_sims, 60)) + labels + np.repeat(rng.normal(size=(n_sims, 30)), 2, axis=1)
    # True and false rows of different questions differ by a normal of mean 1 and variance 4; within one, variance 2.
    truth = 0.6915 * 29 / 30 + 0.7602 / 30
    got = measure(scores, labels, groups, n_resamples=400).auroc
    covered = np.mean((got.low <= truth) & (truth <= got.high))
    # Standard error 1.3 points, and the percentile bootstrap at 30 questions is known to lack two or three.
    assert 0.89 <= covered <= 0.985
