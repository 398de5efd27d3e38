"""Lines of scores as they are made, so that a killed job loses none: kept beside the output, given its format at the end.

scores.jsonl            the finished file (also .csv, .parquet)
scores.meta.json        what the columns mean: probe, model, layer, position, threshold, what was ignored
.scores.jsonl.part      lines so far; the same command goes on behind them
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from probeshift.errors import UsageError
from probeshift.provenance import cannot_write, publish, settle, sha256_json

FORMATS = (".jsonl", ".csv", ".parquet")
_AT_ONCE = 4096
# Of columns that may be null throughout.
_TYPES = {"score": "float64", "probability": "float64", "squashed": "float64", "decision": "bool"}


@dataclass(frozen=True)
class Output:
    """A file of scores in the making. `job` names everything a line depends on; None where a job cannot be taken up again."""

    path: Path
    job: dict[str, Any] | None

    def __post_init__(self) -> None:
        if self.path.suffix not in FORMATS:
            raise UsageError(f"--output {self.path.name} must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}.")

    @property
    def part(self) -> Path:
        return self.path.with_name(f".{self.path.name}.part")

    @property
    def meta(self) -> Path:
        return self.path.with_suffix(".meta.json")

    def done(self) -> int:
        """Lines that an earlier run of the same job left; what another job left, and half a line, is removed."""
        told = self.part.with_suffix(".job")
        name = sha256_json(self.job) if self.job is not None else None
        if not self.part.is_file() or name is None or not told.is_file() or told.read_text() != name:
            self.part.unlink(missing_ok=True)
            publish(told, name or "")
            return 0
        return _whole_lines(self.part)

    @contextmanager
    def lines(self) -> Iterator[IO[str]]:
        """Where lines go; each is on disk once the writer flushes.

        Raises:
            StoreError: the disk is full or the folder cannot be written.
        """
        try:
            with open(self.part, "a", encoding="utf-8") as file:
                yield file
        except OSError as error:
            raise cannot_write(self.part, error) from error

    def finish(self, about: dict[str, Any]) -> None:
        """Give the lines their format and name, and write what they mean."""
        publish(self.meta, json.dumps(about, indent=1, ensure_ascii=False, default=str))
        made = self.part.with_suffix(".tmp")
        if self.path.suffix == ".jsonl":
            self.part.replace(made)
        elif self.path.suffix == ".csv":
            _to_csv(self.part, made)
        else:
            _to_parquet(self.part, made)
        settle(made, self.path)
        self.part.unlink(missing_ok=True)
        self.part.with_suffix(".job").unlink(missing_ok=True)


def _whole_lines(path: Path) -> int:
    count = end = 0
    with open(path, "rb") as file:
        for line in file:
            if line.endswith(b"\n"):
                count, end = count + 1, end + len(line)
    with open(path, "rb+") as file:
        file.truncate(end)
    return count


def _records(part: Path) -> Iterator[dict[str, Any]]:
    with open(part, encoding="utf-8") as file:
        yield from map(json.loads, file)


def _to_csv(part: Path, made: Path) -> None:
    with open(made, "w", encoding="utf-8", newline="") as file:
        writer = None
        for record in _records(part):
            flat = {
                k: json.dumps(v, ensure_ascii=False) if isinstance(v, list | dict) else v for k, v in record.items()
            }
            if writer is None:
                writer = csv.DictWriter(file, list(flat))
                writer.writeheader()
            writer.writerow(flat)
        if writer is None:  # no text at all: a table without rows, not a file without a table
            file.write("row\n")


def _to_parquet(part: Path, made: Path) -> None:
    """Some thousand lines at a time; a column's type is that of all its lines, found in a first pass."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("row", pa.int64())])
    for table in _tables(part, None):
        schema = pa.unify_schemas([schema, table.schema], promote_options="permissive")
    for index, field in enumerate(schema):
        if pa.types.is_null(field.type):  # null in every line
            schema = schema.set(index, pa.field(field.name, pa.type_for_alias(_TYPES.get(field.name, "string"))))
    with pq.ParquetWriter(made, schema) as writer:
        for table in _tables(part, schema):
            writer.write_table(table)


def _tables(part: Path, schema: Any) -> Iterator[Any]:
    import pyarrow as pa

    records = []
    for record in _records(part):
        records.append(record)
        if len(records) == _AT_ONCE:
            yield pa.Table.from_pylist(records, schema)
            records = []
    if records:
        yield pa.Table.from_pylist(records, schema)
