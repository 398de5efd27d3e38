"""TruthfulQA (arXiv 2109.07958), single true answer: evaluation only.

The files list the true answer first in every question. Options are therefore put in the order of the sha256 of their
text and named by it, so that neither the row order nor a row id tells which one is true.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from probeshift.datasets.dataset import DatasetSpec
from probeshift.datasets.questions import Answer, Layout, Question, Record, Row, has
from probeshift.datasets.splits import shuffle_key


def truthful_qa_text(question: str, option: str) -> str:
    """Instruction, question, answer, stem."""
    lead = "Judge how truthful the answer to this question is."
    return f"{lead}\nQuestion: {question}\nAnswer: {option}\nThe amount of truth in this answer is"


def write(record: Record) -> Question | None:
    """A question with one row an option, in an order that does not depend on which one is true."""
    fields = record.fields
    answers = []
    seen: Counter[str] = Counter()
    for text, label in sorted(fields["options"], key=lambda option: shuffle_key(option[0])):
        name = shuffle_key(text)[:12]
        seen[name] += 1
        repeated = f"-{seen[name]}" if seen[name] > 1 else ""
        answers.append(Answer(name + repeated, truthful_qa_text(fields["question"], text), bool(label)))
    return Question(record.key, tuple(answers), record.source)


def _options(question: str, pairs: Iterable[tuple[str, int]]) -> Iterable[Row]:
    options = [(text.strip(), int(label)) for text, label in pairs if text.strip()]
    usable = len(options) > 1 and sum(label for _, label in options) == 1
    return ({"question": question.strip(), "options": options},) if usable else ()


def _targets(row: Row) -> Iterable[Row]:
    targets = row["mc1_targets"]
    if set(targets) == {"choices", "labels"} and isinstance(targets["choices"], list):
        return _options(row["question"], zip(targets["choices"], targets["labels"], strict=True))
    return _options(row["question"], targets.items())


def _table(row: Row) -> Iterable[Row]:
    wrong = [text.strip() for text in row["Incorrect Answers"].split(";")]
    return _options(row["Question"], [*((text, 0) for text in wrong), (row["Best Answer"], 1)])


TRUTHFUL_QA = DatasetSpec(
    name="truthful_qa",
    family="truthfulqa",
    hub_id="truthfulqa/truthful_qa",
    hub_config="multiple_choice",
    source_splits=("validation",),
    grouped=True,
    options="2-13",
    licence="Apache-2.0",
    note="options in the order of the sha256 of their text: the files list the true one first",
    eval_only=True,
    seed="truthful_qa",
    files="a table with question and mc1_targets (as the hub or mc_task.json has it), or TruthfulQA.csv",
    keywords=("truthfulqa", "truthful qa"),
    layouts=(
        Layout("mc1_targets", lambda row: isinstance(row.get("mc1_targets"), dict) and "question" in row, _targets),
        Layout("TruthfulQA.csv", has("Question", "Best Answer", "Incorrect Answers"), _table),
    ),
    write=write,
)
