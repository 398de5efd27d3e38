"""AUROC and its resamples against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from probeshift.metrics import measure, ranking, resample_weights
from probeshift.metrics.ranking import auroc, auroc_resamples


def rows(seed=0, n=80, n_probes=6, decimals=1):
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.35
    return np.round(rng.normal(size=(n_probes, n)) + labels, decimals), labels


def test_auroc_equals_scikit_learn_with_ties():
    scores, labels = rows()
    expected = [roc_auc_score(labels, row) for row in scores]
    np.testing.assert_allclose(auroc(scores, labels), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("decimals", [0, 1, 12], ids=["many ties", "ties", "no ties"])
def test_resamples_equal_scikit_learn_with_sample_weights(decimals):
    scores, labels = rows(decimals=decimals)
    weights = resample_weights(len(labels), 25, seed=7)
    got = auroc_resamples(scores, labels, weights)
    expected = [[roc_auc_score(labels, row, sample_weight=drawn) for drawn in weights] for row in scores]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)


def test_blocks_of_resamples_and_the_wide_float_change_no_bit(monkeypatch):
    scores, labels = rows()
    weights = resample_weights(len(labels), 25, seed=7)
    whole = auroc_resamples(scores, labels, weights)
    monkeypatch.setattr(ranking, "RESAMPLE_ELEMENTS", 7 * len(labels))
    monkeypatch.setattr(ranking, "_EXACT_FLOAT32", 0.0)
    np.testing.assert_array_equal(auroc_resamples(scores, labels, weights), whole)


def test_a_large_set_whose_pair_counts_overflow_float32_stays_exact():
    rng = np.random.default_rng(3)
    labels = rng.random(9000) < 0.5
    scores = np.round(rng.normal(size=(1, 9000)) + labels, 2)
    weights = resample_weights(9000, 2, seed=0)
    expected = [roc_auc_score(labels, scores[0], sample_weight=drawn) for drawn in weights]
    np.testing.assert_allclose(auroc_resamples(scores, labels, weights)[0], expected, rtol=0, atol=1e-12)


def test_a_monotone_transform_leaves_auroc_and_its_interval_alone():
    scores, labels = rows()
    plain, bent = measure(scores, labels).auroc, measure(np.exp(scores), labels).auroc
    for name in ("value", "low", "high"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(bent, name))


def test_negating_scores_mirrors_auroc_and_its_interval():
    scores, labels = rows()
    plain, mirrored = measure(scores, labels).auroc, measure(-scores, labels).auroc
    np.testing.assert_allclose(mirrored.value, 1 - plain.value, atol=1e-15)
    np.testing.assert_allclose(mirrored.low, 1 - plain.high, atol=1e-12)
    np.testing.assert_allclose(mirrored.high, 1 - plain.low, atol=1e-12)


def test_swapping_the_classes_mirrors_auroc():
    scores, labels = rows()
    np.testing.assert_allclose(auroc(scores, ~labels), 1 - auroc(scores, labels), atol=1e-15)


def test_doubling_every_row_within_its_question_changes_nothing():
    scores, labels = rows(n=60)
    groups = np.repeat(np.arange(20), 3)
    once = measure(scores, labels, groups)
    twice = measure(np.tile(scores, 2), np.tile(labels, 2), np.tile(groups, 2))
    for name in ("accuracy", "accuracy_row", "auroc"):
        for column in ("value", "low", "high"):
            np.testing.assert_allclose(
                getattr(getattr(once, name), column), getattr(getattr(twice, name), column), atol=1e-12
            )
    # The twin: the same copies given new question ids count as new evidence, and intervals shrink.
    copies = measure(np.tile(scores, 2), np.tile(labels, 2), np.concatenate([groups, groups + 20]))
    assert (copies.auroc.high - copies.auroc.low < once.auroc.high - once.auroc.low).all()
