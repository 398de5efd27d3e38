"""The sweep's tables, its text report and its figures, from comparison.json alone."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from probeshift.provenance import publish, sha256_text
from probeshift.report.figures import save_figure
from probeshift.report.sweep.figures import auroc_figure, gain_figure, gap_figure
from probeshift.report.sweep.flat import flat_tables
from probeshift.report.sweep.tables import brief_tables, sweep_tables
from probeshift.report.tables import Pages, Table

# Raise it when a figure is drawn differently: those of earlier runs are then drawn again.
DRAWING = 3
_FIGURES = {"auroc_by_step": auroc_figure, "gap_by_step": gap_figure, "gain_per_row": gain_figure}


def draw_sweep(found: Mapping[str, Any], folder: Path, *, brief: bool = False) -> Pages:
    """Three figures, each with its table as csv, flat tables of what else was found, and the tables (`brief`: two) for a terminal.

    Figures of the same numbers are not drawn again.
    """
    conclusions = found["conclusions"]
    notes = [
        *(["Before any claim:", *_listed(conclusions["first"])] if conclusions["first"] else []),
        "It may be concluded:",
        *_listed(conclusions["may"]),
        "It may not be concluded:",
        *_listed(conclusions["may_not"]),
    ]
    for name, table in flat_tables(found).items():
        publish(folder / f"{name}.csv", table.to_csv(index=False))
    tables = brief_tables(found) if brief else sweep_tables(found)
    return Pages(tuple(tables), tuple(notes), tuple(_drawn(found, folder)), found)


def _drawn(found: Mapping[str, Any], folder: Path) -> list[Path]:
    paths, stamp = [folder / f"{name}.png" for name in _FIGURES], folder / "figures.json"
    key = {"numbers": sha256_text(json.dumps(found, sort_keys=True)), "drawing": DRAWING}
    there = all(path.exists() and path.with_suffix(".csv").exists() for path in paths)
    if there and stamp.exists() and stamp.read_text() == json.dumps(key):
        return paths
    for path, draw in zip(paths, _FIGURES.values(), strict=True):
        figure, table = draw(found)
        save_figure(figure, path, table)
    publish(stamp, json.dumps(key))
    return paths


def write_report(found: Mapping[str, Any], path: Path) -> Path:
    """The whole sweep as plain text; what may and may not be concluded closes it."""
    parts = [_underlined(found["title"], "=")]
    parts += [_as_text(table) for table in sweep_tables(found)]
    conclusions = found["conclusions"]
    if conclusions["first"]:
        parts.append("\n".join([_underlined("Before any claim", "-"), *_listed(conclusions["first"])]))
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
