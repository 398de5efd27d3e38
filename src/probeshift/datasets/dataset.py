"""A loaded dataset, and the entry that says where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from probeshift.datasets.statement import SPLITS, Statement
from probeshift.errors import UsageError, nearest
from probeshift.provenance import sha256_json

if TYPE_CHECKING:
    from pathlib import Path

    from probeshift.datasets.questions import Layout, Question, Record

TRAIN_LIMIT = 400  # questions a probe is trained on unless told otherwise


@dataclass(frozen=True)
class DatasetSpec:
    """Where a dataset comes from and how it is cut; everything that is known before a file is opened."""

    name: str
    family: str  # dlk, repe, got, truthfulqa, facts, file
    grouped: bool
    options: str  # how many answers a question has
    licence: str
    hub_id: str | None = None
    hub_config: str | None = None
    hub_revision: str | None = None
    source_splits: tuple[str, ...] = ()  # (train, eval) as the source names them; empty when the source has no splits
    answer_types: tuple[str, ...] = ()
    related: tuple[str, ...] = ()  # datasets that share content with this one
    note: str = ""
    eval_only: bool = False
    seed: str = ""  # starts the text that the hash split hashes
    cap: int | None = None  # questions kept of each source split, first in shuffled order
    files: str = ""  # what a local folder must hold, in words
    keywords: tuple[str, ...] = ()  # one of them must stand in the path of a file, in words of the path
    layouts: tuple[Layout, ...] = field(default=(), repr=False)
    write: Callable[[Record], Question | None] | None = field(default=None, repr=False)
    load: Callable[[DatasetSpec, Path, str], Dataset | None] | None = field(default=None, repr=False)
    bundled: Callable[[DatasetSpec, str], Dataset] | None = field(default=None, repr=False)
    entity_name: str | None = None  # what an honest split keeps on one side; None when that is the question itself

    def describe(self) -> dict[str, Any]:
        """The entry as plain values, for pages and JSON."""
        return {
            "name": self.name,
            "family": self.family,
            "hub_id": self.hub_id,
            "hub_config": self.hub_config,
            "hub_revision": self.hub_revision,
            "source_splits": list(self.source_splits),
            "grouped": self.grouped,
            "answer_types": list(self.answer_types),
            "options": self.options,
            "licence": self.licence,
            "related": list(self.related),
            "eval_only": self.eval_only,
            "files": self.files,
            "note": self.note,
        }


@dataclass(frozen=True)
class Dataset:
    """Statements of one dataset with their splits.

    `statements` are in shuffled order (ascending sha256 of the question key), the rows of a question next to each
    other. `source` says where the text was read, `split_rule` how it was cut, `dropped` what was left out and why.
    """

    spec: DatasetSpec
    statements: tuple[Statement, ...]
    source: str
    split_rule: str
    split_by: str
    content_hash: str
    dropped: dict[str, int]
    stand_in: str | None = None

    @property
    def name(self) -> str:
        """The dataset's name."""
        return self.spec.name

    def split(self, split: str, limit: int | None = None) -> tuple[Statement, ...]:
        """The rows of a split in shuffled order, at most `limit` questions of it (None = all); a question is never cut.

        Rows without a question count one each.

        Raises:
            UsageError: the split is none of train, selection, test.
        """
        if split not in SPLITS:
            raise UsageError(f"dataset `{self.name}` has no split `{split}`. {nearest(split, SPLITS)}")
        rows = (row for row in self.statements if row.split == split)
        return tuple(rows) if limit is None else tuple(first_questions(rows, limit))


def first_questions(rows: Iterable[Statement], limit: int) -> Iterator[Statement]:
    """The rows of the first `limit` questions; rows without a question count one each."""
    seen: set[str] = set()
    for row in rows:
        question = row.row_id if row.group is None else row.group
        if question not in seen and len(seen) >= limit:
            return
        seen.add(question)
        yield row


def finish(
    spec: DatasetSpec,
    statements: tuple[Statement, ...],
    *,
    source: str,
    split_rule: str,
    split_by: str,
    dropped: Mapping[str, int],
    stand_in: str | None = None,
) -> Dataset:
    """A dataset with its content hash: sha256 over every row, in order."""
    rows = [[s.row_id, s.text, s.label, s.split, s.group, s.answer_type, s.entity] for s in statements]
    if len({s.row_id for s in statements}) != len(statements):
        raise AssertionError(f"row ids of {spec.name} are not unique")
    return Dataset(
        spec=spec,
        statements=statements,
        source=source,
        split_rule=split_rule,
        split_by=split_by,
        content_hash=sha256_json(rows),
        dropped={reason: n for reason, n in dropped.items() if n},
        stand_in=stand_in,
    )
