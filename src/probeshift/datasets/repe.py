"""One row for each option of a question; every text ends in the same stem, whose last word is "is".

Sets and layout follow "Representation Engineering" (arXiv 2310.01405) as used by "How well do truth probes
generalise?"; the wording of the templates is this project's own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from probeshift.datasets import repe_layouts as layouts
from probeshift.datasets.dataset import DatasetSpec
from probeshift.datasets.questions import Answer, Question, Record, Row

RACE_CAP = 10_000  # questions of each source split: the whole set would be 350,000 texts with an article each


def arc_text(row: Row, option: str) -> str:
    """Instruction, blank line, question, answer, stem."""
    lead = "Judge how likely it is that this science question is answered correctly."
    return f"{lead}\n\nQuestion: {row['question']}\nAnswer: {option}\nThe chance that the answer is correct is"


def open_book_qa_text(row: Row, option: str) -> str:
    """Instruction, the question completed by the option, stem."""
    lead = "Judge how likely it is that this fact is correct."
    return f"{lead}\nFact: {row['question']} {option}\nThe chance that the fact is correct is"


def common_sense_qa_text(row: Row, option: str) -> str:
    """Instruction of two lines, question, answer, stem."""
    lead = "Rely on everyday common sense.\nJudge how plausible the answer to this question is."
    return f"{lead}\nQuestion: {row['question']}\nAnswer: {option}\nThe chance that the answer is plausible is"


def race_text(row: Row, option: str) -> str:
    """Instruction, blank line, article, blank line, question, answer, stem."""
    lead = "Judge how likely it is that the question about this article is answered correctly."
    asked = f"Question: {row['question']}\nAnswer: {option}"
    return f"{lead}\n\nArticle: {row['article']}\n\n{asked}\nThe chance that the answer is correct is"


def own_id(row: Row) -> str | None:
    """The question id of the source, if it gives one."""
    return row["id"]


def question_writer(text: Callable[[Row, str], str]) -> Callable[[Record], Question]:
    """Turns a record with `options` and the index `gold` into a question with one row an option."""

    def write(record: Record) -> Question:
        fields = record.fields
        answers = tuple(
            Answer(str(i), text(fields, option), i == fields["gold"]) for i, option in enumerate(fields["options"])
        )
        entities = (fields["id"],) if "article" in fields else ()
        return Question(record.key, answers, record.source, entities)

    return write


def _entry(name: str, text: Callable[[Row, str], str], **facts: Any) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        family="repe",
        hub_revision=None,
        grouped=True,
        answer_types=(),
        seed=facts.pop("seed", name),
        layouts=facts.pop("layouts", layouts.CHOICE_LAYOUTS),
        write=question_writer(text),
        **facts,
    )


_JSONL = "{train,dev,test}.jsonl (question with stem and choices, answerKey)"

OPEN_BOOK_QA = _entry(
    "open_book_qa",
    open_book_qa_text,
    hub_id="allenai/openbookqa",
    hub_config="main",
    source_splits=("train", "validation"),
    options="4",
    licence="Apache-2.0 (source repository)",
    files=f"OpenBookQA/Main/{_JSONL}",
    keywords=("openbookqa", "open book qa", "openbook qa", "obqa"),
)
COMMON_SENSE_QA = _entry(
    "common_sense_qa",
    common_sense_qa_text,
    hub_id="tau/commonsense_qa",
    hub_config=None,
    source_splits=("train", "validation"),
    options="5",
    licence="MIT",
    files="CommonsenseQA/{train,dev}_rand_split.jsonl (question with stem and choices, answerKey)",
    keywords=("commonsenseqa", "commonsense qa", "common sense qa", "csqa"),
)
RACE = _entry(
    "race",
    race_text,
    hub_id="ehovy/race",
    hub_config="all",
    source_splits=("train", "validation"),
    options="4",
    licence="non-commercial research",
    note="a question is article and question number, never the article alone",
    cap=RACE_CAP,
    entity_name="article",
    files="RACE/{train,dev,test}/{middle,high}/*.txt (one JSON object an article)",
    keywords=("race",),
    layouts=layouts.RACE_LAYOUTS,
)
ARC_CHALLENGE = _entry(
    "arc_challenge",
    arc_text,
    seed="arcchallenge",
    hub_id="allenai/ai2_arc",
    hub_config="ARC-Challenge",
    source_splits=("train", "validation"),
    options="3-5",
    licence="CC BY-SA 4.0",
    related=("arc_easy",),
    files="ARC-Challenge/ARC-Challenge-{Train,Dev,Test}.jsonl (question with stem and choices, answerKey)",
    keywords=("arc challenge", "arcchallenge", "arc c"),
)
ARC_EASY = _entry(
    "arc_easy",
    arc_text,
    seed="arceasy",
    hub_id="allenai/ai2_arc",
    hub_config="ARC-Easy",
    source_splits=("train", "validation"),
    options="3-5",
    licence="CC BY-SA 4.0",
    related=("arc_challenge",),
    files="ARC-Easy/ARC-Easy-{Train,Dev,Test}.jsonl (question with stem and choices, answerKey)",
    keywords=("arc easy", "arceasy", "arc e"),
)
