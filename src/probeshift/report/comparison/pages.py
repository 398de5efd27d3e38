"""The pages of a comparison study: its figures with their tables, the tests between methods, and a short reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from probeshift.errors import UsageError
from probeshift.provenance import publish
from probeshift.report.comparison import FIGURES
from probeshift.report.comparison.reading import reading
from probeshift.report.figures import save_figure
from probeshift.report.tables import Pages, Table
from probeshift.summaries.generalisation import families, train_test_means
from probeshift.summaries.inverted import anti_generalising
from probeshift.summaries.matrix_means import family_means, matrix_of
from probeshift.summaries.paired import compare_methods
from probeshift.summaries.protocols import protocol_table
from probeshift.summaries.study import Study

Progress = Callable[[str, int, int], None]


def draw_study(study: Study, other: Study, folder: Path, on_progress: Progress | None = None) -> Pages:
    """Draw all figures of `study`, and the tables that need its twin of the other protocol.

    A figure that the study lacks the data for is not drawn: a note says which, `reading.md` says why.
    """
    paths, missing = _draw_figures(study, folder, on_progress)
    strict, published = (other, study) if study.published else (study, other)
    tables = _tables(strict, published, study)
    for name, table in tables.items():
        publish(folder / f"{name}.csv", table.to_csv(index=False))
    made = {"pairs": tables["paired_tests"], "protocols": tables["published_vs_strict"]}
    sentences = reading(study, None if study.published else published, **made)
    publish(folder / "reading.md", _markdown(study, sentences, tables, missing))
    paths += [folder / "reading.md", *(folder / f"{name}.csv" for name in tables)]
    best = study.best
    numbers = {
        "model": study.model,
        "protocol": study.protocol,
        "best_probe": vars(best),
        "reading": sentences,
        "not_drawn": missing,
    }
    shown = (_printed(tables["published_vs_strict"]), *_methods(tables["paired_tests"]))
    notes = (f"not drawn (reading.md says why): {', '.join(missing)}",) if missing else ()
    return Pages(shown, (*sentences, *notes), tuple(paths), numbers)


def _draw_figures(study: Study, folder: Path, on_progress: Progress | None) -> tuple[list[Path], dict[str, str]]:
    """The files of the figures that can be drawn, and why the others cannot."""
    paths, missing = [], {}
    for done, figure in enumerate(FIGURES):
        try:
            table = figure.table(study)
            paths.append(save_figure(figure.draw(table), folder / f"{figure.name}.png", table)[0])
        except UsageError as error:
            missing[figure.name] = str(error)
            for stale in (folder / f"{figure.name}.png", folder / f"{figure.name}.csv"):
                stale.unlink(missing_ok=True)
        if on_progress:
            on_progress("figures", done + 1, len(FIGURES))
    return paths, missing


def _tables(strict: Study, published: Study, study: Study) -> Mapping[str, pd.DataFrame]:
    return {
        "published_vs_strict": protocol_table(strict, published),
        "paired_tests": compare_methods(study),
        "inverted_cells": anti_generalising(strict),
        "family_means": _families(study),
        "ceilings": study.ceiling_choices,
    }


def _families(study: Study) -> pd.DataFrame:
    """Mean of r3b between families, own cells left out."""
    table = train_test_means(study)
    names = families(study, "train") | families(study, "test")
    return family_means(matrix_of(table), names).reset_index()


def _markdown(
    study: Study, sentences: list[str], tables: Mapping[str, pd.DataFrame], missing: Mapping[str, str]
) -> str:
    title, columns, rows = _printed(tables["published_vs_strict"])
    lines = [" | ".join(columns), " | ".join("---" for _ in columns), *(" | ".join(row) for row in rows)]
    table = "\n".join(f"| {line} |" for line in lines)
    points = "\n".join(f"- {sentence}" for sentence in sentences)
    left_out = "\n".join(f"- {name}: {why}" for name, why in missing.items())
    parts = [f"# {study.model}: how well do its truth probes generalise?", points, f"## {title}", table]
    return "\n\n".join([*parts, *(["## Not drawn", left_out] if missing else [])]) + "\n"


def _printed(table: pd.DataFrame) -> Table:
    columns = ("quantity", "strict", "published", "published - strict")
    rows = [
        (r.quantity, _bounded(r.strict, r.strict_low, r.strict_high), _bounded(r.published, r.published_low, r.published_high),
         _number(r.difference))
        for r in table.itertuples()
    ]  # fmt: skip
    return "the published procedure against the strict one", columns, rows


def _methods(table: pd.DataFrame) -> Iterator[Table]:
    """The leading method against each other one, where there are others; all pairs are in the file."""
    if not len(table):
        return
    leading = table[table["method_a"] == table["method_a"].iloc[0]]
    columns = ("method", "mean", "leader's mean on the same cells", "difference", "q", "q over sets")
    rows = [
        (r.method_b, _number(r.mean_b), _number(r.mean_a), _bounded(r.difference, r.ci_low, r.ci_high), _number(r.q), _number(r.q_sets))
        for r in leading.itertuples()
    ]  # fmt: skip
    yield f"recovered accuracy: {table['method_a'].iloc[0]} against every other method", columns, rows


def _bounded(value: Any, low: Any, high: Any) -> str:
    return _number(value) + (f" [{_number(low)}, {_number(high)}]" if pd.notna(low) else "")


def _number(value: Any) -> str:
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return "–"
    return f"{value:.0f}" if abs(value) >= 10 else f"{value:.3f}"
