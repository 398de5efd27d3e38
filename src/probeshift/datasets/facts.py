"""True and false statements made here, from bundled tables of facts: everything runs without a download.

False statements are drawn by hash: the values (countries, English words) are dealt out again so that each is named
equally often in true and in false statements; nothing but the match tells them apart.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from probeshift.datasets.dataset import DatasetSpec
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


@dataclass(frozen=True)
class Claim:
    """One thing said of a subject, affirmed and negated; `label` is the truth of the affirmed form."""

    affirmed: str
    negated: str
    label: bool


@dataclass(frozen=True)
class Subject:
    """What claims are about (a city, a word, two numbers): one true and one false claim."""

    key: str
    entities: tuple[str, ...]
    claims: tuple[Claim, Claim]


def paired(subjects: Sequence[Subject], claims: int = 2) -> list[Question]:
    """The first `claims` of each subject, each with its negation as one question: labels are opposite, so the wording alone
    tells nothing."""
    return [
        Question(
            f"{subject.key} {claim.label}",
            (Answer("pos", claim.affirmed, claim.label, "pos"), Answer("neg", claim.negated, not claim.label, "neg")),
            entities=subject.entities,
        )
        for subject in subjects
        for claim in subject.claims[:claims]
    ]


def affirmed(subjects: Sequence[Subject]) -> list[Question]:
    """Affirmed claims only: which of the two about a subject is true?"""
    return [_choice(s, [(claim.affirmed, claim.label) for claim in s.claims]) for s in subjects]


def negated(subjects: Sequence[Subject]) -> list[Question]:
    """Negated claims only: which of the two about a subject is true?"""
    return [_choice(s, [(claim.negated, not claim.label) for claim in s.claims]) for s in subjects]


def _choice(subject: Subject, options: Sequence[tuple[str, bool]]) -> Question:
    answers = tuple(Answer(str(i), text, label) for i, (text, label) in enumerate(options))
    return Question(subject.key, answers, entities=subject.entities)


def city_subjects() -> list[Subject]:
    """Each city with its country and with a wrong one."""
    return [
        Subject(city, (city,), (_located(city, country, True), _located(city, wrong, False)))
        for city, country, wrong in _cities()
    ]


def _located(city: str, country: str, label: bool) -> Claim:
    return Claim(f"{city} is a city in {country}.", f"{city} is not a city in {country}.", label)


def word_subjects() -> list[Subject]:
    """Each Spanish word with its English meaning and with that of another word."""
    rows = _table("spanish_words")
    words, meanings = [row["spanish"] for row in rows], [row["english"] for row in rows]
    wrong = deal_wrong(words, meanings, [frozenset((meaning,)) for meaning in meanings], "meaning")
    return [
        Subject(word, (word,), (_meant(word, meaning, True), _meant(word, other, False)))
        for word, meaning, other in zip(words, meanings, wrong, strict=True)
    ]


def _meant(word: str, meaning: str, label: bool) -> Claim:
    lead = f'In Spanish, "{word}" is'
    return Claim(f'{lead} the word for "{meaning}".', f'{lead} not the word for "{meaning}".', label)


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


def number_subjects() -> list[Subject]:
    """Two numbers, spelled out, each said to be greater than the other."""
    return [Subject(f"{a} {b}", (str(a), str(b)), (_greater(a, b), _greater(b, a))) for a, b in number_pairs()]


def _greater(a: int, b: int) -> Claim:
    first, second = spelled(a).capitalize(), spelled(b)
    return Claim(
        f"{first} is a greater number than {second}.", f"{first} is not a greater number than {second}.", a > b
    )


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
    name: str,
    questions: Callable[[], list[Question]],
    *,
    entity_name: str,
    answer_types: tuple[str, ...] = (),
    grouped: bool = True,
) -> DatasetSpec:
    subject = name.split("_")[1]
    return DatasetSpec(
        name=name,
        family="facts",
        grouped=grouped,
        answer_types=answer_types,
        options="2" if grouped else "none",
        licence="this project's",
        related=tuple(other for other in _NAMES if other != name and other.split("_")[1] == subject),
        note="made from bundled tables; no download",
        seed=name,
        files="none: bundled",
        entity_name=entity_name,
        bundled=lambda spec, split_by: pool(spec, questions(), "bundled", split_by),
    )


_NAMES = (
    *("facts_cities", "facts_translations", "facts_comparisons", "facts_cities_conj", "facts_cities_disj"),
    *(f"facts_{of}_{side}" for of in ("cities", "translations", "comparisons") for side in ("affirmed", "negated")),
)
_SUBJECTS = {
    "cities": (city_subjects, "city"),
    "translations": (word_subjects, "Spanish word"),
    "comparisons": (number_subjects, "number"),
}


def _paired_entry(of: str, claims: int = 2) -> DatasetSpec:
    subjects, entity_name = _SUBJECTS[of]
    return _entry(
        f"facts_{of}", lambda: paired(subjects(), claims), entity_name=entity_name, answer_types=("pos", "neg")
    )


def _sided_entry(of: str, side: Callable[[Sequence[Subject]], list[Question]]) -> DatasetSpec:
    subjects, entity_name = _SUBJECTS[of]
    return _entry(f"facts_{of}_{side.__name__}", lambda: side(subjects()), entity_name=entity_name)


FACTS_CITIES = _paired_entry("cities")
FACTS_TRANSLATIONS = _paired_entry("translations")
FACTS_COMPARISONS = _paired_entry("comparisons", claims=1)  # two numbers either way round are one fact
FACTS_CITIES_CONJ = _entry("facts_cities_conj", cities_conj, entity_name="city", grouped=False)
FACTS_CITIES_DISJ = _entry("facts_cities_disj", cities_disj, entity_name="city", grouped=False)
FACTS_CITIES_AFFIRMED = _sided_entry("cities", affirmed)
FACTS_CITIES_NEGATED = _sided_entry("cities", negated)
FACTS_TRANSLATIONS_AFFIRMED = _sided_entry("translations", affirmed)
FACTS_TRANSLATIONS_NEGATED = _sided_entry("translations", negated)
FACTS_COMPARISONS_AFFIRMED = _sided_entry("comparisons", affirmed)
FACTS_COMPARISONS_NEGATED = _sided_entry("comparisons", negated)
