"""What came out where vectors were carried to another model, or added to the activations of one that writes, in sentences."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd

from probeshift.report.html.run_folder import RunFolder
from probeshift.report.html.sentences_of_probes import words


def of_models(run: RunFolder) -> Iterator[str]:
    """Cosines, detection, and what carried vectors keep of the native gain."""
    close = run.tables["closeness"].set_index("condition")
    maps = run.tables.get("maps", pd.DataFrame(columns=["method"]))
    made = [name for name in close.index if name in set(maps["method"]) and name != "shuffled"]
    settings = run.manifest.get("settings", {})
    n, ceiling = int(close["n_concepts"].iloc[0]), close["split_half_cosine"].iloc[0]
    yield (
        f"Vectors of {n} concepts, from {settings.get('source', 'one model')} to {settings.get('target', 'another')}. Cosine with the "
        f"target's own vector (1 is the same direction): {_listed(close, [*made, 'random', 'shuffled'], _cosine)}."
    )
    yield f"Two halves of the target's own data give vectors with a cosine of {ceiling:.2f}."
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
            yield f"Steering by {name}: what it keeps of the native gain is undefined ({words(row['recovery_reason'])})."
        else:
            bounds = f"[{row['recovery_low']:.2f}, {row['recovery_high']:.2f}]"
            yield f"Steering by {name} keeps {row['recovery']:.2f} {bounds} of the native gain."


def of_steering(run: RunFolder) -> Iterator[str]:
    """Shares of texts that follow, by vector, with their cost."""
    curves, texts = run.tables["curves"], run.tables.get("texts")
    rule = "" if texts is None or "concept" not in texts else f" the rule `{texts['concept'].iloc[0]}`"
    if "score_low" not in curves:
        yield from _costs(curves)
        return
    plain, steered = curves[curves["strength"].eq(0)].iloc[0], curves[curves["strength"].gt(0)]
    best = [part.loc[part["score"].idxmax()] for _, part in steered.groupby("condition", sort=False)]
    shares = ", ".join(f"`{row['condition']}` {_share(row)}" for row in best)
    yield f"Texts worth reading that follow{rule}, at the best strength of each vector: {shares}; without a vector {_share(plain)}."
    for row in best:
        yield f"Vector `{row['condition']}`, best strength {row['strength']:g}: {row['kl']:.2f} nats a token from the unsteered model."
    carried = curves[curves["same_as_native"].notna() & curves["strength"].gt(0)]
    for name, part in carried[carried["condition"].ne("native")].groupby("condition", sort=False):
        same, n = part["same_as_native"].sum(), part["n"].sum()
        yield f"{same:.0f} of {n:.0f} texts of `{name}` are those of the native vector, word for word."
    yield "The best strength was picked on these very texts, so its share flatters, for the random vector as for the others."


def _costs(curves: pd.DataFrame) -> Iterator[str]:
    """What each strength costs, where nobody scored the texts."""
    for name, part in curves[curves["kl"].gt(0)].groupby("condition", sort=False):
        costs = ", ".join(f"{row.kl:.2f} at strength {row.strength:g}" for row in part.itertuples())
        yield f"Vector `{name}` moves the predictions away from the unsteered model's by so many nats a token (KL): {costs}."


def _share(row: pd.Series) -> str:
    return f"{row['score'] * row['n']:.0f} of {row['n']:.0f} [{row['score_low']:.0%}, {row['score_high']:.0%}]"
