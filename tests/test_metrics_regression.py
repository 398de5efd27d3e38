"""Spearman and explained variance: scipy and scikit-learn are the oracles, resamples are recomputed row by row."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import r2_score

from probeshift.metrics.intervals import resample_weights
from probeshift.metrics.regression import measure_regression, rank_scores, spearman, spearman_resamples


def data(n=80, ties=False, seed=0):
    generator = np.random.default_rng(seed)
    targets = generator.normal(size=n)
    scores = np.stack([targets + generator.normal(size=n), generator.normal(size=n), -targets])
    return (np.round(scores, 0), np.round(targets, 0)) if ties else (scores, targets)


@pytest.mark.parametrize("ties", [False, True])
def test_spearman_is_scipys(ties):
    scores, targets = data(ties=ties)
    expected = [spearmanr(row, targets).statistic for row in scores]
    np.testing.assert_allclose(spearman(scores, targets), expected, atol=1e-12)


@pytest.mark.parametrize("ties", [False, True])
def test_each_resample_is_spearman_of_the_repeated_rows(ties):
    scores, targets = data(40, ties=ties)
    weights = resample_weights(40, 12, seed=3)
    found = spearman_resamples(scores, targets, weights)
    for resample, weight in enumerate(weights.astype(int)):
        rows = np.repeat(np.arange(40), weight)
        expected = [spearmanr(row[rows], targets[rows]).statistic for row in scores]
        np.testing.assert_allclose(found[:, resample], expected, atol=1e-12)


def test_explained_variance_is_scikit_learns():
    scores, targets = data()
    _, r2 = measure_regression(scores, targets, n_resamples=50)
    np.testing.assert_allclose(r2.value, [r2_score(targets, row) for row in scores], atol=1e-12)
    assert (r2.low <= r2.value).all() and (r2.value <= r2.high).all()


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """Correlated normal pairs: Spearman's population value is 6/pi asin(rho/2)."""
    rho, hits = 0.6, 0
    truth = 6 / np.pi * np.arcsin(rho / 2)
    generator = np.random.default_rng(0)
    for seed in range(200):
        pair = generator.multivariate_normal([0, 0], [[1, rho], [rho, 1]], size=120)
        found, _ = measure_regression(pair[None, :, 0], pair[:, 1], n_resamples=200, seed=seed)
        hits += found.low[0] <= truth <= found.high[0]
    assert 0.90 <= hits / 200 <= 0.99


def test_rows_of_one_question_are_drawn_together():
    scores, targets = data(30)
    groups = np.repeat(np.arange(10), 3)
    doubled = measure_regression(np.tile(scores, 4), np.tile(targets, 4), np.tile(np.arange(30), 4))[0]
    alone = measure_regression(np.tile(scores, 4), np.tile(targets, 4))[0]
    assert (doubled.high - doubled.low > 1.5 * (alone.high - alone.low))[:2].all()  # copies are no new evidence
    assert measure_regression(scores, targets, groups)[0].ci_kind[0] == "bootstrap_questions"


@pytest.mark.parametrize(
    ("scores", "targets", "reason"),
    [
        (np.zeros((1, 5)), np.arange(5.0), "constant_scores"),
        (np.arange(5.0)[None], np.ones(5), "constant_targets"),
        (np.array([[1.0, np.nan, 2.0]]), np.arange(3.0), "non_finite_scores"),
        (np.ones((1, 1)), np.ones(1), "too_few_rows"),
    ],
)
def test_undefined_is_null_with_a_reason(scores, targets, reason):
    for found in measure_regression(scores, targets):
        assert np.isnan(found.value[0]) and found.reason == (reason,) and found.ci_kind == ("none",)
    assert rank_scores(scores, targets)[1] == (reason,)


def test_a_perfect_order_has_no_bootstrap_interval():
    found, _ = measure_regression(np.arange(20.0)[None], np.arange(20.0))
    assert found.value[0] == pytest.approx(1.0) and np.isnan(found.low[0]) and found.ci_kind == ("none",)
