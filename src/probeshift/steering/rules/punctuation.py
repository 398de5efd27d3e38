"""Rules about punctuation marks."""

from __future__ import annotations

import re

from probeshift.steering.rules.pairs import Answer, pairs_of
from probeshift.steering.rules.rule import Rule

FEWEST_EXCLAMATIONS = 3
_COMMAS = ",，、،"
# A point between two digits is a decimal point.
_FULL_STOP = re.compile(r"\.(?!\d)|(?<!\d)\.|[。．]")


def _without_stops(answer: Answer) -> str:
    return "; ".join(sentence.removesuffix(".") for sentence in answer.sentences)


PUNCTUATION_RULES = (
    Rule(
        name="no_comma",
        group="punctuation",
        request="Do not use any commas in your answer.",
        check=lambda text: not any(comma in text for comma in _COMMAS),
        pairs=pairs_of(lambda answer: answer.text.replace(",", "")),
    ),
    Rule(
        name="ends_with_question",
        group="punctuation",
        request="End your answer with a question.",
        check=lambda text: text.rstrip().endswith(("?", "？")),
        pairs=pairs_of(lambda answer: f"{answer.text} Would you like to know more about {answer.topic}?"),
    ),
    Rule(
        name="exclamations",
        group="punctuation",
        request="Use at least three exclamation marks in your answer.",
        check=lambda text: text.count("!") + text.count("！") >= FEWEST_EXCLAMATIONS,
        pairs=pairs_of(lambda answer: answer.text.replace(".", "!")),
    ),
    Rule(
        name="no_full_stop",
        group="punctuation",
        request="Do not use any full stops in your answer.",
        check=lambda text: not _FULL_STOP.search(text),
        pairs=pairs_of(_without_stops),
    ),
)
