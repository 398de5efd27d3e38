"""What drawing hands to whoever shows it: tables for a terminal, notes, files, and the numbers for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]
"""Title, column names, rows of text."""


@dataclass(frozen=True)
class Pages:
    """What was drawn: tables for the terminal, one-line notes, files, and the numbers for machines."""

    tables: tuple[Table, ...]
    notes: tuple[str, ...]
    paths: tuple[Path, ...]
    numbers: Mapping[str, Any]

    def then(self, other: Pages) -> Pages:
        """Both, one after the other."""
        parts = (self.tables + other.tables, self.notes + other.notes, self.paths + other.paths)
        return Pages(*parts, {**self.numbers, **other.numbers})

    def to_json(self) -> dict[str, Any]:
        return {**self.numbers, "notes": list(self.notes), "files": [str(p) for p in self.paths]}
