"""Rules about which words, and how many. Each is made by a function: other words and limits give other rules."""

from __future__ import annotations

import re

from probeshift.steering.rules.pairs import Answer, pairs_of
from probeshift.steering.rules.rule import FEWEST_WORDS, Rule
from probeshift.steering.rules.wording import sentences, words


def includes_words(*wanted: str) -> Rule:
    """Every one of the words occurs, as a whole word in any case."""
    told = " and ".join(f'"{word}"' for word in wanted)
    return Rule(
        name="includes_words",
        group="words",
        request=f"Use the words {told} in your answer.",
        check=lambda text: all(_occurs(word, text) for word in wanted),
        pairs=pairs_of(lambda answer: f"{answer.text} The words {' and '.join(wanted)} come to mind here."),
    )


def avoids_words(*banned: str) -> Rule:
    """None of the words occurs, as a whole word in any case."""
    told = " or ".join(f'"{word}"' for word in banned)
    return Rule(
        name="avoids_words",
        group="words",
        request=f"Do not use the words {told} in your answer.",
        check=lambda text: not any(_occurs(word, text) for word in banned),
        pairs=pairs_of(
            lambda answer: answer.text,
            lambda answer: f"{answer.text} This is {' and '.join(banned)} worth knowing.",
        ),
    )


def at_most_words(limit: int) -> Rule:
    """No more than `limit` words."""
    return Rule(
        name="few_words",
        group="words",
        request=f"Answer in at most {limit} words.",
        check=lambda text: len(words(text)) <= limit,
        pairs=pairs_of(
            lambda answer: " ".join(answer.text.split()[:limit]),
            _three_answers,
        ),
        fewest_words=min(FEWEST_WORDS, limit),
        limits=True,
    )


def at_most_sentences(limit: int) -> Rule:
    """No more than `limit` sentences."""
    return Rule(
        name="few_sentences",
        group="words",
        request=f"Answer in at most {limit} sentences.",
        check=lambda text: len(sentences(text)) <= limit,
        pairs=pairs_of(
            lambda answer: " ".join(answer.sentences[:limit]),
            _three_answers,
        ),
        limits=True,
    )


def starts_with(opening: str) -> Rule:
    """The answer starts with exactly these words."""
    return Rule(
        name="first_words",
        group="words",
        request=f'Start your answer with exactly these words: "{opening}"',
        check=lambda text: text.lstrip().startswith(opening),
        pairs=pairs_of(lambda answer: f"{opening} {answer.text}"),
    )


def ends_with(closing: str) -> Rule:
    """The answer ends with exactly this sentence."""
    return Rule(
        name="last_sentence",
        group="words",
        request=f'End your answer with exactly this sentence: "{closing}"',
        check=lambda text: bool(re.search(rf"(?:^|\s){re.escape(closing)}\s*$", text)),
        pairs=pairs_of(lambda answer: f"{answer.text} {closing}"),
    )


def _three_answers(answer: Answer) -> str:
    return " ".join((*answer.sentences, *answer.longer))


def _occurs(word: str, text: str) -> bool:
    return bool(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text, re.IGNORECASE))


WORD_RULES = (
    includes_words("garden", "winter"),
    avoids_words("very", "really"),
    at_most_words(50),
    at_most_sentences(3),
    starts_with("Here is what I know:"),
    ends_with("I hope this helps."),
)
