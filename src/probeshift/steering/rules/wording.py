"""Words, sentences and lines of a text, as the rules count them."""

from __future__ import annotations

import re

# Chinese and Japanese are written without spaces: each character counts as a word.
_WORD = re.compile(
    r"[\u3400-\u9fff\u3040-\u30ff]|[^\W\u3400-\u9fff\u3040-\u30ff]+(?:['’\-][^\W\u3400-\u9fff\u3040-\u30ff]+)*"
)
_SENTENCE_END = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s|$)|[。！？]+")
_ABBREVIATION = re.compile(r"\b(?:mr|mrs|ms|dr|prof|st|vs|etc|e\.g|i\.e|[a-z])\.$", re.IGNORECASE)


def words(text: str) -> list[str]:
    """The words of a text; `don't` and `well-known` are one word each, punctuation is none."""
    return _WORD.findall(text)


def sentences(text: str) -> list[str]:
    """The sentences of a text. A line break ends one; decimals, common abbreviations and initials do not."""
    found = []
    for line in text.split("\n"):
        start = 0
        for end in _SENTENCE_END.finditer(line):
            if not _ABBREVIATION.search(line[start : end.end()]) or not line[end.end() :].strip():
                found.append(line[start : end.end()])
                start = end.end()
        found.append(line[start:])
    return [sentence.strip() for sentence in found if words(sentence)]


def lines(text: str) -> list[str]:
    """The lines of a text that hold something."""
    return [line for line in text.split("\n") if line.strip()]
