"""The bundled facts: true where they say so, balanced, the same on every machine."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from probeshift.datasets import FACTS_DATASETS, audit, facts, load_dataset

PAIRED = ("facts_cities", "facts_translations", "facts_comparisons")


@pytest.mark.parametrize("name", FACTS_DATASETS)
def test_each_set_has_six_hundred_statements_and_is_half_true(name):
    rows = load_dataset(name).statements
    assert len(rows) >= 600
    assert sum(row.label for row in rows) * 2 == len(rows)


@pytest.mark.parametrize("name", FACTS_DATASETS)
def test_no_statement_repeats_or_contradicts_another(name):
    found = audit(load_dataset(name))
    assert (found.duplicate_statements, found.contradictory_statements) == (0, 0)


@pytest.mark.parametrize("name", PAIRED)
def test_every_negation_has_the_opposite_label(name):
    groups = defaultdict(list)
    for row in load_dataset(name).statements:
        groups[row.group].append(row)
    for affirmed, negated in groups.values():
        assert (affirmed.answer_type, negated.answer_type) == ("pos", "neg")
        assert affirmed.label != negated.label
        assert affirmed.text == negated.text.replace(" is not ", " is ", 1)


@pytest.mark.parametrize("name", PAIRED)
def test_affirmed_statements_are_half_true(name):
    affirmed = [row.label for row in load_dataset(name).statements if row.answer_type == "pos"]
    assert sum(affirmed) * 2 == len(affirmed)


def test_the_tables_are_as_large_as_promised():
    assert len(facts._table("cities")) >= 300
    assert len(facts._table("spanish_words")) >= 150


def test_a_wrong_country_is_never_a_country_that_has_such_a_city():
    also_in = {row["city"]: {row["country"], *row["also_in"].split(";")} for row in facts._table("cities")}
    for city, country, wrong in facts._cities():
        assert wrong not in also_in[city]
        assert country in also_in[city]


def test_values_are_named_equally_often_in_true_and_in_false_statements():
    assert Counter(country for _, country, _ in facts._cities()) == Counter(wrong for *_, wrong in facts._cities())


def test_dealing_keeps_all_values_and_never_gives_a_banned_one():
    keys, values = [str(i) for i in range(20)], [str(i) for i in range(20)]
    free = facts.deal_wrong(keys, values, [frozenset()] * 20, "salt")
    kept_apart = facts.deal_wrong(keys, values, [frozenset((value,)) for value in values], "salt")
    assert sorted(free) == sorted(kept_apart) == sorted(values)
    assert all(dealt != value for dealt, value in zip(kept_apart, values, strict=True))


@pytest.mark.parametrize(
    ("name", "text", "label"),
    [
        ("facts_cities", "Tokyo is a city in Japan.", True),
        ("facts_cities", "Nairobi is not a city in Kenya.", False),
        ("facts_cities", "Manila is a city in the Philippines.", True),
        ("facts_translations", 'In Spanish, "perro" is the word for "dog".', True),
        ("facts_translations", 'In Spanish, "agua" is not the word for "water".', False),
    ],
)
def test_known_facts_have_their_label(name, text, label):
    assert {row.text: row.label for row in load_dataset(name).statements}[text] is label


def test_comparisons_agree_with_arithmetic():
    values = {facts.spelled(number): number for number in range(100)}
    for row in load_dataset("facts_comparisons").statements:
        first, second = row.text.lower().rstrip(".").replace(" not ", " ").split(" is a greater number than ")
        assert row.label is ((values[first] > values[second]) == (row.answer_type == "pos"))


@pytest.mark.parametrize(("name", "joint"), [("facts_cities_conj", all), ("facts_cities_disj", any)])
def test_two_city_claims_follow_from_their_parts(name, joint):
    country = {city: country for city, country, _ in facts._cities()}
    for row in load_dataset(name).statements:
        claims = [part.split(" is a city in ") for part in row.text.split(": ")[1].rstrip(".").split("; ")]
        assert row.label is joint(country[city] == named for city, named in claims)
        assert row.group is None
        assert row.entity == " | ".join(city for city, _ in claims)


@pytest.mark.parametrize("name", FACTS_DATASETS)
def test_loading_twice_gives_the_same_content_hash(name):
    facts._cities.cache_clear()
    assert load_dataset(name).content_hash == load_dataset(name).content_hash


def test_the_content_of_the_cities_is_what_was_released():
    # a change of tables, wording or hashing changes published numbers and must be a decision
    assert load_dataset("facts_cities").content_hash.startswith("f54aff70")
