"""What a transfer study shows, in plain sentences made from its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from probeshift.report.tables import Table

AT = {"test": "strength chosen on selection prompts", "equal side effect": "strength of equal side effect"}
REASONS = {
    "native_gain_not_above_zero": "the interval of the native gain contains 0",
    "too_few_units": "fewer than five concepts",
    "all_units_equal": "all concepts have the same value",
    "non_finite_values": "a score is missing",
    "denominator_not_clear_of_zero": "some resamples have no native gain",
}
_EXAMPLE_WIDTH = 220
_NAMED = 6  # vectors, where many could be


def sentences(read: dict[str, Any]) -> Iterator[str]:
    """The reading, a sentence each."""
    settings, maps = read["settings"], read["maps"]
    for row in maps[maps["reason"].isna() & (maps["method"] != "shuffled")].itertuples():
        told = "no centre, so none" if pd.isna(row.r_squared) else f"{row.r_squared:.3f}"
        yield (
            f"map {row.method}: layer {row.source_layer:.0f} to {row.target_layer:.0f} ({row.layer_choice}), {row.n_train:,.0f} pairs by "
            f"{row.pairing}, held-out variance explained by {row.r_squared_of} {told}."
        )
    for name, why in read["not_made"].items():
        yield f"{name}: n/a, {why}."
    yield from _units(read["units"])
    if "texts" in read:
        yield from _worth(read, settings)
        yield from _unreached(read)
        yield from _judge(read)


def _units(units: pd.DataFrame) -> Iterator[str]:
    by_hand = units[units["rule"] != "maximal activation"]
    for rule, part in by_hand.groupby("rule"):
        yield f"{len(part)} of {len(units)} vectors have no maximal activation above 0; their unit is the {rule}: {_some(part)}."


def _worth(read: dict[str, Any], settings: dict[str, Any]) -> Iterator[str]:
    table = read["conditions"][read["conditions"]["at"] == "test"].set_index("condition")
    native = table.loc["native"]
    yield f"native vectors: {read['score']} {native['score']:.2f}, a gain of {_interval(native, 'gain')} over the model as it is."
    for name in (m for m in settings["methods"] if m in table.index):
        row = table.loc[name]
        if pd.isna(row["recovery"]):
            yield f"{name}: recovery n/a, {REASONS.get(row['recovery_reason'], row['recovery_reason'])}."
            continue
        kept = row["keeps_share"]
        verdict = "not tested" if kept is None or pd.isna(kept) else "shown" if kept else "not shown"
        yield (
            f"{name}: recovers {_interval(row, 'recovery')} of the native gain; keeping {settings['kept_share']:.0%} of it is {verdict}; "
            f"{row['harmed']:.0%} of concepts harmed."
        )
    if table["left_out"].iloc[0]:
        yield f"left out for want of a score: {table['left_out'].iloc[0]}."
    n = int(table["n_concepts"].iloc[0])
    if n < 50:
        yield f"{n} concepts are a smoke test: intervals are wide, and nothing can be said of concepts in general."


def _unreached(read: dict[str, Any]) -> Iterator[str]:
    """Vectors without a strength of equal side effect, and the concepts that this takes out of that table."""
    strengths, table = read["strengths"], read["conditions"]
    without = strengths[(strengths["at"] == "equal side effect") & strengths["strength"].isna()]
    if not len(without):
        return
    left_out = table.loc[table["at"] == "equal side effect", "left_out"]
    told = f"; left out of that table: {left_out.iloc[0]}" if len(left_out) and left_out.iloc[0] else ""
    first = without["reason"].iloc[0]
    why = first if without["reason"].nunique() == 1 else f"the first: {first}"
    n = int((strengths["at"] == "equal side effect").sum())
    yield f"{len(without)} of {n} vectors are without a strength of equal side effect ({why}): {_some(without)}{told}."


def _some(vectors: pd.DataFrame) -> str:
    """Names of a few vectors, and how many more there are."""
    names = sorted({f"{row.condition} {row.concept}" for row in vectors.itertuples()})
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _interval(row: pd.Series, name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    if pd.isna(low):
        return f"{row[name]:.2f} (no interval: {REASONS.get(row[f'{name}_reason'], row[f'{name}_reason'])})"
    return f"{row[name]:.2f} [{low:.2f}, {high:.2f}]"


def _judge(read: dict[str, Any]) -> Iterator[str]:
    judge = read["judge"]
    if judge.get("judge"):
        yield f"judge {judge['judge']}, measured: {judge['quality']}."
        yield from (f"judge: {line}." for line in judge["usage"])


def markdown(read: dict[str, Any], tables: Sequence[Table], notes: Sequence[str], pictures: Sequence[str]) -> str:
    """The report as a page of text."""
    settings, split = read["settings"], read["split"]
    parts = [
        f"# Steering vectors of {settings['source']} in {settings['target']}",
        f"Evaluated: {', '.join(split['evaluated'])}. The mean vector is that of: {', '.join(split['fit']) or 'none'}. "
        f"{len(split['prompts']['selection'])} prompts to choose strengths on, {len(split['prompts']['test'])} others to score on.",
        "\n".join(f"- {note}" for note in notes),
        *(_table(table) for table in tables),
        "p: sign flips over concepts, two-sided; Holm over the compared methods. Recovery: (carried − none) / (native − none), a ratio of "
        "sums over concepts. Perplexity: median text under the unsteered model, its prompt left out. Intervals: 95 % over concepts.",
        *(f"![{name.removesuffix('.png')}]({name})" for name in pictures),
    ]
    if "texts" in read:
        parts += ["## Native vectors, first selection prompt", *_examples(read["texts"])]
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    title, columns, rows = table
    lines = [columns, ["---"] * len(columns), *rows]
    return f"## {title}\n\n" + "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def _examples(texts: pd.DataFrame) -> Iterator[str]:
    """For each concept the first prompt at every strength."""
    shown = texts[(texts["split"] == "selection") & texts["condition"].isin(["none", "native"])]
    first = shown["prompt"].iloc[0]
    for concept, part in shown[shown["prompt"] == first].groupby("concept", sort=False):
        lines = [
            f"| {'unsteered' if pd.isna(row.strength) else f'{row.strength:g}'} | {_cell(row.text)} | {_cost(row)} |"
            for row in part.sort_values("strength", na_position="first").itertuples()
        ]
        yield f"**{concept}** — {first}\n\n| strength | text | KL, perplexity |\n|---|---|---|\n" + "\n".join(lines)


def _cell(text: str) -> str:
    flat = " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
    return flat[:_EXAMPLE_WIDTH] + ("…" if len(flat) > _EXAMPLE_WIDTH else "")


def _cost(row: Any) -> str:
    import math

    if pd.isna(row.nll):
        return "-"
    return f"{'-' if pd.isna(row.kl) else f'{row.kl:.2f}'}, {math.exp(row.nll):.1f}"
