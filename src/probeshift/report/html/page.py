"""The report as one file: an HTML shell, the prebuilt front end inlined, and data as deflated base64 that no parser looks into.

The page's content security policy lets run only the bundle, by its hash, and lets nothing be fetched.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeshift.provenance import publish
from probeshift.report.html.changes import comparison
from probeshift.report.html.details import read_details
from probeshift.report.html.introduction import told
from probeshift.report.html.limits import limits
from probeshift.report.html.orders import families, orders
from probeshift.report.html.overview import facts, starting_view
from probeshift.report.html.packing import Packed, compressed, pack
from probeshift.report.html.plain_text import LONGEST_TEXT, shown_name, shown_text, shown_value
from probeshift.report.html.provenance import provenance
from probeshift.report.html.run_folder import RunFolder, open_runs

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 2
LONGEST_REPORT = 40_000  # characters of a run's own text


@dataclass
class _Blobs:
    """Packed data in the order it was added; a header says which blob it is in."""

    blobs: list[str] = field(default_factory=list)

    def add(self, packed: Packed) -> dict[str, Any]:
        self.blobs.append(compressed(packed.data))
        return {"blob": len(self.blobs) - 1, **packed.header}

    def table(self, table: pd.DataFrame) -> dict[str, Any]:
        return self.add(pack(table))


def write_report(paths: Sequence[Path], output: Path, *, with_details: bool = True) -> Path:
    """Write the report of one or more run folders to `output`. Runs of one kind are also compared, each with the first of them.

    Raises:
        UsageError: a path is no run, or named twice.
        StoreError: a file of a run cannot be read, or the output not written.
    """
    publish(output, build_page(open_runs(list(paths)), with_details=with_details))
    return output


def build_page(runs: Sequence[RunFolder], *, with_details: bool = True) -> str:
    """The whole page as text; without details it carries no texts of single rows."""
    blobs = _Blobs()
    index = {
        "schema": SCHEMA,
        "version": version("probeshift"),
        "made": time.strftime("%Y-%m-%d %H:%M %Z"),
        "runs": [_run(run, blobs, with_details) for run in runs],
        "comparisons": list(_comparisons(runs, blobs)),
    }
    text = json.dumps(index, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    script, style = _bundled("report.js"), _bundled("report.css")
    return _template().render(
        title=f"probeshift report: {', '.join(shown_name(run.name) for run in runs)}",
        script=script, script_hash=_csp_hash(script), style=style, style_hash=_csp_hash(style),
        index=compressed(text.encode()), blobs=blobs.blobs,
    )  # fmt: skip


def _run(run: RunFolder, blobs: _Blobs, with_details: bool) -> dict[str, Any]:
    return {
        "name": shown_name(run.name),
        **shown_value(told(run)),
        "step": shown_name(run.manifest.get("step", "")),
        "reading": [shown_text(line) for line in run.reading],
        "written": shown_text(run.written, LONGEST_REPORT),
        "facts": facts(run),
        "limits": limits(run),
        "provenance": provenance(run),
        "families": shown_value(families(run.results)),
        "orders": orders(run),
        "start": shown_value(starting_view(run)),
        "results": blobs.table(run.results),
        "tables": {shown_name(name): blobs.table(table) for name, table in run.tables.items()},
        "details": _details(run, blobs) if with_details else None,
    }


def _details(run: RunFolder, blobs: _Blobs) -> dict[str, Any] | None:
    found = read_details(run)
    if found is None:
        return None
    texts = [shown_text(text, LONGEST_TEXT) for text in found.texts["text"]]
    labels = [bool(label) for label in found.texts["label"]]
    rows = [shown_name(name) for name in found.texts["row_id"]]
    data = json.dumps({"texts": texts, "labels": labels, "rows": rows}).encode()
    return {
        "cells": blobs.add(pack(found.cells, found.vectors)),
        "texts": blobs.add(Packed({"bytes": len(data)}, data)),
    }


def _comparisons(runs: Sequence[RunFolder], blobs: _Blobs) -> Iterator[dict[str, Any]]:
    for first, other in _pairs(runs):
        found = comparison(first, other)
        yield {
            "before": shown_name(first.name), "after": shown_name(other.name), "words": [shown_text(w) for w in found.words],
            "counts": blobs.table(found.counts), "settings": found.settings, "cells": blobs.table(found.cells),
        }  # fmt: skip


def _pairs(runs: Sequence[RunFolder]) -> Iterator[tuple[RunFolder, RunFolder]]:
    """Each run with result rows beside the first of its kind."""
    first: dict[str, RunFolder] = {}
    for run in runs:
        if run.kind in first and len(run.results):
            yield first[run.kind], run
        first.setdefault(run.kind, run)


def _csp_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _bundled(name: str) -> str:
    return (files(__package__) / "bundle" / name).read_text(encoding="utf-8")


@cache
def _template() -> Any:
    from jinja2 import Environment

    source = (files(__package__) / "shell.html.j2").read_text(encoding="utf-8")
    return Environment(autoescape=True).from_string(source)
