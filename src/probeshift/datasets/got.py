"""Bare statements of "The geometry of truth" (arXiv 2310.06824): cities, translations, numbers, and two cities at once.

Three sets pair a file with its negation or complement, row by row: the two rows are one question. The files give no
source split.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from probeshift.datasets.dataset import Dataset, DatasetSpec, finish
from probeshift.datasets.dlk_layouts import integer
from probeshift.datasets.folder import data_files
from probeshift.datasets.questions import Answer, Question, Row
from probeshift.datasets.reading import read_rows
from probeshift.datasets.splits import POOLED, POOLED_RULE, cut
from probeshift.errors import UsageError

EntitiesOf = Callable[[Row], tuple[str, ...]]


def spanish_word(row: Row) -> tuple[str, ...]:
    """The word in the first pair of quotes."""
    found = re.search(r"['‘\"](.+?)['’\"]", row["statement"])
    return (found[1],) if found else ()


def columns(*names: str) -> EntitiesOf:
    """The values of these columns, each once."""
    return lambda row: tuple(dict.fromkeys(str(row[name]).strip() for name in names))


def pool(spec: DatasetSpec, questions: list[Question], source: str, split_by: str) -> Dataset:
    """A dataset without source splits: all questions hashed into 0.6 / 0.2 / 0.2, by their key or by their entities."""
    statements, dropped = cut(
        spec.name, questions, seed=spec.name, shares={"": POOLED}, split_by=split_by, grouped=spec.grouped
    )
    by = (
        f"{spec.entity_name} (entity; rows with entities on two sides are dropped)"
        if split_by == "entity"
        else "question"
        if spec.grouped
        else "row"
    )
    return finish(
        spec, statements, source=source, split_rule=f"{POOLED_RULE}, by {by}", split_by=split_by, dropped=dropped
    )


def find_table(root: Path, stem: str, needed: tuple[str, ...]) -> Path | None:
    """The file of this name (whatever its format) with these columns, nearest to the root."""
    named = [path for path in data_files(root) if path.stem.lower() == stem]
    for path in sorted(named, key=lambda p: (len(p.parts), p.as_posix())):
        first = next(iter(read_rows(path)), None)
        if first is not None and all(name in first for name in needed):
            return path
    return None


def labelled_rows(path: Path) -> Iterator[tuple[Row, bool]]:
    """Rows with their labels.

    Raises:
        UsageError: a label is not 0 or 1.
    """
    for number, row in enumerate(read_rows(path), start=1):
        label = integer(row["label"], 2)
        if label is None:
            raise UsageError(
                f"{path.name} row {number} has the label {row['label']!r}: it must be 0 or 1; fetch the file again."
            )
        yield row, bool(label)


def single_rows(path: Path, entities: EntitiesOf) -> list[Question]:
    """One statement each."""
    rows = enumerate(labelled_rows(path))
    return [
        Question(str(i), (Answer("", row["statement"], label),), entities=entities(row)) for i, (row, label) in rows
    ]


def paired_rows(affirmed: Path, negated: Path, entities: EntitiesOf) -> list[Question]:
    """Row i of both files is question i.

    Raises:
        UsageError: the files differ in length, or a pair has twice the same label.
    """
    pairs = list(zip(labelled_rows(affirmed), labelled_rows(negated), strict=False))
    n_rows = sum(1 for _ in read_rows(affirmed)), sum(1 for _ in read_rows(negated))
    unlike = [i for i, ((_, label), (_, other)) in enumerate(pairs) if label == other]
    if n_rows[0] != n_rows[1] or unlike:
        found = (
            f"row {unlike[0] + 1} has the same label in both"
            if unlike
            else f"they have {n_rows[0]} and {n_rows[1]} rows"
        )
        raise UsageError(f"{affirmed.name} and {negated.name} do not pair row by row: {found}; fetch both files again.")
    return [
        Question(
            str(i),
            (Answer("pos", row["statement"], label, "pos"), Answer("neg", twin["statement"], other, "neg")),
            entities=entities(row),
        )
        for i, ((row, label), (twin, other)) in enumerate(pairs)
    ]


def loader(
    stems: tuple[str, ...], needed: tuple[str, ...], entities: EntitiesOf
) -> Callable[[DatasetSpec, Path, str], Dataset | None]:
    """Reads a set from the files of these names below a folder; None when one of them is not there."""

    def load(spec: DatasetSpec, root: Path, split_by: str) -> Dataset | None:
        paths = [path for stem in stems if (path := find_table(root, stem, ("statement", "label", *needed)))]
        if len(paths) < len(stems):
            return None
        questions = single_rows(paths[0], entities) if len(paths) == 1 else paired_rows(paths[0], paths[1], entities)
        return pool(spec, questions, " + ".join(path.relative_to(root).as_posix() for path in paths), split_by)

    return load


def _entry(
    name: str, stems: tuple[str, ...], needed: tuple[str, ...], entities: EntitiesOf, **facts: Any
) -> DatasetSpec:
    paired = len(stems) == 2
    return DatasetSpec(
        name=name,
        family="got",
        grouped=paired,
        answer_types=("pos", "neg") if paired else (),
        options="2" if paired else "none",
        licence="not stated",
        note=facts.pop(
            "note", "no hub id is known: the files are those of github.com/saprmarks/geometry-of-truth, folder datasets"
        ),
        seed=name,
        files=" and ".join(f"{stem}.csv" for stem in stems),
        load=loader(stems, needed, entities),
        **facts,
    )


_CITY_SETS = ("got_cities", "got_cities_cities_conj", "got_cities_cities_disj")


def _others(name: str) -> tuple[str, ...]:
    return tuple(other for other in _CITY_SETS if other != name)


GOT_CITIES = _entry(
    "got_cities",
    ("cities", "neg_cities"),
    ("city", "country"),
    columns("city"),
    related=_others("got_cities"),
    entity_name="city",
)
GOT_SP_EN_TRANS = _entry(
    "got_sp_en_trans", ("sp_en_trans", "neg_sp_en_trans"), (), spanish_word, entity_name="Spanish word"
)
GOT_LARGER_THAN = _entry(
    "got_larger_than", ("larger_than", "smaller_than"), ("n1", "n2"), columns("n1", "n2"), entity_name="number"
)
GOT_CITIES_CITIES_CONJ = _entry(
    "got_cities_cities_conj",
    ("cities_cities_conj",),
    ("city1", "city2"),
    columns("city1", "city2"),
    related=_others("got_cities_cities_conj"),
    entity_name="city",
)
GOT_CITIES_CITIES_DISJ = _entry(
    "got_cities_cities_disj",
    ("cities_cities_disj",),
    ("city1", "city2"),
    columns("city1", "city2"),
    related=_others("got_cities_cities_disj"),
    entity_name="city",
)
