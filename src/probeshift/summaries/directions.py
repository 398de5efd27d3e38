"""From and to: how well probes of a dataset hold elsewhere, how well others hold on it, and which datasets belong together.

Sources: figures r3c and r3d of "How well do truth probes generalise?" (2024); Sokal and Michener 1958 (average linkage);
Felsenstein 1985 (support of a cluster).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from probeshift.errors import UsageError
from probeshift.metrics.intervals import percentile
from probeshift.summaries.blocks import ALL_AGREE, Blocks
from probeshift.summaries.generalisation import counted, families
from probeshift.summaries.matrix_means import matrix_of, own_cells
from probeshift.summaries.protocols import away_and_deep
from probeshift.summaries.resampling import mean_table
from probeshift.summaries.rows import listed
from probeshift.summaries.study import Study


def from_and_to(study: Study) -> pd.DataFrame:
    """r3c: one row per training set: mean recovered accuracy of its probes elsewhere, and of the probes evaluated on it.

    Columns `from_*` and `to_*` hold bounds, cells, questions, what guessing recovers and, where a mean or its bounds are NaN,
    the reason. Sorted by `generalizes_from`, highest first.

    Raises:
        UsageError: no cell counts, or no dataset has both numbers.
    """
    cells = counted(study)
    sides = [
        _side(mean_table(study, cells, [column]), column, side) for column, side in (("train", "from"), ("test", "to"))
    ]
    table = sides[0].join(sides[1], how="outer").rename_axis("dataset").reset_index()
    if not table[["generalizes_from", "generalizes_to"]].notna().all(axis=1).any():
        raise UsageError(
            "no dataset was both trained and evaluated on in a counted cell. Evaluate more datasets or layers."
        )
    table = table.sort_values(["generalizes_from", "dataset"], ascending=[False, True], ignore_index=True)
    return _stamped(table, study, study.counted_words)


def _side(means: pd.DataFrame, column: str, side: str) -> pd.DataFrame:
    names = {
        "value": f"generalizes_{side}", "ci_low": f"{side}_low", "ci_high": f"{side}_high", "n_cells": f"{side}_cells",
        "n_questions": f"{side}_questions", "chance": f"{side}_chance", "reason": f"{side}_reason",
        "ci_reason": f"{side}_ci_reason",
    }  # fmt: skip
    return means.set_index(column)[list(names)].rename(columns=names)


def distances(matrix: pd.DataFrame) -> pd.DataFrame:
    """1 - the mean of recovered accuracy there and back, 0 on the diagonal; `matrix` has train sets as rows.

    The diagonal of `matrix` is not read. Recovered accuracy above 1 gives a negative distance, which stands.

    Raises:
        UsageError: fewer than two sets are both rows and columns, or a pair of them has an undefined cell.
    """
    both = [name for name in matrix.index if name in matrix.columns]
    if len(both) < 2:
        raise UsageError(
            "clustering needs two datasets that were both trained and evaluated on. Name more with --datasets."
        )
    square = matrix.loc[both, both].astype(float)
    apart = (1.0 - (square + square.T) / 2.0).mask(own_cells(square), 0.0)
    undefined = apart.isna().sum(axis=1)
    if undefined.any():
        worst = apart.index[undefined == undefined.max()]
        raise UsageError(
            f"recovered accuracy between {listed(worst)} and others is undefined. Leave it out of --datasets."
        )
    return apart


def merges(apart: pd.DataFrame) -> pd.DataFrame:
    """The steps of average linkage over `distances`, nearest first.

    Datasets are the nodes 0, 1, ... in the order of the table, each merge is the next node. `left` and `right` are the nodes
    joined, `height` is the mean distance between their datasets, `members` a tuple of all datasets below.
    """
    joined, below = _joined(apart.to_numpy())
    steps = pd.DataFrame(joined[:, :3], columns=["left", "right", "height"]).astype({"left": int, "right": int})
    return steps.assign(members=[tuple(apart.index[list(leaves)]) for leaves in below[len(apart) :]])


def clustering(study: Study) -> pd.DataFrame:
    """r3d: the tree of datasets: a row per dataset, then a row per merge, in the order of nodes (see `merges`).

    The matrix is that of r3b: recovered accuracy at the cut layer and deeper, over all learned methods. `ci_low` and `ci_high`
    bound the height of this very merge when questions are resampled; `support` is the share of resamples in which the same
    datasets form a cluster; `n_cells` counts the probes' cells behind a height. Where they are NaN, `ci_reason` says why.

    Raises:
        UsageError: no cell counts, fewer than two datasets were trained and evaluated on, or a pair of them is undefined.
    """
    counted(study)
    means = Blocks.of(study, away_and_deep(study), ["train", "test"])
    apart = distances(matrix_of(means.groups.assign(value=means.value)))
    steps = merges(apart)
    leaves = pd.DataFrame({"dataset": apart.index, "members": [(name,) for name in apart.index]})
    table = pd.concat([leaves, steps.join(_certainty(means, apart))], ignore_index=True)
    table = table.rename_axis("node").reset_index().assign(n_datasets=table["members"].map(len))
    table["members"] = table["members"].map(" + ".join)
    return _stamped(table, study, f"layers {study.cut_layer} and deeper, all learned methods, own cells left out")


def _joined(apart: np.ndarray) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """Scipy's linkage of a square of distances, and the leaves below each node."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    joined = linkage(squareform(apart), "average")
    below: list[tuple[int, ...]] = [(leaf,) for leaf in range(len(apart))]
    for left, right in joined[:, :2].astype(int):
        below.append(below[left] + below[right])
    return joined, below


def _certainty(means: Blocks, apart: pd.DataFrame) -> pd.DataFrame:
    """Bounds, support and cells of each merge. An average height is the mean of all distances between the two sides."""
    joined, below = _joined(apart.to_numpy())
    blocks = [np.ix_(below[left], below[right]) for left, right in joined[:, :2].astype(int)]
    n_cells = _both_ways(means, apart, means.n_cells)
    table = pd.DataFrame({"n_cells": [int(n_cells[block].sum()) for block in blocks]})
    drawn = 1.0 - _both_ways(means, apart, means.drawn) / 2.0
    drawn[np.diag_indices(len(apart))] = 0.0
    if not np.isfinite(drawn).all():
        why = next(reason for reason in means.reasons if reason)
        return table.assign(ci_low=np.nan, ci_high=np.nan, support=np.nan, ci_reason=why)
    found = percentile(np.stack([drawn[block].mean(axis=(0, 1)) for block in blocks]))
    clusters = [frozenset(leaves) for leaves in below[len(apart) :]]
    again = [set(map(frozenset, _joined(drawn[:, :, r])[1])) for r in range(drawn.shape[2])]
    return table.assign(
        ci_low=np.where(found.degenerate, np.nan, found.low),
        ci_high=np.where(found.degenerate, np.nan, found.high),
        support=[np.mean([cluster in tree for tree in again]) for cluster in clusters],
        ci_reason=[ALL_AGREE if agree else None for agree in found.degenerate],
    )


def _both_ways(means: Blocks, apart: pd.DataFrame, values: np.ndarray) -> np.ndarray:
    """Values of the groups (train, test) as a square of the datasets, summed with its transpose."""
    at = [apart.index.get_indexer(means.groups[side]) for side in ("train", "test")]
    known = (at[0] >= 0) & (at[1] >= 0)
    square = np.zeros((len(apart), len(apart), *values.shape[1:]))
    square[at[0][known], at[1][known]] = values[known]
    return square + np.swapaxes(square, 0, 1)


def _stamped(table, study, words) -> pd.DataFrame:
    stamp = {"model": study.model, "protocol": study.protocol, "counted": words}
    return table.assign(family=table["dataset"].map(families(study, "test")), **stamp)
