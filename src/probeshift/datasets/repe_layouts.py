"""The shapes the multiple-choice sets are published in, each converted to id, question, options, gold, article."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from probeshift.datasets.questions import Layout, Row, has

LETTERS = "ABCDEFGHIJ"


def _question(question: str, options: Any, gold: int | None, identifier: Any = None, **more: Any) -> Iterable[Row]:
    options = [str(option).strip() for option in options]
    if gold is None or not 0 <= gold < len(options) or len(options) < 2:
        return ()
    return (
        {
            "id": None if identifier is None else str(identifier),
            "question": question.strip(),
            "options": options,
            "gold": gold,
            **more,
        },
    )


def _position(key: Any, labels: list[str]) -> int | None:
    """Where the answer key stands among the option labels; letters and numbers from 1 count as the same labels."""
    key = str(key).strip()
    if key in labels:
        return labels.index(key)
    other = (
        str(LETTERS.find(key) + 1)
        if key in LETTERS and len(key) == 1
        else LETTERS[int(key) - 1]
        if key in tuple("123456789")
        else ""
    )
    return labels.index(other) if other in labels else None


def _nested(row: Row) -> Iterable[Row]:
    """`question` holds the stem and a list of labelled choices, as the AllenAI sets are published."""
    question = row["question"]
    labels = [str(choice["label"]) for choice in question["choices"]]
    texts = [choice["text"] for choice in question["choices"]]
    return _question(question["stem"], texts, _position(row.get("answerKey"), labels), row.get("id"))


def _hub(row: Row) -> Iterable[Row]:
    """`choices` holds the texts and the labels side by side."""
    stem = row["question_stem"] if "question_stem" in row else row["question"]
    labels = [str(label) for label in row["choices"]["label"]]
    return _question(stem, row["choices"]["text"], _position(row.get("answerKey"), labels), row.get("id"))


def _is_hub(row: Row) -> bool:
    return (
        ("question" in row or "question_stem" in row)
        and isinstance(row.get("choices"), dict)
        and "label" in row["choices"]
    )


def _query(row: Row) -> Iterable[Row]:
    """Benchmark form: the options are in `choices`, or in the query when `choices` holds letters only."""
    text = re.sub(r"^\s*Question:\s*", "", row["query"])
    stem, listed, options = text.partition("\nChoices:")
    if not listed:
        return _question(re.sub(r"\s*Answer:\s*$", "", text), row["choices"], int(row["gold"]))
    texts = re.findall(r"^\s*[A-J][.)]\s*(.+?)\s*$", options, re.MULTILINE)
    return _question(stem, texts if len(texts) == len(row["choices"]) else (), int(row["gold"]))


_NUMBERED = re.compile(r"\b(?:Answer|Option|Choice)(\d+):\s*")


def _instruction(row: Row) -> Iterable[Row]:
    """Instruction form: question, `Answer1: ... Answer2: ...` and the answer format in one text."""
    text = str(row["instruction"]).rpartition("Answer format:")[0]
    stem, *parts = _NUMBERED.split(text)
    gold = re.search(r"(\d+)\s*$", str(row["answer"]))
    question = re.sub(r"^.*?question:\s*", "", stem, count=1, flags=re.IGNORECASE | re.DOTALL)
    return _question(question, parts[1::2], int(gold[1]) - 1 if gold else None)


NESTED = Layout(
    "question with stem and choices",
    lambda row: isinstance(row.get("question"), dict) and "choices" in row["question"],
    _nested,
)
HUB = Layout("choices with text and label", _is_hub, _hub)
QUERY = Layout("query, choices, gold", has("query", "choices", "gold"), _query)
INSTRUCTION = Layout("instruction, answer", has("instruction", "answer"), _instruction)

CHOICE_LAYOUTS = (NESTED, HUB, INSTRUCTION, QUERY)


def _passage(row: Row) -> Iterable[Row]:
    """One file for an article with all its questions, as RACE is published."""
    found: list[Row] = []
    for question, options, answer in zip(row["questions"], row["options"], row["answers"], strict=True):
        found += _question(
            question,
            options,
            _position(answer, list(LETTERS[: len(options)])),
            row["id"],
            article=row["article"].strip(),
        )
    return found


def _passage_row(row: Row) -> Iterable[Row]:
    gold = _position(row["answer"], list(LETTERS[: len(row["options"])]))
    return _question(row["question"], row["options"], gold, row["example_id"], article=row["article"].strip())


RACE_LAYOUTS = (
    Layout("passage files", has("article", "questions", "options", "answers", "id"), _passage),
    Layout(
        "article, question, options, answer",
        has("example_id", "article", "question", "options", "answer"),
        _passage_row,
    ),
)
