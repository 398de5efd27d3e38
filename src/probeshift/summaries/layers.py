"""Metrics by layer, and the layer chosen at home."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from probeshift.errors import UsageError
from probeshift.summaries.rows import CONTROLS, listed, pick, refuse_mixed

_CURVE_COLUMNS = ("value", "ci_low", "ci_high", "chance", "n_cells", "n_undefined")


@dataclass(frozen=True)
class LayerChoice:
    """The layer with the highest mean. `used` says which cells were averaged, `by_layer` holds all means."""

    layer: int
    value: float
    used: str
    by_layer: pd.DataFrame


def best_layer(
    rows: pd.DataFrame,
    *,
    metric: str = "auroc",
    split: str = "selection",
    protocol: str = "strict",
    method_control: Sequence[str] = CONTROLS,
) -> LayerChoice:
    """The layer with the highest mean in-distribution AUROC, over all methods but the controls; ties go low.

    A layer is chosen at home, before anybody looks whether the direction holds elsewhere. AUROC counts every pair of rows and
    no threshold, so it is the steadier guide, and the same for sets with and without questions. Where no probe was trained
    on an evaluated set, the other cells are averaged instead; `used` says so.

    Raises:
        UsageError: the metric is not defined on `split` (imported results have a test split only), or several models or
            positions are mixed.
    """
    cells = pick(rows, metric=metric, split=split, protocol=protocol)
    cells = cells[~cells["method"].isin(method_control) & cells["value"].notna()]
    refuse_mixed(cells, "model", "position")
    own = cells[cells["in_distribution"].astype(bool)]
    used = f"{metric} of {'in-distribution' if len(own) else 'off-diagonal'} cells, {split} split"
    table = (own if len(own) else cells).groupby("layer")["value"].agg(value="mean", n_cells="count").reset_index()
    if not len(table):
        raise UsageError(
            f"no {protocol} {metric} on the {split} split to choose a layer by. "
            f"Splits present: {listed(rows['split'])}. Pass split= one of them, or name the layer."
        )
    best = table.loc[table["value"].idxmax()]
    return LayerChoice(int(best["layer"]), float(best["value"]), used, table)


def by_layer(
    rows: pd.DataFrame,
    metric: str,
    method: str,
    *,
    protocol: str = "strict",
    control: str = CONTROLS[0],
    split: str = "test",
) -> pd.DataFrame:
    """The metric by layer in distribution, out of distribution, and out of distribution for the control: a layer curve.

    The interval is for the mean over these very sets: questions are resampled, sets are not. Half widths of one test
    set are averaged as if its probes erred together, those of different test sets add as independent errors.
    """
    cells = pick(rows, metric=metric, split=split, protocol=protocol)
    refuse_mixed(cells, "model", "position")
    own = cells["in_distribution"].astype(bool)
    series = {
        "in-distribution": cells[own & (cells["method"] == method)],
        "out-of-distribution mean": cells[~own & (cells["method"] == method)],
        f"control ({control}), out-of-distribution mean": cells[~own & (cells["method"] == control)],
    }
    shown = {"metric": metric, "method": method, "protocol": protocol}
    records = [
        {"series": name, "layer": int(layer), **shown, **_mean_of_sets(part)}
        for name, chosen in series.items()
        for layer, part in chosen.groupby("layer")
    ]
    return pd.DataFrame(records, columns=["series", "layer", *shown, *_CURVE_COLUMNS])


def _mean_of_sets(part) -> dict[str, Any]:
    defined = part[part["value"].notna()]
    half = ((defined["ci_high"] - defined["ci_low"]) / 2.0).astype(float)
    # A cell without an interval leaves the mean without one: its error is unknown, not zero.
    sums = half.groupby(defined["test"]).sum(min_count=1) if half.notna().all() else pd.Series([np.nan])
    reach = float(np.sqrt((sums**2).sum(skipna=False))) / max(1, len(defined))
    value = defined["value"].mean()
    return {
        "value": value,
        "ci_low": value - reach,
        "ci_high": value + reach,
        "chance": defined["chance"].mean(),
        "n_cells": len(defined),
        "n_undefined": len(part) - len(defined),
    }
