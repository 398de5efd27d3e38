"""Tables of a study, from its rows: what each condition is worth over concepts, and strength curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from probeshift.experiments.transfer.conditions import NATIVE, NONE, PROMPTED, RANDOM, Condition
from probeshift.experiments.transfer.settings import TransferSettings
from probeshift.experiments.transfer.writing import EQUAL_KL, SELECTION, TEST
from probeshift.metrics.units import Estimate, holm, mean_estimate

if TYPE_CHECKING:
    from probeshift.steering.maps.transfer_map import TransferMap

# At equal side effect, where no strength of the native vectors has it.
NO_NATIVE = "no_native_texts"
_MEANS = (
    "strict",
    "loose",
    "useful",
    "useful_loose",
    "judge_concept",
    "instruction",
    "fluency",
    "overall",
    "kl",
    "nll",
    "repetition",
)
_CLOSE = (
    "cosine",
    "cosine_specific",
    "cosine_halves",
    "cosine_specific_halves",
    "split_half_cosine",
    "split_half_cosine_specific",
)


def analyse(tables: Mapping[str, pd.DataFrame], settings: TransferSettings) -> dict[str, pd.DataFrame]:
    """`closeness` by condition; with texts also `conditions` (scores, gains, recovery) and `curves`.

    Without texts `conditions` is the table of closeness, so that there is one table to show in either case.
    """
    close = closeness_table(tables["cosines"], tables["detection"], seed=settings.seed)
    if "texts" not in tables:
        return {"closeness": close, "conditions": close}
    texts = tables["texts"]
    parts = [score_table(texts, at, settings) for at in (TEST, EQUAL_KL) if (texts["split"] == at).any()]
    return {
        "closeness": close,
        "conditions": pd.concat(parts, ignore_index=True),
        "concepts": concept_table(texts, settings.scored_by),
        "curves": curve_table(texts, settings.scored_by),
    }


def closeness_table(cosines: pd.DataFrame, detection: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """By condition: mean cosines over concepts, over the split-half ceiling, retrieval, AUROC with its interval, and n."""
    rows = []
    for name, part in cosines.groupby("condition", sort=False):
        own = part.groupby("concept")
        row: dict[str, Any] = {"condition": name, "n_concepts": own.ngroups, "n_draws": part["seed"].nunique()}
        row |= {column: part[column].astype(float).mean() for column in _CLOSE if column in part}
        for kind in ("cosine", "cosine_specific"):
            row[f"{kind}_over_ceiling"] = _ratio(row.get(f"{kind}_halves"), row.get(f"split_half_{kind}"))
        row |= {"top1": float((part["rank"] == 1).mean()), "mean_reciprocal_rank": float((1 / part["rank"]).mean())}
        aurocs = detection[detection["condition"] == name].groupby("concept")["auroc"].mean()
        row |= _bounds("auroc", mean_estimate(aurocs.to_numpy(float), seed=seed))
        rows.append(row)
    return pd.DataFrame(rows)


def _ratio(top: float | None, ceiling: float | None) -> float:
    """Undefined where it was not measured, or where two halves of the data do not agree at all."""
    if top is None or ceiling is None or not ceiling > 0:
        return float("nan")
    return top / ceiling


def score_table(texts: pd.DataFrame, at: str, settings: TransferSettings) -> pd.DataFrame:
    """One row per condition at one choice of strength: score, gain over none and over random, recovery, harm, costs.

    The tests of the compared methods are one family each (against none, against random), adjusted by Holm; those of
    other conditions are not adjusted and are there to look at.
    """
    from probeshift.steering.effects import align, concept_means

    base = (texts["split"] == TEST) & texts["condition"].isin([NONE, PROMPTED])
    shown = texts[(texts["split"] == at) | base]
    groups = dict(list(shown.groupby("condition", sort=False)))
    scores = {
        name: concept_means(part[settings.scored_by].to_numpy(float), list(part["concept"]))
        for name, part in groups.items()
    }
    arrays, kept, left_out = align(scores)
    rows = [
        {"at": at, "condition": name, "n_concepts": len(kept), "left_out": ", ".join(left_out), "n_texts": len(part),
         **_worth(name, arrays, settings), **_means(part[part["concept"].isin(kept)])}
        for name, part in groups.items()
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    family = table["condition"].isin(settings.methods)
    for name in ("p_none", "p_random"):
        table[f"{name}_holm"] = np.nan
        table.loc[family, f"{name}_holm"] = holm(table.loc[family, name].tolist())
    return table


def _worth(name: str, arrays: Mapping[str, np.ndarray], settings: TransferSettings) -> dict[str, Any]:
    from probeshift.steering.effects import compare, non_inferiority, recovery

    mine, seed = arrays[name], settings.seed
    row: dict[str, Any] = _bounds("score", mean_estimate(mine, seed=seed))
    if name == NONE:
        return row
    against = compare(mine, arrays[NONE], seed=seed)
    row |= _bounds("gain", against.difference) | {"p_none": against.p}
    row |= {"improved": against.improved.value, "harmed": against.harmed.value}
    row["p_random"] = (
        compare(mine, arrays[RANDOM], seed=seed).p if RANDOM in arrays and name != RANDOM else float("nan")
    )
    if name == NATIVE:
        return row
    if NATIVE not in arrays:
        nothing = Estimate(np.nan, np.nan, np.nan, len(mine), reason=NO_NATIVE)
        return row | _bounds("recovery", nothing) | {"keeps_share": None, "keeps_share_reason": NO_NATIVE}
    found = recovery(transfer=mine, none=arrays[NONE], native=arrays[NATIVE], seed=seed)
    kept = non_inferiority(
        transfer=mine, none=arrays[NONE], native=arrays[NATIVE], kept_share=settings.kept_share, seed=seed
    )
    return row | _bounds("recovery", found) | {"keeps_share": kept.shown, "keeps_share_reason": kept.reason}


def _means(part: pd.DataFrame) -> dict[str, float]:
    """Means over texts; perplexity is that of the median text, since a few broken ones rule a mean."""
    found = {name: float(part[name].astype(float).mean()) for name in _MEANS if name in part}
    if "nll" in part:
        found["perplexity"] = float(np.exp(part["nll"].astype(float).median()))
    return found


def concept_table(texts: pd.DataFrame, score: str) -> pd.DataFrame:
    """Mean test score of each concept under each condition."""
    shown = texts[texts["split"] != SELECTION]
    keys = ["split", "condition", "concept"]
    return shown.groupby(keys, sort=False).agg(score=(score, "mean"), n=(score, "count")).reset_index()


def curve_table(texts: pd.DataFrame, score: str) -> pd.DataFrame:
    """By condition and strength on selection prompts: mean score over concepts, perplexity and KL where they were measured.

    Strength 0 is the model as it is.
    """
    shown = texts[texts["split"] == SELECTION].copy()
    shown["strength"] = shown["strength"].fillna(0.0)
    groups = shown.groupby(["condition", "strength"], sort=True)
    table = groups.agg(score=(score, "mean"), n=(score, "count"), kl=("kl", "mean"), nll=("nll", "median"))
    table["perplexity"] = np.exp(table["nll"])
    spread = shown.groupby(["condition", "strength", "concept"])[score].mean().groupby(["condition", "strength"])
    table["lowest_concept"], table["highest_concept"] = spread.min(), spread.max()
    return table.reset_index()


def strength_row(key: tuple[str, int, str], at: str, found: Mapping[str, Any]) -> dict[str, Any]:
    """One chosen strength, with the reason where there is none."""
    condition, seed, concept = key
    told = {"kl_on_unsteered_text": found.get("kl"), "reason": found.get("reason")}
    return {"at": at, "condition": condition, "seed": seed, "concept": concept, "strength": found["strength"], **told}


def map_rows(fitted: Mapping[str, Sequence[TransferMap]], missing: Mapping[str, str]) -> pd.DataFrame:
    """One row per map: layers, how they were found, pairs, held-out explained variance, choices; or why there is none."""
    rows: list[dict[str, Any]] = []
    for method, maps in fitted.items():
        for one in maps:
            card = one.card
            rows.append(
                {"method": method, "seed": card.seed, "source_layer": card.source_layer, "target_layer": card.target_layer,
                 "layer_choice": card.layer_choice, "pairing": card.pairing, "n_train": card.n_train, "n_heldout": card.n_heldout,
                 "r_squared": card.r_squared,
                 "r_squared_of": "its linear part" if one.residual else "the map", "choices": str(dict(card.choices)), "reason": None}
            )  # fmt: skip
    return pd.DataFrame([*rows, *({"method": m, "reason": why} for m, why in missing.items())])


def unit_rows(conditions: Sequence[Condition]) -> pd.DataFrame:
    """What strength 1 is for each vector, and by which rule."""
    from probeshift.steering.units import unit_rule

    return pd.DataFrame(
        {
            "condition": one.name,
            "seed": one.seed,
            "concept": c,
            "unit": v.max_activation,
            "rule": unit_rule(v),
            "layer": v.layer,
        }
        for one in conditions
        for c, v in one.vectors.items()
    )


def _bounds(name: str, found: Estimate) -> dict[str, Any]:
    reason = {f"{name}_reason": found.reason or found.ci_reason}
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high, **reason}
