"""True and false statements made here, from bundled tables of facts: everything runs without a download.

False statements are drawn by hash: the values (countries, English words) are dealt out again so that each is named
equally often in true and in false statements; nothing but the match tells them apart.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from functools import cache
from importlib import resources
from typing import Any

from probeshift.datasets.dataset import Dataset, DatasetSpec
from probeshift.datasets.got import pool
from probeshift.datasets.questions import Answer, Question
from probeshift.datasets.splits import shuffle_key

N_PAIRED_CLAIMS = 800  # statements of the two-city sets
_NUMBER_ROUNDS = 4  # comparisons that start from each number


@cache
def _table(name: str) -> tuple[dict[str, str], ...]:
    text = (resources.files("probeshift.datasets") / "tables" / f"{name}.csv").read_text("utf-8")
    return tuple(csv.DictReader(text.splitlines()))


def deal_wrong(keys: Sequence[str], values: Sequence[str], banned: Sequence[frozenset[str]], salt: str) -> list[str]:
    """For each key a wrong value: the values in an order drawn by hash, swapped until no key has a banned one."""
    dealt = [values[i] for i in sorted(range(len(keys)), key=lambda i: shuffle_key(f"{salt}-{keys[i]}"))]
    for i in range(len(dealt)):
        if dealt[i] in banned[i]:
            j = next(j for j in range(len(dealt)) if dealt[j] not in banned[i] and dealt[i] not in banned[j])
            dealt[i], dealt[j] = dealt[j], dealt[i]
    return dealt


@cache
def _cities() -> tuple[tuple[str, str, str], ...]:
    """(city, its country, a wrong country) for each city."""
    rows = _table("cities")
    names, countries = [row["city"] for row in rows], [row["country"] for row in rows]
    banned = [frozenset((row["country"], *row["also_in"].split(";"))) for row in rows]
    return tuple(zip(names, countries, deal_wrong(names, countries, banned, "country"), strict=True))


def _pair(key: str, affirmed: str, negated: str, label: bool, *entities: str) -> Question:
    return Question(
        key, (Answer("pos", affirmed, label, "pos"), Answer("neg", negated, not label, "neg")), entities=entities
    )


def cities() -> list[Question]:
    """Each city with its country and with a wrong one."""
    questions = []
    for city, country, wrong in _cities():
        for label, named in ((True, country), (False, wrong)):
            affirmed, negated = f"{city} is a city in {named}.", f"{city} is not a city in {named}."
            questions.append(_pair(f"{city} {label}", affirmed, negated, label, city))
    return questions


def translations() -> list[Question]:
    """Each Spanish word with its English meaning and with that of another word."""
    rows = _table("spanish_words")
    words, meanings = [row["spanish"] for row in rows], [row["english"] for row in rows]
    wrong = deal_wrong(words, meanings, [frozenset((meaning,)) for meaning in meanings], "meaning")
    questions = []
    for word, meaning, other in zip(words, meanings, wrong, strict=True):
        for label, named in ((True, meaning), (False, other)):
            affirmed = f'In Spanish, "{word}" is the word for "{named}".'
            negated = f'In Spanish, "{word}" is not the word for "{named}".'
            questions.append(_pair(f"{word} {label}", affirmed, negated, label, word))
    return questions


_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def spelled(number: int) -> str:
    """A number from 0 to 99 in words."""
    if number < 20:
        return _ONES[number]
    tens, ones = divmod(number, 10)
    return _TENS[tens - 2] + (f"-{_ONES[ones]}" if ones else "")


def number_pairs() -> list[tuple[int, int]]:
    """Pairs of different numbers from 1 to 99, each once; the larger one comes first in half of them."""
    numbers = range(1, 100)
    pairs = set()
    for turn in range(_NUMBER_ROUNDS):
        dealt = sorted(numbers, key=lambda n: shuffle_key(f"{turn}-{n}"))
        pairs |= {(min(a, b), max(a, b)) for a, b in zip(numbers, dealt, strict=True) if a != b}
    ordered = sorted(pairs, key=lambda pair: shuffle_key(f"{pair}"))
    even = ordered[: len(ordered) // 2 * 2]
    return [(low, high) if i % 2 else (high, low) for i, (low, high) in enumerate(even)]


def comparisons() -> list[Question]:
    """One number, spelled out, said to be greater than another."""
    questions = []
    for a, b in number_pairs():
        first, second = spelled(a).capitalize(), spelled(b)
        affirmed, negated = (
            f"{first} is a greater number than {second}.",
            f"{first} is not a greater number than {second}.",
        )
        questions.append(_pair(f"{a} {b}", affirmed, negated, a > b, str(a), str(b)))
    return questions


def _two_cities(lead: str, joint: Callable[[bool, bool], bool], mostly: bool) -> list[Question]:
    """Claims about two cities. Of ten, five have both parts `mostly`, four have one, one has none."""
    parts = [(mostly, mostly)] * 5 + [(True, False)] * 2 + [(False, True)] * 2 + [(not mostly, not mostly)]
    # a second city is found at a distance that changes from lap to lap, so that no two cities meet twice
    order = sorted(_cities(), key=lambda city: shuffle_key(f"{lead}-{city[0]}"))
    questions = []
    for i in range(N_PAIRED_CLAIMS):
        lap, place = divmod(i, len(order))
        first, second = order[place], order[(place + 7 * (lap + 1)) % len(order)]
        truth = parts[i % len(parts)]
        claims = [
            f"{city} is a city in {country if true else wrong}"
            for (city, country, wrong), true in zip((first, second), truth, strict=True)
        ]
        text = f"{lead}: {claims[0]}; {claims[1]}."
        questions.append(Question(str(i), (Answer("", text, joint(*truth)),), entities=(first[0], second[0])))
    return questions


def cities_conj() -> list[Question]:
    """Both of two city claims are true."""
    return _two_cities("Both of these are true", lambda a, b: a and b, True)


def cities_disj() -> list[Question]:
    """At least one of two city claims is true."""
    return _two_cities("At least one of these is true", lambda a, b: a or b, False)


def _entry(
    name: str, questions: Callable[[], list[Question]], *, paired: bool, entity_name: str, related: tuple[str, ...] = ()
) -> DatasetSpec:
    facts: dict[str, Any] = {"hub_id": None, "hub_config": None, "hub_revision": None, "source_splits": ()}
    return DatasetSpec(
        name=name,
        family="facts",
        grouped=paired,
        answer_types=("pos", "neg") if paired else (),
        options="2" if paired else "none",
        licence="this project's",
        related=related,
        note="made from bundled tables; no download",
        seed=name,
        files="none: bundled",
        entity_name=entity_name,
        bundled=lambda spec, split_by: _bundled(spec, questions(), split_by),
        **facts,
    )


def _bundled(spec: DatasetSpec, questions: list[Question], split_by: str) -> Dataset:
    return pool(spec, questions, "bundled", split_by)


FACTS_CITIES = _entry(
    "facts_cities", cities, paired=True, entity_name="city", related=("facts_cities_conj", "facts_cities_disj")
)
FACTS_TRANSLATIONS = _entry("facts_translations", translations, paired=True, entity_name="Spanish word")
FACTS_COMPARISONS = _entry("facts_comparisons", comparisons, paired=True, entity_name="number")
FACTS_CITIES_CONJ = _entry(
    "facts_cities_conj", cities_conj, paired=False, entity_name="city", related=("facts_cities", "facts_cities_disj")
)
FACTS_CITIES_DISJ = _entry(
    "facts_cities_disj", cities_disj, paired=False, entity_name="city", related=("facts_cities", "facts_cities_conj")
)
