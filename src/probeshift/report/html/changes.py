"""Two runs side by side: the cells both have, how many differ beyond noise, and which settings differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from probeshift.report.html.plain_text import shown_text
from probeshift.report.html.provenance import flat
from probeshift.report.html.run_folder import MAIN, RunFolder
from probeshift.results import ResultFolder
from probeshift.summaries.run_changes import BEYOND, Correctness, changes, counts, same_questions

_NOT_COMPARED = ("made.time", "stores", "contexts")
_METRICS = ("accuracy", "auroc")


@dataclass(frozen=True)
class Comparison:
    """`cells` are those both runs measured; `settings` is a section of what differs in their manifests."""

    words: list[str]
    cells: pd.DataFrame
    counts: pd.DataFrame
    settings: dict[str, Any]


def comparison(before: RunFolder, after: RunFolder) -> Comparison:
    """What changed from one run to another, on the rows of the protocol that the first one's main table is of."""
    protocol = _protocol(before)
    sides = [_rows(run, protocol) for run in (before, after)]
    correct = _correct(before, sides[0]), _correct(after, sides[1])
    paired = correct if correct[0] and correct[1] else None
    cells = changes(sides[0], sides[1], paired, same_questions(before.manifest, after.manifest))
    return Comparison(_words(cells, paired is not None), cells, counts(cells), _settings(before, after))


def _protocol(run: RunFolder) -> str | None:
    main = run.results[run.results["table"].eq(MAIN)]
    return str(main["protocol"].iloc[0]) if "protocol" in main and len(main) else None


def _rows(run: RunFolder, protocol: str | None) -> pd.DataFrame:
    rows = run.results
    if protocol is not None and "protocol" in rows:
        rows = rows[rows["protocol"].eq(protocol)]
    ranked = rows[rows["metric"].isin(_METRICS)]
    return ranked if len(ranked) else rows


def _correct(run: RunFolder, rows: pd.DataFrame) -> Correctness:
    """Questions won, of the one table these rows are from; none where the run kept no record."""
    tables = rows["table"].unique()
    kept = len(tables) == 1 and (run.folder / f"{tables[0]}.contexts.json").exists()
    return ResultFolder(run.folder).correct(table=tables[0]) if kept else {}


def _words(cells: pd.DataFrame, paired: bool) -> list[str]:
    if not len(cells):
        return ["The runs have no cell in common: their methods, sets, layers, positions or protocols differ."]
    changed = int(cells["verdict"].eq(BEYOND).sum())
    tests = (
        "Accuracy is compared question by question where both runs asked the same ones (sign test, Benjamini-Hochberg over all "
        "such cells, q < 0.05)."
        if paired
        else "No test is paired: not both runs kept a record of which questions each probe won."
    )
    return [
        f"{changed:,} of {len(cells):,} cells that both runs measured differ beyond noise.",
        tests,
        "Elsewhere a cell counts as changed when the 95 % bounds of its difference, made from both saved intervals as if the runs "
        "were independent, leave out 0. Each such cell is judged alone: up to one in twenty is expected without any change.",
    ]


def _settings(before: RunFolder, after: RunFolder) -> dict[str, Any]:
    old, new = (dict(flat(run.manifest)) for run in (before, after))
    keys = [k for k in {**old, **new} if old.get(k) != new.get(k) and not k.startswith(_NOT_COMPARED)]
    rows = [[shown_text(k), shown_text(old.get(k, "–")), shown_text(new.get(k, "–"))] for k in keys]
    return {"title": "Settings that differ", "columns": ["what", "before", "after"], "rows": rows}
