"""Between files and statements: the record read, the question it becomes, the layouts it may come in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a source split in the hub's field names. `key` is what the hash split and the order hash."""

    source: str  # train, validation, test, or all when the file does not say
    key: str
    index: int  # row number in its source split, 0-based
    fields: Row


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a question, as the model reads it. `name` tells it from the question's other answers."""

    name: str
    text: str
    label: bool
    answer_type: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """Everything that shares a label group: its answers, and the entities (cities, words) it is about."""

    key: str
    answers: tuple[Answer, ...]
    source: str = ""
    entities: tuple[str, ...] = ()


@dataclass(frozen=True)
class Layout:
    """A way the same dataset is published.

    `accepts` looks at the first row of a file. `convert` gives the row in the hub's field names: none when the row
    has no usable answer, several when a file row holds several questions. `read` replaces the plain reader where two
    files belong together.
    """

    name: str
    accepts: Callable[[Row], bool]
    convert: Callable[[Row], Iterable[Row]]
    read: Callable[[Path], Iterator[Row]] | None = None
    stand_in: str | None = None
    # what a source split named in the path stands for in this layout
    sources: Mapping[str, str] = field(default_factory=dict)


def has(*names: str) -> Callable[[Row], bool]:
    """Accepts rows that have all these fields."""
    return lambda row: all(name in row for name in names)
