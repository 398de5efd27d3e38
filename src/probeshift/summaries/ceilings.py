"""Ceilings and recovered accuracy: how much of the best in-distribution accuracy a probe keeps elsewhere."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd

from probeshift.metrics import recovered_accuracy
from probeshift.metrics.intervals import NO_INTERVAL, ResampleWeights, resample_weights
from probeshift.metrics.recovered import Ceiling, ratio_of_values
from probeshift.summaries.rows import CONTROLS, PROBE_COLUMNS, CellKey, Won, pick, refuse_mixed

_PARTS = {"value": "accuracy", "ci_low": "accuracy_low", "ci_high": "accuracy_high", "chance": "chance_accuracy"}
NO_CORRECTNESS = "per-question correctness is not at hand"


def ceilings(
    rows: pd.DataFrame,
    *,
    method_control: Sequence[str] = CONTROLS,
    protocol: str = "strict",
    selected_on: str = "selection",
) -> pd.DataFrame:
    """The best in-distribution probe of each test set, and its accuracy on the test split.

    The probe (any method but the controls, any layer, position and seed) is chosen by accuracy on the `selected_on`
    split. "test" chooses and judges on the same rows, as the published figures do: an optimistic ceiling, for
    comparison only. Ties go to the lower layer, then to the method first in the alphabet. One row per model and test
    set; a set that no probe was trained on has a null `value` and a `reason`.
    """
    accuracy = pick(rows, metric="accuracy", protocol=protocol)
    own = accuracy[accuracy["in_distribution"].astype(bool) & ~accuracy["method"].isin(method_control)]
    choice = own[(own["split"] == selected_on) & own["value"].notna()]
    choice = choice.sort_values(["value", "layer", "method"], ascending=[False, True, True], kind="stable")
    best = choice.drop_duplicates(["model", "test"]).rename(columns={"value": "selection_value"})
    keys = [*PROBE_COLUMNS, "test"]
    judged = best[[*keys, "selection_value"]].merge(own[own["split"] == "test"], on=keys, how="left")
    every = accuracy[["model", "test"]].drop_duplicates()
    table = every.merge(judged, on=["model", "test"], how="left").assign(selected_on=selected_on)
    none = f"no in-distribution probe on {selected_on}"
    table["reason"] = table["reason"].where(table["selection_value"].notna(), none)
    chosen = [*PROBE_COLUMNS, "test", "selection_value", "selected_on"]
    return table[[*chosen, "value", "ci_low", "ci_high", "ci_kind", "n", "n_kind", "chance", "reason"]]


def recovered(
    rows: pd.DataFrame,
    won: Won | None = None,
    *,
    layer: int | None = None,
    method: str | None = None,
    protocol: str = "strict",
    ceiling: pd.DataFrame | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Recovered accuracy of each probe on each test set, plain (`value`) and above chance (`corrected`).

    Args:
        rows: result rows; only accuracy on the test split is read.
        won: questions won by probes and ceiling candidates, of one model, seed and position. Cells it lacks have no interval,
            and `ci_reason` says so.
        layer: None keeps all layers.
        method: None keeps all methods.
        protocol: of the rows to read.
        ceiling: from `ceilings`, chosen on the selection split where intervals are wanted; computed from `rows` when None.
        n_resamples: of the paired bootstrap over questions of both splits.
        seed: of the bootstrap.

    `value`, `ci_low`, `ci_high` and `chance` are ratios to the ceiling (`chance` is what guessing recovers);
    `accuracy` with its own interval, `ceiling` and `chance_accuracy` are the parts. `clipped` is `value` within [0, 1], as published.
    """
    ceiling = ceilings(rows, protocol=protocol) if ceiling is None else ceiling
    cells = pick(rows, metric="accuracy", split="test", protocol=protocol, layer=layer, method=method)
    tops = ceiling[["model", "test", "value"]].rename(columns={"value": "ceiling"})
    cells = cells.rename(columns=_PARTS)
    table = cells.merge(tops, on=["model", "test"], how="left")
    accuracy, top, guess = (table[name].to_numpy(dtype=float) for name in ("accuracy", "ceiling", "chance_accuracy"))
    for column, prefix, floor in (("value", "", np.zeros(len(table))), ("corrected", "corrected_", guess)):
        table[column], reasons = ratio_of_values(accuracy, top, floor)
        table[[f"{prefix}low", f"{prefix}high"] if prefix else ["ci_low", "ci_high"]] = np.nan
        table[f"{prefix}reason"] = pd.Series(reasons, index=table.index, dtype=object)
        table[f"{prefix}ci_reason"] = table[f"{prefix}reason"].where(table[column].isna(), NO_CORRECTNESS)
    table["clipped"] = table["value"].clip(0.0, 1.0)
    table["chance"] = guess / np.where(top > 0, top, np.nan)
    table["metric"], table["ci_kind"] = "recovered", NO_INTERVAL
    if won is not None and won.test:
        refuse_mixed(cells, "model", "seed", "position")
        for test in ceiling.loc[ceiling["value"].notna(), "test"]:
            top = drawn_ceiling(won, test, n_resamples=n_resamples, seed=seed)
            if top is not None:
                _fill_intervals(table, won, test, top)
    return table


def drawn_ceiling(won: Won, test: str, *, n_resamples: int, seed: int) -> Ceiling | None:
    """The ceiling of a test set, as `ceilings` chooses it, in every resample.

    Candidates that are undefined on either split take no part. None where the questions that candidates won are not at hand.
    """
    own = [key for key in won.selection if key.train == key.test == test and key.method not in CONTROLS]
    own = [key for key in own if key in won.test and np.isfinite([*won.selection[key], *won.test[key]]).all()]
    own = sorted(own, key=lambda key: (key.layer, key.method))
    if not own:
        return None
    selection, judged = (np.stack([part[key] for key in own]).astype(float) for part in (won.selection, won.test))
    weights = (
        set_weights(test, split, part.shape[1], n_resamples=n_resamples, seed=seed)
        for split, part in (("selection", selection), ("test", judged))
    )
    return Ceiling.choose(selection, judged, *weights)


def set_weights(test: str, split: str, n_questions: int, *, n_resamples: int, seed: int) -> ResampleWeights:
    """How often each resample draws each question of one split of a test set: the same in every cell and every mean.

    The seed is made of `seed` and the names: sets and splits are drawn independently, whatever else is asked for.
    """
    made = np.random.SeedSequence([seed, zlib.crc32(f"{test} {split}".encode())]).generate_state(1)[0]
    return resample_weights(n_questions, n_resamples, int(made))


def _fill_intervals(table, won, test, top) -> None:
    """Write the paired bootstrap intervals of every cell of one test set whose questions are at hand."""
    part = table[(table["test"] == test) & table["value"].notna()]
    keys = [CellKey(row.method, row.train, int(row.layer), row.test) for row in part.itertuples()]
    index = [label for label, key in zip(part.index, keys, strict=True) if key in won.test]
    if not index:
        return
    correct = np.stack([won.test[key] for key in keys if key in won.test]).astype(np.float64)
    found = recovered_accuracy(correct, top, chance=float(part["chance_accuracy"].iloc[0]))
    table.loc[index, "ci_low"], table.loc[index, "ci_high"] = found.plain.low, found.plain.high
    table.loc[index, "corrected_low"], table.loc[index, "corrected_high"] = found.corrected.low, found.corrected.high
    table.loc[index, "ci_kind"] = list(found.plain.ci_kind)
    for column, ratio in (("ci_reason", found.plain), ("corrected_ci_reason", found.corrected)):
        table.loc[index, column] = pd.Series(ratio.ci_reason, index=index, dtype=object)
