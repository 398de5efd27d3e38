"""What may not be concluded from a run, said from its own rows and manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pandas as pd

from probeshift.metrics.alarms import identical_columns
from probeshift.report.html.plain_text import shown_text
from probeshift.report.html.run_folder import RunFolder

_REASONS = 5
_FEW_CONCEPTS = 50
_CELL = ["split", "protocol", "test", "method", "train", "position", "layer"]


def limits(run: RunFolder) -> list[str]:
    """Sentences for the page; the general one first, then those this run's rows give cause for."""
    always = (
        "A probe that works shows that something can be read from the activations along one direction. It does not show that the "
        "model uses it, nor that it is what the labels are named after and not something that goes with it."
    )
    said = (always, *_of_rows(run.results), *_of_kind(run), *_of_data(run)) if len(run.results) else _of_kind(run)
    return [shown_text(line) for line in said]


def _of_kind(run: RunFolder) -> Iterator[str]:
    if run.kind == "mixture":
        said = json.loads((run.folder / "comparison.json").read_text(encoding="utf-8"))["conclusions"]
        yield from (*said.get("first", ()), *map(_sentence, said["may_not"]))
    if run.kind == "model":
        n = int(run.tables["closeness"]["n_concepts"].iloc[0])
        if n < _FEW_CONCEPTS:
            yield f"{n} concepts are a smoke test: intervals are wide, and nothing can be said of concepts in general."
        if "score" not in run.tables.get("conditions", ()):
            yield "No texts were written with the carried vectors: a vector that points the right way may still steer nothing."
    if run.kind == "steering" and "score" not in run.tables["curves"]:
        yield (
            "One vector, no score and no control: what the texts say is for the reader to judge, and a random vector of the same "
            "length might change them as much."
        )
    elif run.kind == "steering":
        yield (
            "One rule, one seed of the random vector and few prompts show that the machinery works, not how well steering works. A rule "
            "checked by a program says nothing on whether a text is good."
        )


def _sentence(clause: str) -> str:
    """A clause that begins with "That" is one below the report's heading; here it stands among sentences."""
    return f"It does not follow {clause[0].lower()}{clause[1:]}" if clause.startswith(("That ", "Which ")) else clause


def _of_rows(rows: pd.DataFrame) -> Iterator[str]:
    measured = rows[rows["value"].notna()]
    if "ci_low" in rows and len(measured):
        bounded = int(measured["ci_low"].notna().sum())
        yield (
            f"{len(measured):,} values are shown, {bounded:,} of them with a 95 % interval of their own: about one in twenty "
            "misses by chance. A cell picked because it looks best or worst needs new data."
        )
    for column, what in (("seed", "training seed"), ("model", "model")):
        if column in rows and rows[column].nunique() == 1:
            yield f"One {what} ({rows[column].iloc[0]}): nothing here says how another one would do."
    if "protocol" in rows and rows["protocol"].eq("published").any():
        yield (
            "Rows of the published protocol choose sign and threshold on the evaluation labels. They can be set beside published "
            "numbers and are no estimate of how a probe does on data without labels."
        )
    yield from _copies(rows)
    yield from _gaps(rows)


def _copies(rows: pd.DataFrame) -> Iterator[str]:
    """Two metrics that are one number under two names."""
    cell = [name for name in _CELL if name in rows]
    parts = [(str(name), part.set_index(cell)["value"]) for name, part in rows.groupby("metric", observed=True)]
    alike = {
        name: values
        for name, values in parts
        if len(values) == len(parts[0][1]) and values.index.equals(parts[0][1].index)
    }
    copied = identical_columns({name: values.to_numpy(dtype=np.float64) for name, values in alike.items()})
    if copied:
        yield f"The columns of {copied[0]} and {copied[1]} are equal throughout: one of them is not what its name says."


def _gaps(rows: pd.DataFrame) -> Iterator[str]:
    limited = (
        rows[rows["limited"].astype(object).eq(True) & rows["split"].eq("test")] if "limited" in rows else rows[:0]
    )
    if len(limited):
        cut = sorted(map(str, limited["test"].unique()))
        yield f"Cut to a limit, so that numbers are not those of the full test sets: {', '.join(cut)}."
    undefined = rows[rows["value"].isna()]
    if len(undefined):
        reasons = (
            (undefined["reason"] if "reason" in undefined else undefined["value"])
            .astype(object)
            .fillna("no reason given")
        )
        alike = reasons.astype(str).str.replace(r"\s*\([^)]*\)", "", regex=True).value_counts()
        listed = "; ".join(f"{_why(str(reason))}: {count:,}" for reason, count in alike[:_REASONS].items())
        listed += f"; {len(alike) - _REASONS} other reasons" if len(alike) > _REASONS else ""
        yield f"{len(undefined):,} of {len(rows):,} values are undefined and count in no mean ({listed})."


def _why(reason: str) -> str:
    """A reason as words: `not_resolvable:90_of_300_negatives` is "too few negatives, 90 of 300"."""
    words = reason.replace("_", " ")
    if words.startswith("not resolvable:"):
        return f"too few negatives, {words.split(':')[1].removesuffix(' negatives')}"
    return words.replace("single class:", "one class only, ")


def _of_data(run: RunFolder) -> Iterator[str]:
    data = run.manifest.get("datasets", {})
    for name, about in data.items() if isinstance(data, dict) else ():
        if isinstance(about, dict) and about.get("stand_in"):
            yield f"{name} is not the published set: {about['stand_in']}."
    if run.tables_left_out:
        yield f"Too large for this page, in the run's folder: {', '.join(run.tables_left_out)}."
