"""Undefined is a NaN with a reason, never 0, 0.5 or 1."""

from __future__ import annotations

import numpy as np
import pytest

from probeshift.metrics import identical_columns, measure

PAIRS = np.tile([True, False], 10)
QUESTIONS = np.repeat(np.arange(10), 2)


def assert_undefined(measured, probe, reason):
    assert measured.reason[probe] == reason
    assert np.isnan([measured.value[probe], measured.low[probe], measured.high[probe]]).all()
    assert measured.ci_kind[probe] == "none"


def everything(got):
    return got.accuracy, got.accuracy_row, got.auroc


@pytest.mark.parametrize("protocol", ["strict", "published"])
@pytest.mark.parametrize("groups", [QUESTIONS, None], ids=["grouped", "ungrouped"])
@pytest.mark.parametrize("label, reason", [(True, "single_class:positive"), (False, "single_class:negative")])
def test_one_class_only(label, reason, groups, protocol):
    got = measure(np.random.default_rng(0).normal(size=(3, 20)), np.full(20, label), groups, protocol=protocol)
    for measured in everything(got):
        for probe in range(3):
            assert_undefined(measured, probe, reason)
    assert np.isnan(got.correct).all() and not got.flipped.any()


@pytest.mark.parametrize("protocol", ["strict", "published"])
@pytest.mark.parametrize("groups", [QUESTIONS, None], ids=["grouped", "ungrouped"])
def test_broken_scores_leave_their_neighbours_alone(groups, protocol):
    rng = np.random.default_rng(1)
    scores = np.stack([rng.normal(size=20), np.full(20, 3.0), rng.normal(size=20), np.zeros(20), rng.normal(size=20)])
    scores[2, 4] = np.nan
    scores[1] += 1e-12 * rng.random(20)
    got = measure(scores, PAIRS, groups, protocol=protocol)
    alone = measure(scores[[0, 4]], PAIRS, groups, protocol=protocol)
    for measured, expected in zip(everything(got), everything(alone), strict=True):
        for probe, reason in ((1, "constant_scores"), (2, "non_finite_scores"), (3, "constant_scores")):
            assert_undefined(measured, probe, reason)
        np.testing.assert_array_equal(measured.value[[0, 4]], expected.value)
        np.testing.assert_array_equal(measured.low[[0, 4]], expected.low)
        assert measured.reason[0] is None
    assert np.isnan(got.correct[1:4]).all() and np.isfinite(got.correct[[0, 4]]).all()


def test_infinite_scores_are_not_finite():
    scores = np.array([[np.inf, 0.0, 1.0, 2.0]])
    assert_undefined(measure(scores, np.array([True, False, True, False])).auroc, 0, "non_finite_scores")


def test_one_question_is_too_few():
    got = measure(np.array([[1.0, 0.0, 2.0]]), np.array([True, False, True]), np.array([0, 0, 0]))
    for measured in everything(got):
        assert_undefined(measured, 0, "too_few_questions")


def test_one_rankable_question_is_too_few_for_accuracy_but_rows_can_be_ranked():
    got = measure(np.array([[1.0, 0.0, 2.0]]), np.array([True, False, True]), np.array([0, 0, 1]))
    assert_undefined(got.accuracy, 0, "too_few_questions")
    assert got.auroc.value[0] == 1.0 and got.accuracy_row.value[0] == 1.0


def test_no_rows_and_no_probes():
    nothing = np.array([], dtype=bool)
    assert_undefined(measure(np.zeros((1, 0)), nothing).accuracy, 0, "too_few_rows")
    assert measure(np.zeros((0, 20)), PAIRS, QUESTIONS).accuracy.value.shape == (0,)
    assert measure(np.zeros((0, 20)), PAIRS, protocol="published").auroc.reason == ()


def test_a_copied_metric_column_raises_the_alarm():
    rng = np.random.default_rng(2)
    accuracy, other = rng.random(100), rng.random(100)
    accuracy[3] = np.nan
    copied = accuracy.copy()
    copied[7] += 0.1
    assert identical_columns({"accuracy": accuracy, "other": other, "auc": copied}, share=0.95) == ("accuracy", "auc")
    assert identical_columns({"accuracy": accuracy, "other": other}) is None


def test_perfect_cells_and_tiny_tables_raise_no_alarm():
    assert identical_columns({"accuracy": np.ones(100), "auc": np.ones(100)}) is None
    assert identical_columns({"accuracy": np.full(5, 0.7), "auc": np.full(5, 0.7)}) is None
