"""Rules about capital letters."""

from __future__ import annotations

from collections.abc import Callable

from probeshift.steering.rules.pairs import Answer, pairs_of
from probeshift.steering.rules.rule import Rule
from probeshift.steering.rules.wording import words

FEWEST_LETTERS = 20  # with fewer cased letters a text can be in one case by chance
FEWEST_CAPITAL_WORDS = 3


def _cased(text: str) -> list[str]:
    return [letter for letter in text if letter.lower() != letter.upper()]


def _all_in(case: Callable[[str], str]) -> Callable[[str], bool | None]:
    def check(text: str) -> bool | None:
        letters = _cased(text)
        return all(c == case(c) for c in letters) if len(letters) >= FEWEST_LETTERS else None

    return check


def _has_capital_words(text: str) -> bool:
    letters = (_cased(word) for word in words(text))
    return sum(len(some) >= 2 and all(c == c.upper() for c in some) for some in letters) >= FEWEST_CAPITAL_WORDS


def _shout_three(answer: Answer) -> str:
    longest = sorted(dict.fromkeys(words(answer.text)), key=len)[-FEWEST_CAPITAL_WORDS:]
    text = answer.text
    for word in longest:
        text = text.replace(word, word.upper())
    return text


CASE_RULES = (
    Rule(
        name="lowercase",
        group="case",
        request="Write your whole answer in lowercase letters.",
        check=_all_in(str.lower),
        pairs=pairs_of(lambda answer: answer.text.lower()),
    ),
    Rule(
        name="uppercase",
        group="case",
        request="Write your whole answer in capital letters.",
        check=_all_in(str.upper),
        pairs=pairs_of(lambda answer: answer.text.upper()),
    ),
    Rule(
        name="capital_words",
        group="case",
        request="Write at least three words of your answer in capital letters only.",
        check=_has_capital_words,
        pairs=pairs_of(_shout_three),
    ),
)
