"""The grid finds what is planted, choices never see what judges them, and scikit-learn gives the published numbers."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, StratifiedKFold
from synthetic_grid import PLANTED, Grid

from probeshift.errors import UsageError
from probeshift.grid import (
    GridOptions,
    best_cell,
    compare_rows,
    corrected_score,
    fit_grid,
    measure_rows,
    run_controls,
    score_rows,
)
from probeshift.probes.folds import cut_folds

ALPHAS = {"regression": (1000.0, 10.0, 0.1), "classification": (1000.0, 10.0)}


def fitted(tmp_path, task="regression", *, nested=True, intercept=True, alphas=None, **sides):
    train, test = Grid(task=task, **sides), Grid(task=task, **{**sides, "seed": 1000})
    folds = cut_folds(train.targets, task, n_folds=5, seed=42)
    options = GridOptions(task, alphas or ALPHAS[task], folds, intercept, nested)
    return train, test, options, fit_grid(train, test, train.targets, options, tmp_path / "cells")


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_the_planted_cell_is_found(task, tmp_path):
    _, test, _, cells = fitted(tmp_path, task)
    best = cells[best_cell(cells, [c.cv_score for c in cells])]
    assert (best.layer, best.position) == PLANTED
    assert score_rows(task, best.test_predictions[None], test.targets)[0] > 0.85
    direction = np.random.default_rng(99).normal(size=24)
    assert best.direction @ direction / np.linalg.norm(best.direction) / np.linalg.norm(direction) > 0.8


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_without_a_planted_direction_nothing_is_claimed(task, tmp_path):
    """Sanity twin: the best of many cells looks good to itself, and not once the choice is part of what is judged."""
    own, fair = [], []
    for seed in range(12):
        _, _, _, cells = fitted(tmp_path, task, strength=0.0, seed=seed, n=80)
        own.append(max(c.cv_score for c in cells if not np.isnan(c.cv_score)))
        fair.append(corrected_score(cells))
    chance = 0.0 if task == "regression" else 0.5
    assert np.mean(own) > chance + 0.08
    assert abs(np.mean(fair) - chance) < 0.07


def test_a_constant_layer_has_no_score(tmp_path):
    _, _, _, cells = fitted(tmp_path)
    constant = [c for c in cells if c.layer == -1]
    assert all(np.isnan(c.cv_score) and np.ptp(c.test_predictions) < 1e-12 for c in constant)


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_the_published_procedure_is_scikit_learns(task, tmp_path):
    train, test, _, cells = fitted(tmp_path, task, nested=False, intercept=False, alphas=(1.0,))
    splitter = KFold if task == "regression" else StratifiedKFold
    for cell in cells:
        acts, rows = (side.read(cell.layer, cell.position).astype(np.float64) for side in (train, test))
        held_out, scores = np.empty(len(acts)), []
        for kept, held in splitter(5, shuffle=True, random_state=42).split(acts, train.targets):
            held_out[held] = predictions(task, acts[kept], train.targets[kept], acts[held])
            scores.append(naive_score(task, held_out[held], train.targets[held]))
        probabilities = (lambda v: v) if task == "regression" else (lambda v: 1 / (1 + np.exp(-v)))
        np.testing.assert_allclose(probabilities(cell.cv_predictions), held_out, atol=1e-6)
        expected = predictions(task, acts, train.targets, rows)
        np.testing.assert_allclose(probabilities(cell.test_predictions), expected, atol=1e-6)
        if cell.layer != -1:
            assert cell.cv_score == pytest.approx(np.mean(scores), abs=1e-6)


def predictions(task, acts, targets, rows):
    if task == "regression":
        return Ridge(1.0, fit_intercept=False, solver="svd").fit(acts, targets).predict(rows)
    model = LogisticRegression(C=1.0, fit_intercept=False, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    return model.fit(acts, targets).predict_proba(rows)[:, 1]


def naive_score(task, predicted, targets):
    return spearmanr(predicted, targets).statistic if task == "regression" else roc_auc_score(targets, predicted)


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_a_nested_choice_is_what_refitting_by_hand_chooses(task, tmp_path):
    """For each fold: alpha from models without that fold; the score from models without it either."""
    train, _, options, cells = fitted(tmp_path, task, n=100)
    folds, cell = options.folds, next(c for c in cells if (c.layer, c.position) == (0, "post[-1]"))
    acts = train.read(0, "post[-1]").astype(np.float64)
    for fold in range(5):
        partners = [
            p
            for pair in folds.pairs(neighbours_only=task == "classification")
            if fold in pair
            for p in pair
            if p != fold
        ]
        means = [
            np.mean([judged(task, acts, train.targets, folds, {fold, p}, p, a) for p in partners])
            for a in options.alphas
        ]
        alpha = options.alphas[int(np.argmax(means))]
        assert cell.inner_scores[fold] == pytest.approx(max(means), abs=1e-5)
        assert cell.fold_scores[fold] == pytest.approx(
            judged(task, acts, train.targets, folds, {fold}, fold, alpha), abs=1e-5
        )


def judged(task, acts, targets, folds, without, on, alpha):
    kept, held = ~folds.held_out(*without), folds.held_out(on)
    if task == "regression":
        model = Ridge(alpha, solver="svd").fit(acts[kept], targets[kept])
        return naive_score(task, model.predict(acts[held]), targets[held])
    model = LogisticRegression(C=1 / alpha, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    return naive_score(task, model.fit(acts[kept], targets[kept]).decision_function(acts[held]), targets[held])


def test_test_labels_choose_nothing(tmp_path):
    train, test, options, cells = fitted(tmp_path)

    class Shuffled(Grid):
        @property
        def targets(self):
            return np.random.default_rng(5).permutation(self.signal)

    again = fit_grid(train, Shuffled(seed=1000), train.targets, options, tmp_path / "other")
    for one, other in zip(cells, again, strict=True):
        assert one.alpha == other.alpha and np.array_equal(one.direction, other.direction)


def test_finished_cells_are_read_back_and_not_fitted_again(tmp_path, monkeypatch):
    train, test, options, cells = fitted(tmp_path)

    def never(*_):
        raise AssertionError("fitted again")

    monkeypatch.setattr("probeshift.grid.fitting._fit_cell", never)
    again = fit_grid(train, test, train.targets, options, tmp_path / "cells")
    for one, other in zip(cells, again, strict=True):
        assert one.bias == other.bias and np.array_equal(one.cv_predictions, other.cv_predictions)
    with pytest.raises(AssertionError, match="fitted again"):  # other labels are another question
        fit_grid(train, test, train.targets[::-1].copy(), options, tmp_path / "cells")


def test_controls_know_nothing_and_the_probe_beats_them(tmp_path):
    train, test, options, cells = fitted(tmp_path, n=200)
    best = cells[best_cell(cells, [c.cv_score for c in cells])]
    found = run_controls(train, test, train.targets, best, options, options.folds, n_draws=10, seed=0)
    scores = {c.name: np.nanmean(score_rows("regression", c.predictions, test.targets)) for c in found}
    assert set(scores) == {"question length", "TF-IDF of the question", "shuffled labels", "random direction"}
    probe = score_rows("regression", best.test_predictions[None], test.targets)[0]
    assert all(probe > score + 0.2 for score in scores.values() if not np.isnan(score))
    assert abs(scores["shuffled labels"]) < 0.25


@pytest.mark.parametrize(
    ("space", "told"),
    [({"model": "other"}, "model"), ({"prompts": {"kind": "chat"}}, "chat template"), ({"d_model": 12}, "d_model")],
)
def test_activations_of_another_model_or_template_are_refused(space, told, tmp_path):
    train = Grid()
    test = Grid(seed=1, space=train.space | space)
    options = GridOptions("regression", (1.0,), cut_folds(train.targets, "regression", n_folds=5, seed=0))
    with pytest.raises(UsageError, match=told):
        fit_grid(train, test, train.targets, options, tmp_path)


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_a_gain_is_paired_on_the_same_rows(task):
    """Two noisy copies of one prediction differ little on the same rows, however wide each one's own interval is."""
    rng = np.random.default_rng(0)
    signal = rng.normal(size=150)
    targets = signal if task == "regression" else (signal > 0).astype(float)
    shared = signal + 2 * rng.normal(size=150)
    better, worse = shared + 0.3 * signal, shared - 0.3 * signal
    options = {"n_resamples": 400, "seed": 0}
    found = compare_rows(task, np.stack([better, worse]), targets, None, **options)
    own = measure_rows(task, better[None], targets, None, **options)[0]
    assert 0 < found.low < found.value < found.high and found.high - found.low < 0.7 * (own.high[0] - own.low[0])
    same = compare_rows(task, np.stack([better, better]), targets, None, **options)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)
    assert compare_rows(task, np.stack([better, np.ones(150)]), targets, None, **options) is None
