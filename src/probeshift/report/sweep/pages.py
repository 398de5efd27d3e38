"""The sweep's tables, its text report and its figures, from comparison.json alone."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from probeshift.provenance import publish
from probeshift.report.figures import save_figure
from probeshift.report.sweep.figures import auroc_figure, gain_figure, gap_figure
from probeshift.report.sweep.tables import sweep_tables
from probeshift.report.tables import Pages, Table


def draw_sweep(found: Mapping[str, Any], folder: Path) -> Pages:
    """Three figures, each with its table as csv, and the tables for a terminal."""
    drawn = {"auroc_by_step": auroc_figure, "gap_by_step": gap_figure, "gain_per_row": gain_figure}
    paths = [save_figure(figure, folder / f"{name}.png", table)[0]
             for name, (figure, table) in ((n, draw(found)) for n, draw in drawn.items())]  # fmt: skip
    conclusions = found["conclusions"]
    notes = [
        "It may be concluded:",
        *_listed(conclusions["may"]),
        "It may not be concluded:",
        *_listed(conclusions["may_not"]),
    ]
    return Pages(tuple(sweep_tables(found)), tuple(notes), tuple(paths), found)


def write_report(found: Mapping[str, Any], path: Path) -> Path:
    """The whole sweep as plain text; what may and may not be concluded closes it."""
    parts = [_underlined(found["title"], "=")]
    parts += [_as_text(table) for table in sweep_tables(found)]
    conclusions = found["conclusions"]
    parts.append("\n".join([_underlined("What may be concluded", "-"), *_listed(conclusions["may"])]))
    parts.append("\n".join([_underlined("What may not be concluded", "-"), *_listed(conclusions["may_not"])]))
    publish(path, "\n\n".join(parts) + "\n")
    return path


def _listed(sentences: list[str]) -> list[str]:
    return [textwrap.fill(s, 130, initial_indent="- ", subsequent_indent="  ") for s in sentences] or ["- nothing"]


def _underlined(title: str, mark: str) -> str:
    return f"{title}\n{mark * len(title)}"


def _as_text(table: Table) -> str:
    title, columns, rows = table
    lines = [tuple(columns), *rows]
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(columns))]
    shown = [
        "  ".join(str(cell).ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    ]
    return "\n".join([_underlined(title, "-"), *shown])
