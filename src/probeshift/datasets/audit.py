"""What is wrong with a dataset, counted: repeated texts, texts with both labels, entities on both sides."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from probeshift.datasets.dataset import TRAIN_LIMIT, Dataset
from probeshift.datasets.splits import entities_of
from probeshift.datasets.statement import SPLITS, Statement


@dataclass(frozen=True)
class SplitCount:
    """Size and balance of a split. `positive_share` is None without rows; an ungrouped row counts as one question."""

    split: str
    n_rows: int
    n_questions: int
    positive_share: float | None


@dataclass(frozen=True)
class Leak:
    """Test rows with an entity of the train rows. `share` is None when there is nothing to compare."""

    n_rows: int
    share: float | None
    train_questions: int


@dataclass(frozen=True)
class DatasetAudit:
    """What was counted. Texts are compared as they are; a row repeats when its text came before."""

    splits: tuple[SplitCount, ...]
    duplicate_statements: int  # rows whose text came before
    contradictory_statements: int  # texts with both labels
    test_rows_in_train: int  # test rows whose text is a train row's
    test_rows_contradicted_in_train: int  # of these, with the other label there
    entity_leak: Leak | None  # train cut to the usual limit; None when rows have no entity
    entity_leak_whole_train: Leak | None
    options_per_question: dict[int, int]  # number of options -> number of questions; empty without questions
    one_label_questions: int  # questions without a true or without a false row: they cannot be ranked

    def as_dict(self) -> dict[str, Any]:
        """The counts as plain values for JSON."""
        return asdict(self)


def audit(dataset: Dataset, *, train_limit: int = TRAIN_LIMIT) -> DatasetAudit:
    """Counts over the whole dataset and between its train and test split."""
    rows = dataset.statements
    train, test = dataset.split("train"), dataset.split("test")
    labels = _labels_by_text(rows)
    train_labels = _labels_by_text(train)
    questions = _labels_by_question(rows)
    return DatasetAudit(
        splits=tuple(count(split, dataset.split(split)) for split in SPLITS),
        duplicate_statements=len(rows) - len(labels),
        contradictory_statements=sum(len(both) == 2 for both in labels.values()),
        test_rows_in_train=sum(row.text in train_labels for row in test),
        test_rows_contradicted_in_train=sum((not row.label) in train_labels.get(row.text, ()) for row in test),
        entity_leak=leak(dataset.split("train", train_limit), test),
        entity_leak_whole_train=leak(train, test),
        options_per_question=dict(sorted(Counter(len(found) for found in questions.values()).items())),
        one_label_questions=sum(len(set(found)) == 1 for found in questions.values()),
    )


def count(split: str, rows: tuple[Statement, ...]) -> SplitCount:
    """Rows, questions and the share of true rows."""
    share = sum(row.label for row in rows) / len(rows) if rows else None
    return SplitCount(split, len(rows), len({row.group or row.row_id for row in rows}), share)


def leak(train: tuple[Statement, ...], test: tuple[Statement, ...]) -> Leak | None:
    """How many test rows share an entity with the train rows; None when rows have no entities."""
    if not any(row.entity for row in (*train, *test)):
        return None
    known = {entity for row in train for entity in entities_of(row)}
    n_rows = sum(not known.isdisjoint(entities_of(row)) for row in test)
    return Leak(n_rows, n_rows / len(test) if test else None, len({row.group or row.row_id for row in train}))


def _labels_by_text(rows: Iterable[Statement]) -> dict[str, set[bool | float]]:
    found: dict[str, set[bool | float]] = defaultdict(set)
    for row in rows:
        found[row.text].add(row.label)
    return found


def _labels_by_question(rows: Iterable[Statement]) -> dict[str, list[bool | float]]:
    found: dict[str, list[bool | float]] = defaultdict(list)
    for row in rows:
        if row.group is not None:
            found[row.group].append(row.label)
    return found
