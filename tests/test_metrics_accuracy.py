"""Accuracy by question and by row, sign and threshold under both protocols."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_curve

from probeshift.errors import UsageError
from probeshift.metrics import measure
from probeshift.metrics.accuracy import correct_by_question
from probeshift.metrics.questions import lay_out


def questions_with_ties(rng, n_questions=60, n_probes=5):
    """Questions of 1 to 5 rows in shuffled row order, whole-number scores so that ties abound."""
    groups = rng.permutation(np.repeat(np.arange(n_questions), rng.integers(1, 6, n_questions)))
    labels = rng.random(len(groups)) < 0.4
    return rng.integers(0, 4, (n_probes, len(groups))).astype(float), labels, groups


def naive_correct(row, labels, groups):
    correct = {}
    for question in np.unique(groups):
        mine = groups == question
        if 0 < labels[mine].sum() < mine.sum():
            top = row[mine] == row[mine].max()
            correct[int(question)] = labels[mine][top].mean()
    return correct


def test_accuracy_by_question_equals_a_loop_over_questions():
    scores, labels, groups = questions_with_ties(np.random.default_rng(0))
    got = measure(scores, labels, groups)
    for probe, row in enumerate(scores):
        expected = naive_correct(row, labels, groups)
        assert got.units.tolist() == sorted(expected)
        np.testing.assert_array_equal(got.correct[probe], [expected[q] for q in sorted(expected)])
        assert got.accuracy.value[probe] == pytest.approx(np.mean(list(expected.values())), abs=1e-15)


def test_questions_that_cannot_be_ranked_are_dropped_and_counted():
    labels = np.array([True, False, True, True, False, True, False])
    groups = np.array([0, 0, 1, 1, 2, 3, 3])
    got = measure(np.arange(7.0)[None], labels, groups)
    assert (got.n_dropped, got.accuracy.n, got.accuracy.n_kind, got.units.tolist()) == (2, 2, "questions", [0, 3])


def test_chance_is_the_mean_share_of_true_rows():
    labels = np.array([True, False, True, False, False, False])
    got = measure(np.arange(6.0)[None], labels, np.array([0, 0, 1, 1, 1, 1]))
    assert got.accuracy.chance == (1 / 2 + 1 / 4) / 2


def test_ties_earn_what_random_tie_breaking_earns_on_average():
    rng = np.random.default_rng(1)
    scores, labels, groups = questions_with_ties(rng, n_probes=1)
    jittered = scores + rng.uniform(0, 0.5, (4000, scores.shape[1]))
    broken = correct_by_question(jittered, lay_out(labels, groups)).mean()
    # 4000 random breakings of about 40 questions: standard error below 0.001
    assert measure(scores, labels, groups).accuracy.value[0] == pytest.approx(broken, abs=0.004)


def test_row_order_does_not_matter():
    rng = np.random.default_rng(2)
    scores, labels, groups = questions_with_ties(rng)
    order = rng.permutation(len(labels))
    one, other = measure(scores, labels, groups), measure(scores[:, order], labels[order], groups[order])
    np.testing.assert_array_equal(one.correct, other.correct)
    np.testing.assert_array_equal(one.auroc.low, other.auroc.low)
    np.testing.assert_allclose(one.accuracy_row.low, other.accuracy_row.low, atol=1e-15)


def test_row_accuracy_predicts_true_strictly_above_zero():
    got = measure(np.array([[0.0, 1.0, -1.0, 2.0]]), np.array([False, True, False, False]))
    assert got.accuracy_row.value[0] == 0.75
    assert got.accuracy.value[0] == 0.75 and got.accuracy.n_kind == "rows"
    assert got.accuracy_row.chance == 0.75  # always answering "false"


@pytest.mark.parametrize("grouped", [True, False])
def test_published_folds_an_inverted_probe_above_chance_and_strict_shows_it(grouped):
    rng = np.random.default_rng(3)
    labels = np.tile([True, False], 100)
    groups = np.repeat(np.arange(100), 2) if grouped else None
    scores = -2.0 * labels + rng.normal(size=(1, 200))
    strict, published = (measure(scores, labels, groups, protocol=p) for p in ("strict", "published"))
    assert strict.accuracy.value[0] < 0.3 and strict.auroc.high[0] < 0.5 and not strict.flipped[0]
    assert published.accuracy.value[0] > 0.7 and published.auroc.value[0] > 0.7 and published.flipped[0]
    assert (strict.sign_source, published.sign_source) == ("training data", "evaluation labels")
    assert published.threshold_source == ("training data" if grouped else "evaluation labels")


def test_published_keeps_the_better_sign_of_every_probe():
    rng = np.random.default_rng(4)
    labels, groups = np.tile([True, False, False], 40), np.repeat(np.arange(40), 3)
    scores = rng.normal(size=(30, 120))
    ways = [measure(s, labels, groups).accuracy.value for s in (scores, -scores)]
    published = measure(scores, labels, groups, protocol="published")
    np.testing.assert_array_equal(published.accuracy.value, np.maximum(*ways))
    np.testing.assert_array_equal(published.flipped, ways[1] > ways[0])


def test_published_threshold_is_the_roc_point_nearest_to_the_corner():
    rng = np.random.default_rng(5)
    labels = rng.random(150) < 0.4
    scores = np.round(rng.normal(size=(20, 150)) + labels, 1)
    got = measure(scores, labels, protocol="published").accuracy.value
    for row, value in zip(scores, got, strict=True):
        false_positive, true_positive, thresholds = roc_curve(labels, row, drop_intermediate=False)
        corner = thresholds[np.argmin(false_positive**2 + (1 - true_positive) ** 2)]
        assert value == np.mean((row > corner) == labels)


def test_perfect_separation_loses_the_threshold_row_under_the_published_procedure():
    scores, labels = np.arange(10.0)[None], np.arange(10) >= 4
    assert measure(scores, labels, protocol="published").accuracy.value[0] == 0.9
    assert measure(scores - 3.5, labels).accuracy.value[0] == 1.0


def test_unknown_protocol_names_the_two_that_exist():
    with pytest.raises(UsageError, match="`strict`"):
        measure(np.ones((1, 2)), np.array([True, False]), protocol="oracle")
