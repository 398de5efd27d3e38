"""Means over all probes: which methods and which training sets generalise, and from where to where.

Source: figures r2, r3a and r3b of "How well do truth probes generalise?" (2024). `value` is what the protocol averages
(`Study.measure`), `chance` what guessing recovers on the same cells; columns name the model, the protocol and the cells counted.
"""

from __future__ import annotations

import pandas as pd

from probeshift.errors import UsageError
from probeshift.metrics.recovered import CEILING_NOT_ABOVE_CHANCE, CEILING_NOT_CLEAR
from probeshift.summaries.counted import beside
from probeshift.summaries.resampling import mean_table, replicated_means
from probeshift.summaries.study import Study

# What a method learns from, told here because tables load without the probes themselves.
SUPERVISED = frozenset({"dim", "lda", "lda-shrunk", "lr", "lr-g", "ridge"})
GROUPED = frozenset({"ccs", "lr-g", "pca-g"})

LEARNED, CONTROL = "learned", "control"


def method_means(study: Study) -> pd.DataFrame:
    """r2: mean recovered accuracy by method, highest first, then the control on the same cells.

    Raises:
        UsageError: no cell counts.
    """
    table = _means(study, "method", study.method_order)
    return table.assign(supervised=table["name"].isin(SUPERVISED), grouped=table["name"].isin(GROUPED))


def train_means(study: Study) -> pd.DataFrame:
    """r3a: mean recovered accuracy by training set, highest first, then the control on the same cells.

    Raises:
        UsageError: no cell counts.
    """
    table = _means(study, "train", study.train_order)
    return table.assign(family=table["name"].map(families(study, "train")))


def train_test_means(study: Study) -> pd.DataFrame:
    """r3b: mean recovered accuracy by training and test set, over all learned methods at the cut layer and deeper.

    The diagonal is in it; `row_value` and its bounds are the mean over the other test sets.

    Raises:
        UsageError: no cell counts.
    """
    order = {name: place for place, name in enumerate(study.train_order)}
    cells = _not_empty(study, study.learned[study.learned["layer"] >= study.cut_layer])
    kinds = dict(zip(cells["test"], cells["n_kind"], strict=True))
    table = mean_table(study, cells, ["train", "test"])
    table = table.assign(
        n=table["n_questions"],
        n_kind=table["test"].map(kinds),
        in_distribution=table["train"] == table["test"],
        train_family=table["train"].map(families(study, "train")),
        test_family=table["test"].map(families(study, "test")),
        model=study.model,
        protocol=study.protocol,
        measure=study.measure,
        cut_layer=study.cut_layer,
        n_methods=cells["method"].nunique(),
        n_layers=cells["layer"].nunique(),
    )
    table = table.merge(row_means(study, cells, "train"), on="train", how="left")
    return table.sort_values(["train", "test"], key=lambda names: names.map(order), ignore_index=True)


def counted(study: Study) -> pd.DataFrame:
    """`study.counted`, which means are taken over.

    Raises:
        UsageError: it is empty.
    """
    return _not_empty(study, study.counted)


def _not_empty(study, cells) -> pd.DataFrame:
    if not len(cells):
        raise UsageError(
            f"no probe at layer {study.cut_layer} or deeper to average. Evaluate such layers with --layers."
        )
    return cells


def row_means(study: Study, cells: pd.DataFrame, row: str) -> pd.DataFrame:
    """Mean over the cells of each row of a matrix away from home: `row`, row_value, row_low, row_high, row_cells."""
    means = replicated_means(study, cells[~cells["in_distribution"].astype(bool)], [row])
    return means.groups.assign(row_value=means.value, row_low=means.low, row_high=means.high, row_cells=means.n_cells)


def families(study: Study, side: str) -> dict[str, str]:
    """The family of each training set (`side` "train") or test set ("test")."""
    return dict(zip(study.cells[side], study.cells[f"{side}_family"], strict=True))


def _means(study, by, order) -> pd.DataFrame:
    """One row per name in `order`, then one per control.

    `below_chance` names the sets whose ceiling is not above chance, `unclear` those whose ceiling falls to chance in some
    resample: neither is in a corrected mean.
    """
    cells = counted(study)
    parts = [mean_table(study, cells, [by]).rename(columns={by: "name"}).assign(kind=LEARNED)]
    parts[0] = parts[0].set_index("name").loc[order].reset_index()
    controls = beside(study, cells)
    if len(controls):
        parts.append(mean_table(study, controls, ["method"]).rename(columns={"method": "name"}).assign(kind=CONTROL))
    table = pd.concat([part.dropna(axis=1, how="all") for part in parts], ignore_index=True)
    by_set = mean_table(study, cells, ["test"])
    below, unclear = (
        ", ".join(by_set.loc[by_set["corrected_reason"] == why, "test"])
        for why in (CEILING_NOT_ABOVE_CHANCE, CEILING_NOT_CLEAR)
    )
    return table.reindex(columns=["kind", *parts[0].columns.drop("kind")]).assign(
        below_chance=below,
        unclear=unclear,
        n_sets=len(by_set),
        measure=study.measure,
        counted=study.counted_words,
        model=study.model,
        protocol=study.protocol,
    )
