"""What surrounds the best probe: other methods, other training sets and other layers, all else held.

Source: figures r1a, r1b and r1c of "How well do truth probes generalise?" (2024), whose best probe was typed in. Cells are single
probes with the intervals of `recovered`; columns are test sets, the set the best probe was trained on left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from probeshift.summaries.ceilings import recovered
from probeshift.summaries.generalisation import counted, families, row_means
from probeshift.summaries.rows import CONTROLS, pick
from probeshift.summaries.study import Study

NO_PROBE = "no such probe was trained"


def methods_beside_best(study: Study) -> pd.DataFrame:
    """r1a: one row per method and test set, at the training set and layer of the best probe.

    Raises:
        UsageError: no cell counts.
    """
    counted(study)
    return _beside_best(study, "method", study.method_order, train=study.best.train, layer=study.best.layer)


def trains_beside_best(study: Study) -> pd.DataFrame:
    """r1b: one row per training set and test set, at the method and layer of the best probe.

    A training set that lacks a cell is left out as published; otherwise it stays, and `reason` says what is missing.

    Raises:
        UsageError: no cell counts.
    """
    counted(study)
    table = _beside_best(study, "train", study.train_order, method=study.best.method, layer=study.best.layer)
    whole = table["value"].notna().groupby(table["train"]).transform("all")
    return table[whole].reset_index(drop=True) if study.published else table


def layers_beside_best(study: Study) -> pd.DataFrame:
    """r1c: one row per layer and test set, at the method and training set of the best probe.

    Raises:
        UsageError: no cell counts.
    """
    counted(study)
    layers = sorted(study.learned["layer"].unique().tolist())
    return _beside_best(study, "layer", layers, method=study.best.method, train=study.best.train)


def _beside_best(study: Study, row: str, order: Sequence[Any], **held: Any) -> pd.DataFrame:
    best = study.best
    tests = [name for name in study.train_order if name != best.train]
    cells = _with_intervals(study, **held)
    cells = cells[cells["test"].isin(tests)]
    every = pd.MultiIndex.from_product([order, tests], names=[row, "test"])
    table = _as_measured(cells, study).set_index([row, "test"]).reindex(every).reset_index().assign(**held)
    table["reason"] = table["reason"].where(table["model"].notna(), NO_PROBE)
    table = table.assign(
        in_distribution=table["train"] == table["test"],
        train_family=table["train"].map(families(study, "train")),
        test_family=table["test"].map(families(study, "test")),
        model=study.model,
        protocol=study.protocol,
        metric="recovered",
        measure=study.measure,
        best_method=best.method,
        best_train=best.train,
        best_layer=best.layer,
        best_score=best.score,
    )
    return table.merge(row_means(study, cells, row), on=row, how="left")


def _with_intervals(study, *, layer=None, method=None, train=None) -> pd.DataFrame:
    drawn = {"n_resamples": study.n_resamples, "seed": study.seed}
    shown = {"layer": layer, "method": method, "protocol": study.protocol, "ceiling": study.ceilings}
    table = recovered(pick(study.rows, train=train), study.won, **shown, **drawn)
    return table[~table["method"].isin(CONTROLS)]


def _as_measured(table, study) -> pd.DataFrame:
    """`value` as the protocol shows it; bounds and chance held within the same range."""
    if not study.published:
        return table
    return table.assign(**{name: table[name].clip(0.0, 1.0) for name in ("value", "ci_low", "ci_high", "chance")})
