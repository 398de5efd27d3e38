"""Your own data: a table with a text column and a label column."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probeshift.datasets.dataset import Dataset, DatasetSpec, finish
from probeshift.datasets.questions import Answer, Question, Row
from probeshift.datasets.reading import read_rows, text_encoding
from probeshift.datasets.splits import POOLED, POOLED_RULE, Shares, check_split_by, cut, shuffle_key
from probeshift.datasets.statement import SPLITS
from probeshift.errors import UsageError, nearest

_TABLES = (".csv", ".tsv", ".jsonl", ".json", ".parquet")
_TRUE = frozenset(("1", "true", "yes", "t", "y"))
_FALSE = frozenset(("0", "false", "no", "f", "n"))
_MISSING = frozenset(("", "nan", "null", "na", "n/a"))
_SPLIT_WORDS = {
    "train": "train", "training": "train", "selection": "selection", "validation": "selection", "val": "selection",
    "valid": "selection", "dev": "selection", "test": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Columns:
    """Which column holds what."""

    text: str
    label: str
    group: str | None = None
    split: str | None = None

    def named(self) -> dict[str, str]:
        """The option that names each column in use."""
        every = {
            "--text-column": self.text,
            "--label-column": self.label,
            "--group-column": self.group,
            "--split-column": self.split,
        }
        return {option: column for option, column in every.items() if column is not None}


def load_file(
    path: Path | str,
    *,
    text_column: str,
    label_column: str,
    group_column: str | None = None,
    split_column: str | None = None,
    true_label: str | None = None,
    name: str | None = None,
    split_by: str = "question",
) -> Dataset:
    """A table of your own as a dataset, named after the file unless `name` says otherwise.

    Rows with the same value in `group_column` are one question. `split_column` holds train / selection / test
    (validation and dev count as selection); without it questions are hashed into 0.6 / 0.2 / 0.2, and `split_by`
    "entity" hashes the text instead of the row number, so that equal texts stay on one side. `true_label` is the
    label value that means true.

    Raises:
        UsageError: no such file or column, an unreadable or empty table, empty texts, labels of no two truth values.
    """
    check_split_by(split_by)
    path = Path(path)
    columns = Columns(text_column, label_column, group_column, split_column)
    rows = read_table(path)
    check_columns(path, rows[0], columns.named())
    texts = texts_of(path, rows, columns.text)
    labels = truth_labels(path, [row.get(columns.label) for row in rows], columns.label, true_label)
    groups = groups_of(path, rows, columns.group)
    spec = _spec(name or name_of(path), grouped=groups is not None)
    questions = _questions(texts, labels, groups, _given_splits(path, rows, columns.split))
    shares, rule = _shares(questions, columns, split_by)
    statements, dropped = cut(
        spec.name, questions, seed=spec.seed, shares=shares, split_by=split_by, grouped=spec.grouped
    )
    return finish(spec, statements, source=_source(path), split_rule=rule, split_by=split_by, dropped=dropped)


def read_table(path: Path) -> list[Row]:
    """All rows of a table.

    Raises:
        UsageError: no such file, an unknown format, no rows.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name one table in it.")
    if not path.is_file():
        beside = [p.name for p in path.parent.iterdir() if p.suffix in _TABLES] if path.parent.is_dir() else []
        raise UsageError(f"there is no file {path}. {nearest(path.name, beside)}")
    if path.suffix.lower() not in _TABLES:
        raise UsageError(f"{path.name} is in no known format: save it as one of {', '.join(_TABLES)}.")
    rows = list(read_rows(path, header=True))
    if not rows:
        raise UsageError(f"{path.name} is empty: give a table with rows.")
    return rows


def check_columns(path: Path, first: Row, named: dict[str, str]) -> None:
    """Refuse a column that the table lacks; `named` maps the option that names a column to the column."""
    for option, column in named.items():
        if column not in first:
            raise UsageError(f"{path.name} has no column `{column}`. {nearest(column, first)} Name one with {option}.")


def is_missing(value: Any) -> bool:
    """Whether a cell says that there is nothing."""
    return (
        value is None
        or (isinstance(value, float) and math.isnan(value))
        or (isinstance(value, str) and value.strip().lower() in _MISSING)
    )


def row_numbers(numbers: Iterable[int]) -> str:
    """Rows in words, counted from 1."""
    shown = [str(number + 1) for number in numbers]
    return f"row{'s' if len(shown) > 1 else ''} {', '.join(shown[:5])}{', ...' if len(shown) > 5 else ''}"


def texts_of(path: Path, rows: list[Row], column: str) -> list[str]:
    """A text column, none of them empty."""
    if any(isinstance(row.get(column), dict | list) for row in rows):
        raise UsageError(
            f"column `{column}` of {path.name} holds objects, not text: name a text column with --text-column."
        )
    texts = ["" if is_missing(row.get(column)) else str(row[column]) for row in rows]
    empty = [i for i, text in enumerate(texts) if not text.strip()]
    if empty:
        raise UsageError(
            f"{path.name} has no text in column `{column}` in {len(empty):,} of {len(texts):,} rows ({row_numbers(empty)}, "
            "counted from 1 without the header): remove or fill them."
        )
    return texts


def _plain(value: Any) -> str:
    """A label as text: 1, 1.0 and "1.0" are "1"; True is "true"."""
    if isinstance(value, bool):
        return str(value).lower()
    text = str(value).strip()
    return text[:-2] if re.fullmatch(r"-?\d+\.0", text) else text


def truth_labels(path: Path, values: list[Any], column: str, true_label: str | None) -> list[bool]:
    """The labels as truth values.

    Raises:
        UsageError: labels are missing, all of one class, or not two truth values.
    """
    missing = [i for i, value in enumerate(values) if is_missing(value)]
    if missing:
        raise UsageError(
            f"{path.name} has no label in column `{column}` in {len(missing):,} of {len(values):,} rows "
            f"({row_numbers(missing)}, counted from 1 without the header): remove or label them."
        )
    texts = [_plain(value) for value in values]
    labels = (
        _as_truth(path, texts, column) if true_label is None else _as_named(path, texts, column, _plain(true_label))
    )
    if len(set(labels)) == 1:
        kind = "true" if labels[0] else "false"
        raise UsageError(
            f"all {len(labels)} labels in column `{column}` of {path.name} are {kind}: a dataset needs rows of "
            "both kinds; add some."
        )
    return labels


def _as_truth(path: Path, texts: list[str], column: str) -> list[bool]:
    found = Counter(text.lower() for text in texts)
    if set(found) <= _TRUE | _FALSE:
        return [text.lower() in _TRUE for text in texts]
    names = _names(texts)
    if len(found) == 1:
        raise UsageError(
            f"all {len(texts)} labels in column `{column}` of {path.name} are {names}: a dataset needs rows of "
            "two kinds; add some."
        )
    if len(found) == 2:
        raise UsageError(
            f"the labels in column `{column}` of {path.name} are {names}: say which one means true with "
            "--true-label VALUE."
        )
    raise UsageError(
        f"column `{column}` of {path.name} has {len(found)} different labels ({names}): keep the rows of two of them."
    )


def _as_named(path: Path, texts: list[str], column: str, true_label: str) -> list[bool]:
    if true_label not in texts:  # `true` for True, unless case tells labels apart
        texts, true_label = [text.lower() for text in texts], true_label.lower()
    found = set(texts)
    if true_label not in found:
        raise UsageError(
            f"no label in column `{column}` of {path.name} is `{true_label}`. {nearest(true_label, found)} "
            "Correct --true-label."
        )
    if len(found) > 2:
        raise UsageError(
            f"column `{column}` of {path.name} has {len(found)} different labels ({_names(texts)}): keep the rows "
            "of two of them."
        )
    return [text == true_label for text in texts]


def _names(texts: list[str]) -> str:
    common = [text for text, _ in Counter(texts).most_common()]
    return ", ".join(f"`{text}`" for text in common[:5]) + (", ..." if len(common) > 5 else "")


def groups_of(path: Path, rows: list[Row], column: str | None) -> list[str] | None:
    """The group of each row, or None without such a column."""
    if column is None:
        return None
    missing = [i for i, row in enumerate(rows) if is_missing(row.get(column))]
    if missing:
        raise UsageError(
            f"{path.name} has no value in column `{column}` in {len(missing):,} of {len(rows):,} rows "
            f"({row_numbers(missing)}, counted from 1 without the header): fill them or drop --group-column."
        )
    return [_plain(row[column]) for row in rows]


def _given_splits(path: Path, rows: list[Row], column: str | None) -> list[str]:
    """The split each row is put in by the table; empty text when it does not say."""
    if column is None:
        return [""] * len(rows)
    values = [_plain(row.get(column)) for row in rows]
    unknown = sorted({value for value in values if value.lower() not in _SPLIT_WORDS})
    if unknown:
        raise UsageError(
            f"column `{column}` of {path.name} holds `{unknown[0]}`: a split is one of {', '.join(_SPLIT_WORDS)}."
        )
    return [_SPLIT_WORDS[value.lower()] for value in values]


def _questions(texts: list[str], labels: list[bool], groups: list[str] | None, splits: list[str]) -> list[Question]:
    """The rows of a group are one question. Without groups each row is one, with the hash of its text as entity."""
    if groups is None:
        rows = enumerate(zip(texts, labels, splits, strict=True))
        return [
            Question(str(i), (Answer("", text, label),), split, (f"text {shuffle_key(text)[:16]}",))
            for i, (text, label, split) in rows
        ]
    members: dict[str, list[int]] = defaultdict(list)
    for i, group in enumerate(groups):
        members[group].append(i)
    return [_group(group, rows, texts, labels, splits) for group, rows in members.items()]


def _group(group: str, rows: list[int], texts: list[str], labels: list[bool], splits: list[str]) -> Question:
    sides = sorted({splits[i] for i in rows})
    if len(sides) > 1:
        raise UsageError(
            f"group `{group}` has rows in {' and '.join(sides)}: a question belongs to one split; mend the split "
            "column."
        )
    return Question(group, tuple(Answer(str(i), texts[i], labels[i]) for i in rows), sides[0])


def _shares(questions: list[Question], columns: Columns, split_by: str) -> tuple[dict[str, Shares], str]:
    if columns.split is None:
        by = f"group `{columns.group}`" if columns.group else "text" if split_by == "entity" else "row"
        return {"": POOLED}, f"{POOLED_RULE}, by {by}"
    given = {question.source for question in questions}
    absent = [split for split in SPLITS if split not in given]
    rule = f"as column `{columns.split}` says" + (f"; it has no {' and no '.join(absent)} rows" if absent else "")
    return {split: ((1.0, split),) for split in given}, rule


def name_of(path: Path) -> str:
    """What a dataset from this file is called."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", path.stem).strip("_.-") or "data"


def _source(path: Path) -> str:
    if path.suffix.lower() == ".parquet":
        return path.name
    encoding = text_encoding(path)
    return path.name if encoding == "utf-8" else f"{path.name} (read as {encoding})"


def _spec(name: str, *, grouped: bool) -> DatasetSpec:
    return DatasetSpec(
        name=name,
        family="file",
        grouped=grouped,
        options="rows of a group" if grouped else "none",
        licence="your own",
        seed=name,
        files="your own file",
        entity_name=None if grouped else "text",
    )
