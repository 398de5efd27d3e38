"""Answers of judges on disk, in SQLite: nothing is asked or paid for twice, and a stopped run continues."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path

from probeshift.errors import StoreError
from probeshift.provenance import cache_root, cannot_write
from probeshift.steering.judges.judge import Rating

_LAYOUT = """
CREATE TABLE IF NOT EXISTS ratings (
  key TEXT PRIMARY KEY, judge TEXT NOT NULL, rubric TEXT NOT NULL, value REAL, reason TEXT, replies TEXT NOT NULL,
  calls INTEGER NOT NULL, prompt_tokens INTEGER, completion_tokens INTEGER, seconds REAL NOT NULL, served_by TEXT,
  time TEXT NOT NULL)
"""
_COLUMNS = "value, reason, replies, calls, prompt_tokens, completion_tokens, seconds, served_by"
_FORMAT = 1
_BUSY_SECONDS = 60.0
_VARIABLES = 500  # SQLite's smallest limit on `?` in one statement is 999


class JudgementCache:
    """Ratings by key (see `judge.key_of`), each committed as it is stored. Safe for several processes at once.

    Raises:
        StoreError: the file is no cache of this kind, or cannot be written.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or cache_root() / "judgements.sqlite"
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # One thread at a time uses it: the one that runs the calls.
            self._database = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, check_same_thread=False)
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"{self.path} is no cache of judgements ({error}). Move it away or name another."
            ) from error
        except OSError as error:
            raise cannot_write(self.path, error) from error

    def _prepare(self) -> None:
        found = self._database.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, _FORMAT):
            self._database.close()
            raise StoreError(f"{self.path} was written in format {found}, this version reads {_FORMAT}. Name another.")
        self._database.execute("PRAGMA journal_mode=WAL")
        with self._database:
            self._database.execute(_LAYOUT)
            self._database.execute(f"PRAGMA user_version={_FORMAT}")

    def get(self, keys: Iterable[str]) -> dict[str, Rating]:
        """The ratings that are there, by key."""
        keys = list(dict.fromkeys(keys))
        found: dict[str, Rating] = {}
        for start in range(0, len(keys), _VARIABLES):
            part = keys[start : start + _VARIABLES]
            marks = ", ".join("?" * len(part))
            query = f"SELECT key, {_COLUMNS} FROM ratings WHERE key IN ({marks})"
            for key, value, reason, replies, *counts in self._database.execute(query, part):
                found[key] = Rating(value, reason, tuple(json.loads(replies)), *counts)
        return found

    def put(self, key: str, judge: str, rubric: str, rating: Rating) -> None:
        """Store one rating durably, in place of an older one.

        Raises:
            StoreError: the disk is full or the file cannot be written.
        """
        row = (
            *(key, judge, rubric, rating.value, rating.reason, json.dumps(rating.replies, ensure_ascii=False)),
            *(rating.calls, rating.prompt_tokens, rating.completion_tokens, rating.seconds, rating.served_by),
            time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        )
        try:
            with self._database:
                self._database.execute(f"INSERT OR REPLACE INTO ratings VALUES ({', '.join('?' * len(row))})", row)
        except sqlite3.OperationalError as error:
            raise StoreError(f"cannot write {self.path}: {error}. What was stored before is kept.") from error

    @property
    def n_ratings(self) -> int:
        """How many ratings are stored."""
        return self._database.execute("SELECT COUNT(*) FROM ratings").fetchone()[0]

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def __enter__(self) -> JudgementCache:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
