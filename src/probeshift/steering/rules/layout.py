"""Rules about lines: lists, separators, titles."""

from __future__ import annotations

import re

from probeshift.steering.rules.pairs import pairs_of
from probeshift.steering.rules.rule import Rule

FEWEST_BULLETS = 3
_BULLET = re.compile(r"^[ \t]*[-*] +\S", re.MULTILINE)
_NUMBER = re.compile(r"^[ \t]*(\d+)\. +\S", re.MULTILINE)
_SEPARATOR = re.compile(r"^[ \t]*\*\*\*[ \t]*$", re.MULTILINE)
_TITLE = re.compile(r"^[ \t]*<<[^<>\n]*[^\W\d_][^<>\n]*>>[ \t]*$", re.MULTILINE)


def _is_numbered(text: str) -> bool:
    numbers = [int(number) for number in _NUMBER.findall(text)]
    return any(numbers[start : start + 3] == [1, 2, 3] for start in range(len(numbers)))


def _is_separated(text: str) -> bool:
    parts = _SEPARATOR.split(text)
    return len(parts) >= 2 and all(part.strip() for part in parts)


LAYOUT_RULES = (
    Rule(
        name="bullets",
        group="layout",
        request='Answer with at least three bullet points that start with "- ".',
        check=lambda text: len(_BULLET.findall(text)) >= FEWEST_BULLETS,
        pairs=pairs_of(lambda answer: "\n".join(f"- {sentence}" for sentence in answer.sentences)),
    ),
    Rule(
        name="numbered_list",
        group="layout",
        request="Answer with a numbered list: 1., 2., 3. and so on.",
        check=_is_numbered,
        pairs=pairs_of(lambda answer: "\n".join(f"{n}. {one}" for n, one in enumerate(answer.sentences, start=1))),
    ),
    Rule(
        name="separated_paragraphs",
        group="layout",
        request="Write at least two paragraphs and put a line with *** between them.",
        check=_is_separated,
        pairs=pairs_of(lambda answer: f"{' '.join(answer.sentences[:2])}\n\n***\n\n{' '.join(answer.sentences[2:])}"),
    ),
    Rule(
        name="title",
        group="layout",
        request="Give your answer a title on a line of its own, in double angle brackets: <<title>>.",
        check=lambda text: bool(_TITLE.search(text)),
        pairs=pairs_of(lambda answer: f"<<{answer.topic.capitalize()}>>\n\n{answer.text}"),
    ),
)
