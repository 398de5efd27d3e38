"""Your own questions with a label to predict: a number (success rate, difficulty) or one of two values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from probeshift.datasets.files import (
    check_columns,
    groups_of,
    is_missing,
    name_of,
    read_table,
    row_numbers,
    texts_of,
    truth_labels,
)
from probeshift.datasets.statement import Statement
from probeshift.errors import UsageError


def load_targets(
    path: Path,
    *,
    question_column: str = "question",
    label_column: str = "success_rate",
    group_column: str | None = None,
    true_label: str | None = None,
    max_samples: int | None = None,
) -> tuple[Statement, ...]:
    """The rows of a table in file order, labels as numbers; labels in words become 1 (true) and 0.

    Rows with the same value in `group_column` are kept together when rows are held out. `max_samples` keeps the first rows.

    Raises:
        UsageError: no such file or column, an unreadable or empty table, no rows asked for, empty questions, labels that are missing,
            not finite, all equal, or words of more than two kinds.
    """
    if max_samples is not None and max_samples < 1:
        raise UsageError(f"--max-samples must be at least 1, got {max_samples}.")
    rows = read_table(path)[:max_samples]
    named = {"--question-column": question_column, "--label-column": label_column}
    check_columns(path, rows[0], named | ({"--group-column": group_column} if group_column else {}))
    texts = texts_of(path, rows, question_column)
    labels = _numbers(path, [row.get(label_column) for row in rows], label_column, true_label)
    groups = groups_of(path, rows, group_column)
    name = name_of(path)
    return tuple(
        Statement(name, str(i), text, label, "file", groups[i] if groups else None)
        for i, (text, label) in enumerate(zip(texts, labels, strict=True))
    )


def _numbers(path: Path, values: list[Any], column: str, true_label: str | None) -> list[float]:
    missing = [i for i, value in enumerate(values) if is_missing(value)]
    if missing:
        raise UsageError(
            f"{path.name} has {len(missing)} missing labels in column `{column}` ({row_numbers(missing)}, counted from 1 without "
            "the header): remove or label these rows."
        )
    found = [_number(value) for value in values]
    if true_label is not None or None in found:
        return _from_words(path, values, column, true_label, sum(f is None for f in found))
    numbers = [float(f) for f in found if f is not None]
    infinite = [i for i, number in enumerate(numbers) if not math.isfinite(number)]
    if infinite:
        raise UsageError(
            f"{path.name} has labels in column `{column}` that are not finite ({row_numbers(infinite)}): mend these rows."
        )
    if len(set(numbers)) == 1:
        raise UsageError(
            f"all {len(numbers)} labels in column `{column}` of {path.name} are {numbers[0]:g}: there is nothing to predict."
        )
    return numbers


def _from_words(path: Path, values: list[Any], column: str, true_label: str | None, n_words: int) -> list[float]:
    kinds = {str(value).strip().lower() for value in values}
    if true_label is None and len(kinds) > 2:
        what = (
            "labels in words"
            if n_words == len(values)
            else f"{n_words} labels that are not numbers among {len(values)}"
        )
        raise UsageError(
            f"column `{column}` of {path.name} holds {what}, of {len(kinds)} kinds: a probe tells two classes apart or predicts a number. "
            "Keep the rows of two classes, add a column that says one class against the rest, or mend the numbers."
        )
    return [float(label) for label in truth_labels(path, values, column, true_label)]


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
