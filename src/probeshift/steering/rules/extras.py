"""Rules about things added to an answer, and about its language."""

from __future__ import annotations

import datetime
import re

from probeshift.errors import UsageError, nearest
from probeshift.steering.rules.languages import NAMES, is_written_in
from probeshift.steering.rules.pairs import Answer, pairs_of, translated_pairs
from probeshift.steering.rules.rule import Rule
from probeshift.steering.rules.wording import words

FEWEST_HASHTAGS = 4
_POSTSCRIPT = re.compile(r"[ \t]*(?:P\. ?S\.|PS[.:])[ \t:]*\w")
_HASHTAG = re.compile(r"(?<![\w#&/])#(?=\w*[^\W\d_])\w+")
_DATE = re.compile(r"(?<![\d-])\d{4}-\d{2}-\d{2}(?![\d-])", re.ASCII)
_EMOJI = "😀🌿🎉🔥"


def _has_postscript(text: str) -> bool:
    """The last paragraph, or its last line, is a P.S., and something stands before it."""
    lines = [line for line in text.split("\n") if line.strip()]
    starts = [number for number, line in enumerate(lines) if _POSTSCRIPT.match(line)]
    last = re.split(r"\n[ \t]*\n", text.rstrip())[-1]
    return bool(starts) and starts[0] > 0 and (_POSTSCRIPT.match(last) is not None or starts[-1] == len(lines) - 1)


def _has_emoji(text: str) -> bool:
    import regex

    return bool(regex.search(r"\p{Emoji_Presentation}|\p{Emoji}\uFE0F", text))


def _has_date(text: str) -> bool:
    return any(map(_is_date, _DATE.findall(text)))


def _is_date(text: str) -> bool:
    try:
        datetime.date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _tags(answer: Answer) -> str:
    longest = sorted(dict.fromkeys(word.lower() for word in words(answer.text)), key=len)[-FEWEST_HASHTAGS:]
    return f"{answer.text} {' '.join('#' + re.sub(r'[^a-z]', '', word) for word in longest)}"


def _with_emoji(answer: Answer) -> str:
    return " ".join(f"{sentence} {icon}" for sentence, icon in zip(answer.sentences, _EMOJI, strict=True))


def _dated(answer: Answer) -> str:
    day = datetime.date(2019, 3, 1) + datetime.timedelta(days=37 * len(answer.text))
    return f"{answer.text} Last checked on {day.isoformat()}."


def in_language(code: str) -> Rule:
    """The whole answer is in one language: es, fr, de or zh.

    Raises:
        UsageError: another language.
    """
    if code not in NAMES:
        raise UsageError(f"language `{code}` is not known to the language rule. {nearest(code, NAMES)}")
    return Rule(
        name="language",
        group="extras",
        request=f"Answer in {NAMES[code]}.",
        check=lambda text: is_written_in(code, text),
        pairs=lambda: translated_pairs(code),
    )


EXTRA_RULES = (
    Rule(
        name="postscript",
        group="extras",
        request="Add a postscript that starts with P.S. at the end of your answer.",
        check=_has_postscript,
        pairs=pairs_of(lambda answer: f"{answer.text}\n\nP.S. There is more to say about {answer.topic}."),
    ),
    Rule(
        name="hashtags",
        group="extras",
        request="Use at least four hashtags in your answer.",
        check=lambda text: len(_HASHTAG.findall(text)) >= FEWEST_HASHTAGS,
        pairs=pairs_of(_tags),
    ),
    Rule(
        name="emoji",
        group="extras",
        request="Use at least one emoji in your answer.",
        check=_has_emoji,
        pairs=pairs_of(_with_emoji),
    ),
    Rule(
        name="iso_date",
        group="extras",
        request="Give at least one date in your answer, written as YYYY-MM-DD.",
        check=_has_date,
        pairs=pairs_of(_dated),
    ),
    in_language("es"),
)
