"""Selections of shared rows are solved to the optimum scikit-learn finds, sparse or not, one at a time or many together."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probeshift.probes import newton_cg, standardised
from probeshift.probes.newton_cg import GRADIENT
from probeshift.probes.standardised import solve_standardised


def rows_like_sae_features(n=120, d=300, seed=0):
    """Few active features, some of them only in few rows, one in none, one the same in all."""
    rng = np.random.default_rng(seed)
    values = rng.exponential(size=(n, d)) * (rng.random((n, d)) < rng.beta(0.5, 4, size=d))
    labels = values[:, :5].sum(1) + 0.3 * rng.normal(size=n) > np.median(values[:, :5].sum(1))
    values[:, 7], values[:, 8] = 0.0, 3.25
    return values, labels


def rows_like_residuals(n=150, d=40, seed=1):
    """Correlated, with two massive coordinates."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * np.linspace(0.05, 3, d)
    values[:, 3], values[:, 9] = 600 + 40 * values[:, 3], -200 + 15 * values[:, 9]
    return values, values[:, 5] + rng.normal(size=n) > 0


def oracle(values, labels, penalty_c):
    probe = LogisticRegression(C=penalty_c, solver="newton-cholesky", tol=1e-12, max_iter=10_000)
    return make_pipeline(StandardScaler(), probe).fit(values, labels)


def selections(n, seed=2):
    return np.random.default_rng(seed).random((20, n)) < 0.7


@pytest.mark.parametrize("factored", [True, False])
@pytest.mark.parametrize("penalty_c", [0.01, 1.0, 10.0])
@pytest.mark.parametrize("make", [rows_like_sae_features, rows_like_residuals])
def test_every_selection_ends_at_the_optimum_of_scaler_and_logistic_regression(make, penalty_c, factored, monkeypatch):
    if not factored:
        monkeypatch.setattr(standardised, "FACTORED", 0)
    values, labels = make()
    members = selections(len(values))
    found = solve_standardised(values, labels, members, penalty_c=penalty_c)
    assert found.converged.all()
    for i, chosen in enumerate(members):
        expected = oracle(values[chosen], labels[chosen], penalty_c).predict_proba(values)[:, 1]
        scores = values @ found.directions[i] + found.biases[i]
        # the bound at which this package's solvers are compared; scikit-learn's own last step is of that size
        np.testing.assert_allclose(1 / (1 + np.exp(-scores)), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("factored", [0, 2048])
def test_sparse_rows_and_plain_rows_give_the_same_probes(factored, monkeypatch):
    values, labels = rows_like_sae_features()
    members = selections(len(values))
    plain = solve_standardised(values, labels, members, penalty_c=10.0)
    monkeypatch.setattr(standardised, "FACTORED", factored)
    thin = solve_standardised(sparse.csr_array(values), labels, members, penalty_c=10.0)
    np.testing.assert_allclose(thin.directions, plain.directions, atol=1e-6)  # stops at 1e-9 over scales of 0.05


def test_means_and_scales_are_those_of_the_selected_rows():
    values, labels = rows_like_sae_features()
    members = selections(len(values))
    found = solve_standardised(values, labels, members)
    scaler = StandardScaler().fit(values[members[0]])
    np.testing.assert_allclose(found.means[0], scaler.mean_, atol=1e-12)
    np.testing.assert_allclose(found.scales[0], scaler.scale_, atol=1e-12)
    everywhere = StandardScaler().fit(values)
    assert np.abs(found.scales[0] - everywhere.scale_).max() > 1e-3  # a scaler outside the folds is another scaler


def test_a_gradient_that_is_not_small_is_not_called_converged(monkeypatch):
    values, labels = rows_like_residuals()
    monkeypatch.setattr(standardised, "FACTORED", 0)
    monkeypatch.setattr("probeshift.probes.newton_cg.MAX_STEPS", 2)
    found = solve_standardised(values, labels, np.ones((1, len(values)), dtype=bool), penalty_c=10.0)
    assert found.gradients[0] > GRADIENT and not found.converged[0]


def test_threads_change_no_bit(monkeypatch):
    values, labels = rows_like_sae_features()
    monkeypatch.setattr(standardised, "FACTORED", 0)
    alone = solve_standardised(sparse.csr_array(values), labels, selections(len(values)))
    monkeypatch.setattr(newton_cg, "THREADED", 0)
    monkeypatch.setattr(newton_cg, "n_threads", lambda: 3)
    together = solve_standardised(sparse.csr_array(values), labels, selections(len(values)))
    np.testing.assert_array_equal(together.directions, alone.directions)


def correlated_rows(n=400, d=900, seed=3):
    """A few directions hold nearly all of the rows, as with features that fire together."""
    rng = np.random.default_rng(seed)
    strong = rng.normal(size=(n, 12)) @ rng.normal(size=(12, d)) * 8
    values = strong + rng.normal(size=(n, d))
    return values, values[:, :3].sum(1) + 10 * rng.normal(size=n) > 0


@pytest.mark.parametrize("d", [3, 900])
def test_leading_directions_save_products_and_change_no_probe(d, monkeypatch):
    values, labels = correlated_rows(d=d)
    members, found, products = selections(len(values))[:4], {}, {}
    monkeypatch.setattr(standardised, "FACTORED", 0)
    plain = newton_cg.product
    for number in (1, 32):
        counted = []
        monkeypatch.setattr(newton_cg, "product", lambda v, x, counted=counted: counted.append(1) or plain(v, x))
        monkeypatch.setattr(newton_cg, "LEADING", number)
        found[number], products[number] = solve_standardised(values, labels, members, penalty_c=10.0), len(counted)
    assert found[1].converged.all() and found[32].converged.all()
    np.testing.assert_allclose(found[32].directions, found[1].directions, atol=1e-7)
    assert d < 900 or products[32] < 0.6 * products[1]


@pytest.mark.parametrize("values", [np.zeros((60, 40)), np.full((60, 40), 1e6), np.arange(60.0)[:, None] * np.ones(40)])
def test_rows_without_directions_to_lead_are_solved_all_the_same(values, monkeypatch):
    monkeypatch.setattr(standardised, "FACTORED", 0)
    labels = np.arange(60) % 3 == 0
    found = solve_standardised(values, labels, np.ones((2, 60), dtype=bool))
    assert found.converged.all()
    if not np.ptp(values):
        scores = values @ found.directions.T + found.biases
        np.testing.assert_allclose(scores, np.log(20 / 40), atol=1e-6)  # the share of the positives
