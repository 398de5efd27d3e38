"""Cross-validated ridge and logistic regression: scikit-learn refitted fold by fold is the oracle."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import KFold, StratifiedKFold

from probeshift.errors import UsageError
from probeshift.probes.fold_logistic import FoldLogistic
from probeshift.probes.fold_ridge import FoldRidge
from probeshift.probes.folds import Folds, cut_folds

PENALTIES = (0.1, 10.0, 1000.0)
SHAPES = ((60, 90), (150, 20))  # fewer rows than dimensions, and more


def activations(n, d, seed=0):
    """Rows with two massive dimensions and a mean far from zero, as in real residual streams."""
    generator = np.random.default_rng(seed)
    acts = generator.normal(size=(n, d)) + 3.0
    acts[:, :2] = acts[:, :2] * 40 + 900
    return acts.astype(np.float32)


def regression(n, d):
    acts = activations(n, d)
    noise = np.random.default_rng(1).normal(size=n)
    return acts, acts.astype(np.float64) @ np.random.default_rng(2).normal(size=d) / 30 + noise


def classification(n, d):
    acts, targets = regression(n, d)
    return acts, (targets > np.median(targets)).astype(np.float64)


def refits(model, acts, targets, folds, held_out):
    held = folds.held_out(*held_out)
    model.fit(acts[~held].astype(np.float64), targets[~held])
    return model.decision_function(acts[held]) if hasattr(model, "decision_function") else model.predict(acts[held])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("intercept", [True, False])
def test_ridge_predicts_what_refitting_predicts(shape, intercept):
    acts, targets = regression(*shape)
    folds = cut_folds(targets, "regression", n_folds=5, seed=42)
    held_out = [(0,), (4,), (1, 3)]
    found = FoldRidge(acts, targets, folds, intercept).predict(held_out, PENALTIES)
    for held, ours in zip(held_out, found, strict=True):
        for penalty, row in zip(PENALTIES, ours, strict=True):
            theirs = refits(Ridge(penalty, fit_intercept=intercept, solver="svd"), acts, targets, folds, held)
            np.testing.assert_allclose(row, theirs, atol=1e-6 * targets.std())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("intercept", [True, False])
def test_logistic_predicts_what_refitting_predicts(shape, intercept):
    acts, targets = classification(*shape)
    folds = cut_folds(targets, "classification", n_folds=5, seed=42)
    held_out = [(0,), (4,), (1, 3)]
    found = FoldLogistic(acts, targets, folds, intercept).predict(held_out, PENALTIES)
    options = {"fit_intercept": intercept, "solver": "newton-cholesky", "tol": 1e-12, "max_iter": 1000}
    for held, ours in zip(held_out, found, strict=True):
        for penalty, row in zip(PENALTIES, ours, strict=True):
            theirs = refits(LogisticRegression(C=1 / penalty, **options), acts, targets, folds, held)
            np.testing.assert_allclose(1 / (1 + np.exp(-row)), 1 / (1 + np.exp(-theirs)), atol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize(("learner", "data"), [(FoldRidge, regression), (FoldLogistic, classification)])
def test_the_fit_on_all_rows_is_scikit_learns(shape, intercept, learner, data):
    acts, targets = data(*shape)
    folds = cut_folds(targets, "regression", n_folds=3, seed=0)
    direction, level = learner(acts, targets, folds, intercept).fit(10.0)
    if learner is FoldRidge:
        model = Ridge(10.0, fit_intercept=intercept, solver="svd")
    else:
        model = LogisticRegression(C=0.1, fit_intercept=intercept, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    model.fit(acts.astype(np.float64), targets)
    ours = acts.astype(np.float64) @ direction + level
    theirs = acts.astype(np.float64) @ model.coef_.ravel() + np.ravel(model.intercept_)[0]
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_held_out_targets_are_never_seen():
    acts, targets = regression(80, 30)
    folds = cut_folds(targets, "regression", n_folds=4, seed=0)
    other = np.where(folds.held_out(2), 1e6, targets)
    for penalty in (1.0, 100.0):
        first, second = (FoldRidge(acts, t, folds).predict([(2,)], [penalty])[0] for t in (targets, other))
        np.testing.assert_array_equal(first, second)
    seen = FoldRidge(acts, other, folds).predict([(1,)], [1.0])[0]
    assert np.abs(seen - FoldRidge(acts, targets, folds).predict([(1,)], [1.0])[0]).max() > 1.0  # sanity twin


def test_constant_rows_predict_a_constant():
    acts = np.full((40, 8), 3.25, dtype=np.float32)
    targets = np.arange(40.0)
    folds = cut_folds(targets, "regression", n_folds=4, seed=0)
    assert np.ptp(FoldRidge(acts, targets, folds).predict([(0,)], [1.0])[0]) == 0.0


def test_published_folds_are_scikit_learns():
    targets = np.random.default_rng(0).random(53)
    ours = cut_folds(targets, "regression", n_folds=5, seed=42)
    for fold, (_, held) in enumerate(KFold(5, shuffle=True, random_state=42).split(targets)):
        np.testing.assert_array_equal(np.flatnonzero(ours.held_out(fold)), np.sort(held))
    labels = (targets > 0.7).astype(float)
    ours = cut_folds(labels, "classification", n_folds=5, seed=42)
    for fold, (_, held) in enumerate(StratifiedKFold(5, shuffle=True, random_state=42).split(targets, labels)):
        np.testing.assert_array_equal(np.flatnonzero(ours.held_out(fold)), np.sort(held))


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_rows_of_one_group_stay_in_one_fold(task):
    groups = np.repeat(np.arange(30), 3)
    targets = np.random.default_rng(0).integers(2, size=90).astype(float)
    folds = cut_folds(targets, task, n_folds=5, seed=1, groups=groups)
    assert all(len(set(folds.of_row[groups == g])) == 1 for g in range(30)) and "one question together" in folds.rule
    alone = cut_folds(targets, task, n_folds=5, seed=1)
    assert any(len(set(alone.of_row[groups == g])) > 1 for g in range(30))  # sanity twin


def test_pairs_of_folds():
    folds = Folds(np.arange(5), "")
    assert len(folds.pairs(neighbours_only=False)) == 10
    ring = folds.pairs(neighbours_only=True)
    assert ring == ((0, 1), (0, 4), (1, 2), (2, 3), (3, 4))


@pytest.mark.parametrize(("n_folds", "told"), [(1, "at least 2"), (5, "smaller class, there are 4")])
def test_folds_that_cannot_be_are_refused(n_folds, told):
    with pytest.raises(UsageError, match=told):
        cut_folds(np.array([1.0] * 4 + [0.0] * 20), "classification", n_folds=n_folds, seed=0)


def test_logistic_regression_without_a_penalty_is_refused():
    acts, targets = classification(40, 10)
    folds = cut_folds(targets, "classification", n_folds=4, seed=0)
    with pytest.raises(UsageError, match="no solution on separable rows"):
        FoldLogistic(acts, targets, folds).predict([(0,)], [0.0])
