"""What a run asked and what came out, in plain sentences made from its saved numbers, for a reader who knows none of its words.

Every number in them is a saved one, with its interval and n where it has one; verdicts are those of the intervals.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pandas as pd

from probeshift.layers import EMBEDDINGS
from probeshift.report.html.overview import MATRIX
from probeshift.report.html.run_folder import RunFolder

TITLES = {
    "dataset": "Another dataset", "mixture": "Another training mixture", "position": "Another layer and token",
    "model": "Another model", "steering": "The vector put to use", "": "The run",
}  # fmt: skip
ASKED = {
    "dataset": "A direction that tells true from false statements was found on one dataset. Does it do so on another?",
    "mixture": "A probe was trained on a mixture of sources that grows. Do sources it has not seen gain from it?",
    "position": "The model was asked questions as in a chat. At which layer, and at which token behind the question, can the answer "
    "be read before the model writes?",
    "model": "A vector was made in one model and carried to another by a map fitted on plain text. Is it still the same vector there?",
    "steering": "A vector was added to the model's activations while it wrote. Does it write as asked, at what cost, and does a "
    "random vector do the same?",
    "": "",
}
_COIN = 0.5  # AUROC of guessing
_METRICS = {
    "auroc": "AUROC", "accuracy": "accuracy by question", "accuracy_row": "accuracy", "spearman": "Spearman correlation", "r2": "R²",
}  # fmt: skip


def introduction(run: RunFolder) -> list[str]:
    """The sentences on what came out; none for a run of another kind, or one that lacks the tables for it."""
    told = _TELLERS.get(run.kind)
    return list(told(run)) if told else []


def _datasets(run: RunFolder) -> Iterator[str]:
    """From the saved matrix of one method at one layer."""
    table = run.tables.get(MATRIX)
    if table is None or not len(table):
        return
    first, known = table.iloc[0], table[table["value"].notna()]
    home, away = known[known["train"].eq(known["test"])], known[known["train"].ne(known["test"])]
    yield (
        f"With the method `{first['method']}` at layer {first['layer']} of {first['model']}, a layer chosen without looking at test "
        "rows. AUROC is the chance that a true statement scores above a false one; 0.5 is guessing."
    )
    yield f"At home, on other statements of the set it was found on, the direction works on {_n_above(home)} of {len(home)} sets."
    above, below = _n_above(away), int((away["ci_high"] < away["chance"]).sum())
    yield (
        f"On another set it still works in {above} of {len(away)} pairs, points the wrong way in {below}, and cannot be told from guessing "
        f"in {len(away) - above - below} (whole 95 % interval above 0.5, below it, or around it)."
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


def _mixtures(run: RunFolder) -> Iterator[str]:
    """Each set at the first and the last step, then what the sweep itself concludes of its gains."""
    found = json.loads((run.folder / "comparison.json").read_text(encoding="utf-8"))
    first, last = found["step_values"][0], found["step_values"][-1]
    yield (
        f"One logistic probe; its training data began with {' + '.join(first['training_data'])} and grew by one source a step, in this "
        f"order: {', '.join(last['training_data'])}. Tried on held-out rows of each."
    )
    ends = [(name, first["evaluation"].get(name), value) for name, value in last["evaluation"].items()]
    moved = [f"{name} {_ranked(old)} to {_ranked(new)}" for name, old, new in ends if old and _both(old, new)]
    if moved:
        yield f"AUROC from the first mixture to the last: {'; '.join(moved)}."
    gained = [
        _gained(found, name, gain["step"]) for name, gain in found["first_gain"].items() if gain["step"] is not None
    ]
    n_tested = sum(bool(gain["n_tested"]) for gain in found["first_gain"].values())
    yield f"A single step has a gain that can be told from noise on {len(gained)} of {n_tested} sets{_named(gained)}."
    left = [row for row in found["leave_one_out"] if row.get("auroc") is not None]
    if left:
        above = [row["left_out"] for row in left if row["ci"] and row["ci"][0] > _COIN]
        yield (
            "The hard test: trained on all sources but one and tried on that one, on rows about things that no training row is about. "
            f"The probe is above guessing on {len(above)} of {len(left)} sources{_named(above)}."
        )


def _gained(found: Mapping[str, Any], name: str, step: int) -> str:
    at = next(values for values in found["step_values"] if values["step"] == step)
    return f"{name}, whose own rows were in training then" if at["evaluation"][name]["source_trained_on"] else name


def _both(*values: Mapping[str, Any]) -> bool:
    return all(value["auroc"] is not None and value["auroc_ci"] for value in values)


def _ranked(value: Mapping[str, Any]) -> str:
    return f"{value['auroc']:.2f} [{value['auroc_ci'][0]:.2f}, {value['auroc_ci'][1]:.2f}]"


def _named(names: list[str]) -> str:
    return f" ({'; '.join(names)})" if names else ""


def _positions(run: RunFolder) -> Iterator[str]:
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
    yield (
        f"{str(best.get('selected_by', 'The run')).capitalize()} chose `{place}` at `{best['position']}` out of {len(cells)} layers and "
        f"tokens. On {best['n']:.0f} test {best['n_kind']} that chose nothing its {named} is {best['value']:.2f} [{best['ci_low']:.2f}, "
        f"{best['ci_high']:.2f}]; {best['chance']:g} is guessing."
    )
    controls = rows[_is_true(rows, "control") & rows["metric"].eq(best["metric"]) & rows["value"].notna()]
    listed = "; ".join(
        f"{_words(row.method)} {row.value:.2f} [{row.ci_low:.2f}, {row.ci_high:.2f}]" for row in controls.itertuples()
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
            f"`{_words(row.method)}` lies below guessing. In balanced data that is no finding: what is more often true among training rows "
            "is more often false among the rest. Compare the probe with 0.5 here, not with this control."
        )


def _words(name: object) -> str:
    return str(name).replace("_", " ")


def _models(run: RunFolder) -> Iterator[str]:
    close = run.tables["closeness"].set_index("condition")
    maps = run.tables.get("maps", pd.DataFrame(columns=["method"]))
    made = [name for name in close.index if name in set(maps["method"]) and name != "shuffled"]
    settings = run.manifest.get("settings", {})
    n, ceiling = int(close["n_concepts"].iloc[0]), close["split_half_cosine"].iloc[0]
    yield (
        f"Vectors of {n} concepts, from {settings.get('source', 'one model')} to {settings.get('target', 'another')}. Cosine with the "
        f"target's own vector (1 is the same direction): {_listed(close, [*made, 'random', 'shuffled'], _cosine)}. Two halves of the "
        f"target's own data give vectors with a cosine of {ceiling:.2f}."
    )
    yield (
        "Does the vector find texts that show its concept? AUROC, mean over concepts: "
        f"{_listed(close, ['native', *made, 'random'], _auroc)}."
    )
    yield from _recovered(run.tables.get("conditions"), made)
    if any(entry.get("rotation_seed") is not None for entry in settings.get("models", ())):
        yield (
            "The target is a copy of the source in another basis, so the right answer is known: linear and Procrustes maps must find it, "
            "and carrying the vector over as it is (identity) must fail. This tests the method; it says nothing about two different models."
        )


def _listed(table: pd.DataFrame, names: list[str], told: Callable[[pd.Series], str]) -> str:
    return ", ".join(f"{name} {told(table.loc[name])}" for name in names if name in table.index)


def _cosine(row: pd.Series) -> str:
    return "undefined" if pd.isna(row["cosine"]) else f"{row['cosine']:.2f}"


def _auroc(row: pd.Series) -> str:
    bounds = "" if pd.isna(row["auroc_low"]) else f" [{row['auroc_low']:.2f}, {row['auroc_high']:.2f}]"
    return f"{row['auroc']:.2f}{bounds}"


def _recovered(table: pd.DataFrame | None, made: list[str]) -> Iterator[str]:
    if table is None or "score" not in table:
        return
    test = table[table["at"].eq("test")].set_index("condition")
    for name in (name for name in made if name in test.index):
        row = test.loc[name]
        if pd.isna(row["recovery"]):
            yield f"Steering by {name}: what it keeps of the native gain is undefined ({_words(row['recovery_reason'])})."
        else:
            bounds = f"[{row['recovery_low']:.2f}, {row['recovery_high']:.2f}]"
            yield f"Steering by {name} keeps {row['recovery']:.2f} {bounds} of the native gain."


def _steering(run: RunFolder) -> Iterator[str]:
    curves, texts = run.tables["curves"], run.tables.get("texts")
    rule = "" if texts is None or "concept" not in texts else f" the rule `{texts['concept'].iloc[0]}`"
    if "score_low" not in curves:
        return
    plain = curves[curves["strength"].eq(0)].iloc[0]
    yield f"Of the model's texts as it is {_share(plain)} follow{rule}, in a text worth reading."
    for name, part in curves[curves["strength"].gt(0)].groupby("condition", sort=False):
        best = part.loc[part["score"].idxmax()]
        yield f"Vector `{name}`, best of {len(part)} strengths ({best['strength']:g}): {_share(best)}, at {best['kl']:.2f} nats a token."
    carried = curves[curves["same_as_native"].notna() & curves["strength"].gt(0)]
    for name, part in carried[carried["condition"].ne("native")].groupby("condition", sort=False):
        same, n = part["same_as_native"].sum(), part["n"].sum()
        yield f"{same:.0f} of {n:.0f} texts of `{name}` are those of the native vector, word for word."
    yield "The best strength was picked on these very texts, so its share flatters, for the random vector as for the others."


def _share(row: pd.Series) -> str:
    return f"{row['score'] * row['n']:.0f} of {row['n']:.0f} [{row['score_low']:.0%}, {row['score_high']:.0%}]"


_TELLERS: dict[str, Callable[[RunFolder], Iterator[str]]] = {
    "dataset": _datasets, "mixture": _mixtures, "position": _positions, "model": _models, "steering": _steering,
}  # fmt: skip


def told(run: RunFolder) -> dict[str, Any]:
    """Kind, title, question and sentences of a run, for the page."""
    return {"kind": run.kind, "title": TITLES[run.kind], "asked": ASKED[run.kind], "found": introduction(run)}
