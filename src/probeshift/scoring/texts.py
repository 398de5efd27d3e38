"""Texts to score, one row at a time from any source: a text a line, or a table with a column of texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probeshift.datasets.reading import json_lines, read_rows, text_encoding
from probeshift.errors import UsageError, nearest


@dataclass(frozen=True, slots=True)
class TextRow:
    """One text and what to carry over to its line of scores."""

    text: str
    kept: dict[str, Any]


def read_texts(path: Path, *, column: str = "text", keep: Sequence[str] = ()) -> Iterator[TextRow]:
    """The rows of a file: a `.txt` is a text a line, other formats are tables of which `column` is read.

    Raises:
        UsageError: no such file, format or column.
    """
    if not path.is_file():
        near = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UsageError(f"there is no file {path}. {nearest(path.name, near)}")
    if path.suffix.lower() == ".txt":
        with open(path, encoding=text_encoding(path)) as file:
            yield from read_lines(file, keep=keep)
    else:
        yield from _of_rows(read_rows(path), path.name, column, keep)


def read_lines(
    stream: Iterable[str], *, as_json: bool = False, column: str = "text", keep: Sequence[str] = ()
) -> Iterator[TextRow]:
    """A text a line, or with `as_json` a JSON object a line.

    Raises:
        UsageError: columns to keep where lines are plain, or a line that is no object.
    """
    if as_json:
        yield from _of_rows(json_lines(Path("standard input"), stream), "standard input", column, keep)
        return
    if keep:
        raise UsageError(
            "--keep names columns, and lines of plain text have none. Give a table, or JSON lines (--format jsonl)."
        )
    for line in stream:
        yield TextRow(line.rstrip("\r\n"), {})


def _of_rows(rows: Iterable[dict[str, Any]], name: str, column: str, keep: Sequence[str]) -> Iterator[TextRow]:
    for number, row in enumerate(rows, start=1):
        for wanted in (column, *keep):
            if wanted not in row:
                option = "--text-column" if wanted == column else "--keep"
                raise UsageError(
                    f"row {number} of {name} has no column `{wanted}`. {nearest(wanted, row)} Name one with {option}."
                )
        text = row[column]
        if text is not None and not isinstance(text, str):
            raise UsageError(
                f"row {number} of {name}: column `{column}` holds {text!r}, not a text. Name another with --text-column."
            )
        yield TextRow(text or "", {k: row[k] for k in keep})
