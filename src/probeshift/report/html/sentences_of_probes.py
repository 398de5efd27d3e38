"""What came out where probes were moved to other datasets, mixtures, layers and tokens, in sentences."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from probeshift.layers import EMBEDDINGS
from probeshift.report.html.overview import MATRIX
from probeshift.report.html.run_folder import RunFolder
from probeshift.report.sweep.tables import EXACT, exact_note

_COIN = 0.5  # AUROC of guessing
_METRICS = {
    "auroc": "AUROC", "accuracy": "accuracy by question", "accuracy_row": "accuracy", "spearman": "Spearman correlation", "r2": "R²",
}  # fmt: skip


def of_datasets(run: RunFolder) -> Iterator[str]:
    """From the saved matrix of one method at one layer."""
    table = run.tables.get(MATRIX)
    if table is None or not len(table):
        return
    first, known = table.iloc[0], table[table["value"].notna()]
    home, away = known[known["train"].eq(known["test"])], known[known["train"].ne(known["test"])]
    above, below = _n_above(away), int((away["ci_high"] < away["chance"]).sum())
    yield (
        f"On another set the direction still works in {above} of {len(away)} pairs, points the wrong way in {below}, and cannot be "
        f"told from guessing in {len(away) - above - below} (whole 95 % interval above 0.5, below it, or around it)."
    )
    yield f"At home, on other statements of the set it was found on, the direction works on {_n_above(home)} of {len(home)} sets."
    yield (
        f"With the method `{first['method']}` at layer {first['layer']} of {first['model']}, a layer chosen without looking at test "
        "rows. AUROC is the chance that a true statement scores above a false one; 0.5 is guessing."
    )
    listed = [*run.manifest.get("datasets", {}), *away["train"].unique()]
    for train in (name for name in dict.fromkeys(listed) if name in set(away["train"])):
        yield f"Found on `{train}`: {_far_ends(away[away['train'].eq(train)])}."


def _n_above(cells: pd.DataFrame) -> int:
    return int((cells["ci_low"] > cells["chance"]).sum())


def _far_ends(own: pd.DataFrame) -> str:
    best, worst = own.loc[own["value"].idxmax()], own.loc[own["value"].idxmin()]
    if best["test"] == worst["test"]:
        return f"{_value(best)} on `{best['test']}`"
    return f"best on `{best['test']}`, {_value(best)}; worst on `{worst['test']}`, {_value(worst)}"


def _value(row: pd.Series) -> str:
    return f"{row['value']:.2f} [{row['ci_low']:.2f}, {row['ci_high']:.2f}], {row['n']:.0f} {row['n_kind']}"


def of_mixtures(run: RunFolder) -> Iterator[str]:
    """What must be said before any claim, sources left out or else gains, then each set at the first and the last step."""
    found = json.loads((run.folder / "comparison.json").read_text(encoding="utf-8"))
    first, last = found["step_values"][0], found["step_values"][-1]
    claims = [*_left_out(found), _gains(found)]
    caveats = [f"Before any claim: {sentence}" for sentence in found["conclusions"].get("first", ())]
    yield " ".join([*caveats, claims[0]])
    yield (
        f"One logistic probe; its training data began with {' + '.join(first['training_data'])} and grew by one source a step, in this "
        f"order: {', '.join(last['training_data'])}. Tried on held-out rows of each."
    )
    ends = [(name, first["evaluation"].get(name), value) for name, value in last["evaluation"].items()]
    moved = [f"{name} {_ranked(old)} to {_ranked(new)}" for name, old, new in ends if old and _both(old, new)]
    if moved:
        yield f"AUROC from the first mixture to the last: {'; '.join(moved)}{exact_note(moved)}."
    yield from claims[1:]


def _gains(found: Mapping[str, Any]) -> str:
    gained = [
        _gained(found, name, gain["step"]) for name, gain in found["first_gain"].items() if gain["step"] is not None
    ]
    n_tested = sum(bool(gain["n_tested"]) for gain in found["first_gain"].values())
    return f"A single step has a gain that can be told from noise on {len(gained)} of {n_tested} sets{_named(gained)}."


def _left_out(found: Mapping[str, Any]) -> Iterator[str]:
    """The hard test, where the sweep made it."""
    left = [row for row in found["leave_one_out"] if row.get("auroc") is not None]
    if left:
        bounds = {
            row["left_out"]: row.get("auroc_ci") or row.get("ci") for row in left
        }  # `ci`: of sweeps compared before
        above = [name for name, ci in bounds.items() if ci and ci[0] > _COIN]
        yield (
            "Trained on all sources but one and tried on that one, on rows about things that no training row is about, the probe is "
            f"above guessing on {len(above)} of {len(left)} sources{_named(above)}."
        )


def _gained(found: Mapping[str, Any], name: str, step: int) -> str:
    at = next(values for values in found["step_values"] if values["step"] == step)
    return f"{name}, whose own rows were in training then" if at["evaluation"][name]["source_trained_on"] else name


def _both(*values: Mapping[str, Any]) -> bool:
    return all(value["auroc"] is not None and value["auroc_ci"] for value in values)


def _ranked(value: Mapping[str, Any]) -> str:
    mark = EXACT * str(value.get("auroc_ci_kind")).startswith("degenerate")
    return f"{value['auroc']:.2f} [{value['auroc_ci'][0]:.2f}, {value['auroc_ci'][1]:.2f}]{mark}"


def _named(names: list[str]) -> str:
    return f" ({'; '.join(names)})" if names else ""


def of_positions(run: RunFolder) -> Iterator[str]:
    """The chosen cell, what learned less, and where nothing can be read."""
    rows = run.results
    test = rows[rows["split"].eq("test") & _is_true(rows, "selected") & rows["value"].notna()]
    if not len(test):
        return
    best = test.iloc[0]
    cells = rows[rows["split"].eq("cv") & rows["metric"].eq(best["metric"]) & rows["layer"].notna()]
    named, place = (
        _METRICS.get(str(best["metric"]), str(best["metric"])),
        best.get("layer_name", f"layer {best['layer']}"),
    )
    apart = "" if str(best.get("selected_by", "")).startswith("test scores") else " that chose nothing"
    yield (
        f"{str(best.get('selected_by', 'The run')).capitalize()} chose `{place}` at `{best['position']}` out of {len(cells)} layers and "
        f"tokens. On {best['n']:.0f} test {best['n_kind']}{apart} its {named} is {best['value']:.2f} [{best['ci_low']:.2f}, "
        f"{best['ci_high']:.2f}]; {best['chance']:g} is guessing."
    )
    controls = rows[_is_true(rows, "control") & rows["metric"].eq(best["metric"]) & rows["value"].notna()]
    listed = "; ".join(
        f"{words(row.method)} {row.value:.2f} [{row.ci_low:.2f}, {row.ci_high:.2f}]" for row in controls.itertuples()
    )
    if listed:
        yield f"What learned less, on the same rows: {listed}."
    yield from _wrong_way(controls)
    yield from _empty_places(cells)


def _is_true(rows: pd.DataFrame, column: str) -> pd.Series:
    return rows[column].astype(object).eq(True) if column in rows else pd.Series(False, index=rows.index)


def _empty_places(cells: pd.DataFrame) -> Iterator[str]:
    undefined = cells[cells["value"].isna() & cells["layer"].eq(EMBEDDINGS)]
    if len(undefined):
        yield (
            f"At {len(undefined)} places (the embeddings) there is nothing to read, and the value is undefined, as it must be: a token "
            "that is the same in every prompt has the same embedding in every prompt."
        )


def _wrong_way(controls: pd.DataFrame) -> Iterator[str]:
    for row in controls[controls["ci_high"] < controls["chance"]].itertuples():
        yield (
            f"`{words(row.method)}` lies below guessing. That is no finding: in balanced data what is more often true among training rows "
            f"is more often false among the rest. Compare the probe with {row.chance:g} here, not with this control."
        )


def words(name: object) -> str:
    """A name of a file as words."""
    return str(name).replace("_", " ")
