"""Talking to the person: progress, tables, sizes. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probeshift.report.tables import Pages


def say(text: str) -> None:
    """A line about what is going on (stderr)."""
    print(text, file=sys.stderr, flush=True)


def offer_page(folder: Path) -> None:
    """The command that makes one page of a finished run (stderr)."""
    say(f"one page to read it all: probeshift report {shlex.quote(str(folder))}")


def print_json(value: dict[str, Any]) -> None:
    """One JSON object on stdout."""
    print(json.dumps({"schema_version": 1, **value}, ensure_ascii=False, indent=1, default=str))


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table on stdout; the first column is left-aligned, the others right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text  # cells are shown as they are: a token such as [/INST] is no markup

    table = Table(title=Text(title, style="bold"), title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(Text(column), justify="left" if i == 0 else "right", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    console = console if console.is_terminal else Console(width=1000)  # a file or pipe has no edge
    console.print(table)


def print_pages(pages: Pages, as_json: bool, *, also: Sequence[Path] = ()) -> None:
    """Tables, notes, and paths of what was written (those of `also` first) on stdout; or one JSON object of the pages."""
    if as_json:
        return print_json(pages.to_json())
    for title, columns, rows in pages.tables:
        print_table(title, columns, rows)
    for line in (*pages.notes, *also, *pages.paths):
        print(line)


@contextmanager
def progress() -> Iterator[Callable[[str, int, int], None]]:
    """A callback (label, done, total) that draws bars on a terminal and prints a line per finished label elsewhere."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def update(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(label, total=total)
            bars.update(tasks[label], completed=done, visible=done < total)

        yield update


class _Lines:
    """Progress where nobody watches: a line when a label finishes, and one every ten seconds meanwhile."""

    def __init__(self) -> None:
        self.last = time.monotonic()

    def __call__(self, label: str, done: int, total: int) -> None:
        if done >= total or time.monotonic() - self.last > 10:
            say(f"{label}: {done:,} of {total:,}")
            self.last = time.monotonic()


def size(n_bytes: int | float) -> str:
    """Bytes for people: 1.5 GB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if n_bytes < 1000 or unit == "TB":
            return f"{n_bytes:.0f} {unit}" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    raise AssertionError


def duration(seconds: int | float) -> str:
    """Seconds for people: 45 s, 12 min, 3.5 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
