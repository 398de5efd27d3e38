"""From raw rows to records: the hub's field names, a key for each question, at most `cap` of a source split."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count

from probeshift.datasets.questions import Record, Row
from probeshift.datasets.splits import shuffle_key

NO_ANSWER = "rows without a usable answer"

KeyOf = Callable[[Row], str | None]  # the source's own question id; None when it has none


@dataclass
class Source:
    """One source split as read: its records, how many there were before the cap, and what was left out."""

    name: str
    records: list[Record]
    n_found: int
    dropped: Counter[str] = field(default_factory=Counter)


def read_source(
    name: str,
    rows: Iterable[Row],
    convert: Callable[[Row], Iterable[Row]],
    *,
    key_of: KeyOf | None = None,
    cap: int | None = None,
    numbers: Iterable[int] | None = None,
) -> Source:
    """The records of one source split, in file order; with `cap` only the first so many in shuffled order.

    `numbers` are the row numbers when the rows given are not all there are.
    """
    tally: Counter[str] = Counter()
    records = _keyed(name, _converted(rows, convert, tally, numbers), key_of)
    kept = list(records) if cap is None else _first_in_order(records, cap)
    return Source(name, kept, tally.pop("found"), tally)


def _converted(
    rows: Iterable[Row], convert: Callable[[Row], Iterable[Row]], tally: Counter[str], numbers: Iterable[int] | None
) -> Iterator[tuple[int, Row]]:
    tally["found"] = 0
    numbering = iter(numbers) if numbers is not None else count()
    for row in rows:
        converted = tuple(convert(row))
        tally["found"] += len(converted)
        if not converted:
            tally[NO_ANSWER] += 1
            next(numbering)
        # a file row that holds several questions counts as several rows
        yield from ((next(numbering), fields) for fields in converted)


def _keyed(source: str, rows: Iterable[tuple[int, Row]], key_of: KeyOf | None) -> Iterator[Record]:
    """Keys are the row index or the source's id; an id that comes again (RACE: many questions) is numbered."""
    seen: Counter[str] = Counter()
    for index, fields in rows:
        own = key_of(fields) if key_of else None
        if own is None:
            yield Record(source, str(index), index, fields)
        else:
            again = seen[own]
            seen[own] += 1
            yield Record(source, f"{own}#{again}" if again else own, index, fields)


def _first_in_order(records: Iterable[Record], cap: int) -> list[Record]:
    kept = heapq.nsmallest(cap, records, key=lambda record: shuffle_key(record.key))
    return sorted(kept, key=lambda record: record.index)
