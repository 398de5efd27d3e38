"""Contrast pairs for rules, made by program: the same bundled answer, once so that it follows the rule and once so that not."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class ContrastPair:
    """Two answers to one instruction: `positive` follows the rule, `negative` does not. `id` is stable."""

    id: str
    instruction: str
    positive: str
    negative: str

    @property
    def answers(self) -> tuple[tuple[str, bool], tuple[str, bool]]:
        """Both answers, each with whether it follows the rule."""
        return (self.positive, True), (self.negative, False)


@dataclass(frozen=True)
class Answer:
    """A bundled plain answer of four sentences and at most 50 words: commas and full stops, no other marks.

    `longer` are the sentences of two other answers, for texts that have to be long.
    """

    topic: str
    instruction: str
    sentences: tuple[str, ...]
    longer: tuple[str, ...]

    @property
    def text(self) -> str:
        """The answer as one paragraph."""
        return " ".join(self.sentences)


Write = Callable[[Answer], str]


def plain(answer: Answer) -> str:
    """The answer as it is."""
    return answer.text


def pairs_of(positive: Write, negative: Write = plain) -> Callable[[], tuple[ContrastPair, ...]]:
    """A maker of one pair per bundled answer."""

    def make() -> tuple[ContrastPair, ...]:
        return tuple(
            ContrastPair(f"answer-{number:02d}", answer.instruction, positive(answer), negative(answer))
            for number, answer in enumerate(answers())
        )

    return make


@cache
def answers() -> tuple[Answer, ...]:
    """The bundled answers."""
    rows = table("answers")
    parts = [tuple(f"{part}." for part in row["answer"].removesuffix(".").split(". ")) for row in rows]
    found = []
    for number, row in enumerate(rows):
        longer = parts[(number + 1) % len(rows)] + parts[(number + 2) % len(rows)]
        found.append(Answer(row["topic"], row["instruction"], parts[number], longer))
    return tuple(found)


def translated_pairs(language: str) -> tuple[ContrastPair, ...]:
    """The bundled answers that exist in several languages: `positive` in `language`, `negative` in English."""
    return tuple(
        ContrastPair(f"translated-{number:02d}", row["instruction"], row[language], row["en"])
        for number, row in enumerate(table("translations"))
    )


def prompts(split: str) -> tuple[str, ...]:
    """Bundled instructions to generate from: `selection` to choose a strength on, `test` to score on. None is in a pair."""
    return tuple(row["instruction"] for row in table("prompts") if row["split"] == split)


@cache
def table(name: str) -> tuple[dict[str, str], ...]:
    """The rows of a bundled csv file."""
    text = (resources.files("probeshift.steering.rules") / "tables" / f"{name}.csv").read_text("utf-8")
    return tuple(csv.DictReader(text.splitlines()))
