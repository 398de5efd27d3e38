"""Splits: a hash of the key alone, limits that count questions, entities on one side."""

from __future__ import annotations

from collections import Counter

import pytest

from probeshift.datasets import FACTS_DATASETS, audit, load_dataset
from probeshift.datasets.questions import Answer, Question
from probeshift.datasets.roles import choose
from probeshift.datasets.splits import (
    EVALUATION_ONLY,
    FROM_EVAL,
    FROM_TRAIN,
    POOLED,
    cut,
    entities_of,
    hash_fraction,
    shuffle_key,
    side,
)
from probeshift.errors import UsageError


def counts(seed: str, n_rows: int, shares) -> list[int]:
    found = Counter(side(seed, str(i), shares) for i in range(n_rows))
    return [found[split] for split in ("train", "selection", "test")]


@pytest.mark.parametrize(
    ("name", "n_rows", "expected"),
    [
        ("got_cities", 1496, [887, 306, 303]),
        ("got_sp_en_trans", 354, [231, 65, 58]),
        ("got_larger_than", 1980, [1182, 385, 413]),
        ("got_cities_cities_conj", 1498, [847, 329, 322]),
        ("got_cities_cities_disj", 1498, [906, 300, 292]),
    ],
)
def test_the_hash_split_gives_the_published_counts(name, n_rows, expected):
    assert counts(name, n_rows, POOLED) == expected


def test_truthful_qa_keeps_652_of_817_questions_for_the_test():
    assert counts("truthful_qa", 817, EVALUATION_ONLY) == [0, 165, 652]


@pytest.mark.parametrize(("name", "n_rows", "expected"), [("rte", 2490, [1880, 610, 0]), ("copa", 400, [310, 90, 0])])
def test_source_train_rows_split_as_published(name, n_rows, expected):
    assert counts(name, n_rows, FROM_TRAIN) == expected


@pytest.mark.parametrize(
    ("name", "n_rows", "selection"), [("imdb", 25000, 735), ("ag_news", 120000, 756), ("boolq", 9427, 733)]
)
def test_the_cap_takes_the_first_3000_in_shuffled_order(name, n_rows, selection):
    first = sorted(range(n_rows), key=lambda i: shuffle_key(str(i)))[:3000]
    assert sum(side(name, str(i), FROM_TRAIN) == "selection" for i in first) == selection


def test_fractions_are_thousandths_below_one():
    fractions = {hash_fraction("seed", str(i)) for i in range(20_000)}
    assert min(fractions) == 0.0
    assert max(fractions) == 0.999
    assert len(fractions) == 1000


def test_a_row_falls_on_the_same_side_whatever_other_rows_there_are():
    questions = [Question(str(i), (Answer("", f"text {i}", True),)) for i in range(50)]
    whole, _ = cut("d", questions, seed="d", shares={"": POOLED}, split_by="question", grouped=False)
    part, _ = cut("d", questions[::3], seed="d", shares={"": POOLED}, split_by="question", grouped=False)
    sides = {row.row_id: row.split for row in whole}
    assert all(sides[row.row_id] == row.split for row in part)


def test_statements_come_in_ascending_order_of_the_hash_of_their_key():
    questions = [Question(str(i), (Answer("a", "yes", True), Answer("b", "no", False))) for i in range(50)]
    rows, _ = cut("d", questions, seed="d", shares={"": FROM_EVAL}, split_by="question", grouped=True)
    keys = [shuffle_key(row.group) for row in rows]
    assert keys == sorted(keys)


def test_a_limit_counts_questions_and_never_cuts_one():
    dataset = load_dataset("facts_cities")
    for limit in (0, 1, 7, 400):
        rows = dataset.split("train", limit)
        assert len(rows) == 2 * limit
        assert len({row.group for row in rows}) == limit


def test_a_limit_counts_rows_where_there_are_no_questions():
    assert len(load_dataset("facts_cities_conj").split("train", 100)) == 100


def test_a_smaller_limit_is_the_start_of_a_larger_one():
    dataset = load_dataset("facts_translations")
    assert dataset.split("test", 20) == dataset.split("test", 50)[:40]


def test_an_unknown_split_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match="`selection`"):
        load_dataset("facts_cities").split("selektion")


def test_an_unknown_split_rule_is_refused():
    with pytest.raises(UsageError, match="`entity`"):
        load_dataset("facts_cities", split_by="entities")


@pytest.mark.parametrize("name", FACTS_DATASETS)
def test_the_splits_cover_every_row_once(name):
    dataset = load_dataset(name)
    parts = [row for split in ("train", "selection", "test") for row in dataset.split(split)]
    assert sorted(row.row_id for row in parts) == sorted(row.row_id for row in dataset.statements)


@pytest.mark.parametrize("name", FACTS_DATASETS)
def test_splitting_by_entity_leaves_no_entity_on_both_sides(name):
    dataset = load_dataset(name, split_by="entity")
    sides: dict[str, set[str]] = {}
    for row in dataset.statements:
        for entity in entities_of(row):
            sides.setdefault(entity, set()).add(row.split)
    assert {len(found) for found in sides.values()} == {1}
    assert audit(dataset).entity_leak_whole_train.n_rows == 0


@pytest.mark.parametrize("name", FACTS_DATASETS)
def test_splitting_by_question_does_leak_entities(name):
    assert audit(load_dataset(name)).entity_leak.share > 0.3


def test_rows_whose_entities_fall_on_different_sides_are_counted():
    by_question, by_entity = load_dataset("facts_cities_conj"), load_dataset("facts_cities_conj", split_by="entity")
    n_dropped = by_entity.dropped["rows whose entities fall on different sides"]
    assert n_dropped > 0
    assert len(by_entity.statements) + n_dropped == len(by_question.statements)


@pytest.mark.parametrize(
    ("available", "reference", "train", "test", "words"),
    [
        (
            ("train", "validation", "test"),
            "validation",
            "train",
            "validation",
            "source split validation: test as a whole",
        ),
        (("train", "validation", "test"), "test", "train", "test", "source split test: test as a whole"),
        (("train", "test", "all"), "validation", "train", "test", "in place of validation, which was not found"),
        (("validation", "test"), "validation", "test", "validation", "in place of train, which was not found"),
    ],
)
def test_the_reference_evaluation_split_is_used_when_it_is_there(available, reference, train, test, words):
    roles = choose(available, ("train", reference))
    assert roles.shares == {train: FROM_TRAIN, test: FROM_EVAL}
    assert words in roles.rule


@pytest.mark.parametrize("only", ["train", "validation", "test", "all"])
def test_a_single_source_split_serves_all_three_and_says_so(only):
    roles = choose((only,), ("train", "validation"))
    assert roles.shares == {only: POOLED}
    assert "0.6 train, 0.2 selection, 0.2 test" in roles.rule
