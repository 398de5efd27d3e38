"""Which side a question falls on: a hash of its key, so that no row depends on another row or on a generator.

Source: the procedure of "How well do truth probes generalise?" (2024), whose train / hparams / validation are train /
selection / test here.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator

from probeshift.datasets.questions import Question
from probeshift.datasets.statement import Statement
from probeshift.errors import UsageError, nearest

Shares = tuple[tuple[float, str], ...]  # (upper bound of the hash in [0, 1), split), ascending

FROM_TRAIN: Shares = ((0.75, "train"), (1.0, "selection"))
FROM_EVAL: Shares = ((1.0, "test"),)
POOLED: Shares = ((0.6, "train"), (0.8, "selection"), (1.0, "test"))
EVALUATION_ONLY: Shares = ((0.8, "test"), (1.0, "selection"))

POOLED_RULE = "hash split 0.6 train, 0.2 selection, 0.2 test"
SPLIT_BY = ("question", "entity")


def hash_fraction(seed: str, key: str) -> float:
    """A number in {0, 0.001, ..., 0.999} that depends on the seed text and the key alone."""
    return (int(hashlib.sha256(f"{seed}-{key}".encode()).hexdigest(), 16) % 1000) / 1000


def shuffle_key(key: str) -> str:
    """Sorting by this puts keys in an order that depends on each key alone."""
    return hashlib.sha256(key.encode("utf-8")).hexdigest()


def side(seed: str, key: str, shares: Shares) -> str:
    """The split a key falls into."""
    p = hash_fraction(seed, key)
    return next(split for bound, split in shares if p < bound)


def question_split(question: Question, *, seed: str, shares: Shares, split_by: str) -> str | None:
    """The split of a question; None when its entities fall on different sides."""
    keys = question.entities if split_by == "entity" and question.entities else (question.key,)
    sides = {side(seed, key, shares) for key in keys}
    return sides.pop() if len(sides) == 1 else None


def check_split_by(split_by: str) -> None:
    """Refuse anything but `question` and `entity`."""
    if split_by not in SPLIT_BY:
        raise UsageError(f"--split-by `{split_by}` is not known. {nearest(split_by, SPLIT_BY)}")


def cut(
    dataset: str, questions: Iterable[Question], *, seed: str, shares: dict[str, Shares], split_by: str, grouped: bool
) -> tuple[tuple[Statement, ...], Counter[str]]:
    """The statements of all questions in shuffled order, and how many rows were dropped and why.

    `shares` gives the rule for each source split.
    """
    dropped: Counter[str] = Counter()
    statements: list[Statement] = []
    for question in sorted(questions, key=lambda q: (shuffle_key(q.key), q.source)):
        split = question_split(question, seed=seed, shares=shares[question.source], split_by=split_by)
        if split is None:
            dropped["rows whose entities fall on different sides"] += len(question.answers)
        else:
            statements.extend(rows_of(dataset, question, split, grouped=grouped))
    return tuple(statements), dropped


def rows_of(dataset: str, question: Question, split: str, *, grouped: bool) -> Iterator[Statement]:
    """One statement for each answer of a question; group keys carry the source split, where keys may repeat."""
    group = f"{question.source}/{question.key}" if question.source else question.key
    for answer in question.answers:
        yield Statement(
            dataset=dataset,
            row_id=f"{group}/{answer.name}" if answer.name else group,
            text=answer.text,
            label=answer.label,
            split=split,
            group=group if grouped else None,
            answer_type=answer.answer_type,
            entity=ENTITY_JOINT.join(question.entities) or None,
        )


ENTITY_JOINT = " | "  # between the entities of a row that has two


def entities_of(row: Statement) -> tuple[str, ...]:
    """The entities of a row, one or two."""
    return tuple(row.entity.split(ENTITY_JOINT)) if row.entity else ()
