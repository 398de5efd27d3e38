"""Directions that point the wrong way away from home: what the published procedure folds above chance and strict shows."""

from __future__ import annotations

import pandas as pd

from probeshift.errors import UsageError
from probeshift.summaries.counted import CELL
from probeshift.summaries.rows import pick
from probeshift.summaries.study import Study

_INVERTED = [
    "method", "train", "test", "layer", "metric", "value", "ci_low", "ci_high", "ci_kind", "chance", "n", "n_kind", "related",
    "model", "protocol",
]  # fmt: skip
_COUNTED = ["method", "n_inverted", "n_cells", "share"]


def anti_generalising(study: Study) -> pd.DataFrame:
    """The inverted directions: a row per cell and metric whose whole 95 % interval lies below chance; the furthest below first.

    Cells on the test split of other sets than the probe's own, from `cut_layer` on, controls included. `metric` is "auroc", or
    "accuracy" by question; row accuracy below chance may be a misplaced threshold, so it is no sign of an inverted direction.

    Raises:
        UsageError: the study is a published one, which turns such directions.
    """
    ranked = _ranked(study)
    found = ranked[ranked["ci_high"] < ranked["chance"]]
    furthest = (found["ci_high"] - found["chance"]).sort_values(kind="stable").index
    return found.loc[furthest, _INVERTED].reset_index(drop=True)


def anti_generalising_counts(study: Study) -> pd.DataFrame:
    """By method: how many cells are inverted by `anti_generalising`, by either metric, of how many that have an interval.

    Cells share questions, so `share` has no interval. Random directions are inverted on some sets too: compare with the control.

    Raises:
        UsageError: the study is a published one, which turns such directions.
    """
    ranked = _ranked(study)
    cells = (
        (ranked["ci_high"] < ranked["chance"]).groupby([ranked[name] for name in ("method", *CELL)], sort=False).any()
    )
    rows = [
        {"method": method, "n_inverted": int(hits.sum()), "n_cells": len(hits), "share": float(hits.mean())}
        for method, hits in cells.groupby("method", sort=False)
    ]
    return pd.DataFrame(rows, columns=_COUNTED).assign(
        model=study.model, protocol=study.protocol, cut_layer=study.cut_layer
    )


def _ranked(study: Study) -> pd.DataFrame:
    """The cells whose interval can tell the direction: AUROC, and accuracy where questions rank."""
    if study.published:
        raise UsageError(
            "the published procedure turns inverted directions on the evaluation labels, so none can be seen. "
            "Evaluate with --protocol strict."
        )
    rows = study.rows[
        study.rows["metric"].eq("auroc") | (study.rows["metric"].eq("accuracy") & study.rows["n_kind"].eq("questions"))
    ]
    rows = pick(rows, split="test", protocol=study.protocol)
    return rows[(rows["layer"] >= study.cut_layer) & ~rows["in_distribution"].astype(bool) & rows["ci_high"].notna()]
