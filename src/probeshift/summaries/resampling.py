"""Means of recovered accuracy over many cells, and what they would have been with other questions from the same test sets.

A resample draws the questions of every test set anew: one draw per set, shared by all its probes and by its ceiling probe, and
independent between sets. The ceiling probe is chosen anew on selection questions drawn anew. Each cell is recomputed against
that ceiling, then the cells of a group are averaged. So what shared questions and a narrow choice do to many cells at once
stays in the interval. Sets, probes and training seeds are not resampled.

Source: Davison and Hinkley 1997, ch. 3.2 (several samples, each resampled within itself).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from probeshift.errors import UsageError
from probeshift.metrics.intervals import TAIL, percentile
from probeshift.metrics.questions import probe_chunks
from probeshift.metrics.recovered import CEILING_NOT_CLEAR, Ceiling, centred
from probeshift.metrics.undefined import Reasons
from probeshift.summaries.ceilings import NO_CORRECTNESS
from probeshift.summaries.rows import CellKey
from probeshift.summaries.study import Study

PerMean = Float[np.ndarray, " mean"]
Counts = Int[np.ndarray, " mean"]
Replicated = Float[np.ndarray, "mean resample"]


@dataclass(frozen=True)
class Replicates:
    """The mean of each group of cells: `value` on the questions as they are, `replicates` in each resample of them.

    Row i of `groups` labels mean i. Resample r draws the same questions in every mean of a study, also between calls:
    differences of replicates are paired. Undefined cells are in no mean and counted in `n_undefined`. Where a mean is NaN,
    `reason` says why; where its replicates (a whole row) and its 95 % bounds are, `ci_reason` does.
    """

    groups: pd.DataFrame
    value: PerMean
    replicates: Replicated
    low: PerMean
    high: PerMean
    n_cells: Counts
    n_undefined: Counts
    reason: Reasons
    ci_reason: Reasons


def mean_table(study: Study, cells: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Mean recovered accuracy of each group of cells with 95 % bounds: `value`, as the protocol averages it, and `corrected`.

    Args:
        study: the measure that is averaged, and the questions each probe won.
        cells: rows of `study.cells`.
        by: columns whose values make a group; they come first in the table, groups in order of appearance.

    `chance` is what guessing recovers on the same cells. `n_cells` and `n_undefined` count cells, `n_corrected` those with a
    corrected value; `n_questions` are the questions of the test sets in the mean (rows of sets without questions).

    Raises:
        UsageError: there are no cells.
    """
    plain, corrected = replicated_means(study, cells, by), replicated_means(study, cells, by, corrected=True)
    number, defined = _numbers(cells, by), cells[study.measure].notna()
    sets = cells.assign(number=number)[defined.to_numpy()].drop_duplicates(["number", "test"])
    chance = cells["chance"].clip(0.0, 1.0) if study.published else cells["chance"]
    return plain.groups.assign(
        value=plain.value,
        ci_low=plain.low,
        ci_high=plain.high,
        corrected=corrected.value,
        corrected_low=corrected.low,
        corrected_high=corrected.high,
        chance=chance.where(defined).groupby(number).mean().to_numpy(),
        n_cells=plain.n_cells,
        n_undefined=plain.n_undefined,
        n_corrected=corrected.n_cells,
        n_questions=np.bincount(sets["number"], sets["n"], minlength=len(plain.groups)).astype(int),
        reason=pd.Series(plain.reason, dtype=object),
        ci_reason=pd.Series(plain.ci_reason, dtype=object),
        corrected_reason=pd.Series(corrected.reason, dtype=object),
        corrected_ci_reason=pd.Series(corrected.ci_reason, dtype=object),
    )


def replicated_means(study: Study, cells: pd.DataFrame, by: Sequence[str], *, corrected: bool = False) -> Replicates:
    """Means of recovered accuracy by group and their replicates; `corrected` averages the values above chance, never clipped.

    Corrected means leave out sets whose ceiling some resample puts at or below chance: dividing by what may be nothing, one
    such set would decide the mean. A group has no replicates where a cell lacks its questions.

    Raises:
        UsageError: there are no cells.
    """
    if not len(cells):
        raise UsageError("there are no cells to average. Evaluate more layers, methods or datasets.")
    measure = "corrected" if corrected else study.measure
    groups, number = cells[list(by)].drop_duplicates(ignore_index=True), _numbers(cells, by)
    defined = cells[measure].notna().to_numpy(dtype=bool)
    undefined = cells["corrected_reason" if corrected else "reason"].to_numpy()
    if corrected:
        vague = defined & cells["test"].isin(_sets_with_vague_ceilings(study, cells)).to_numpy()
        undefined, defined = np.where(vague, CEILING_NOT_CLEAR, undefined), defined & ~vague
    kept, of = cells[defined], number[defined]
    n_cells = np.bincount(of, minlength=len(groups))
    reason = _first(undefined, number, only=n_cells == 0)
    sums, blocked = _resampled_sums(study, kept, of, shape=(len(groups), study.n_resamples), corrected=corrected)
    ci_reason = tuple(why or first for why, first in zip(reason, _first(blocked, of, only=n_cells > 0), strict=True))
    sums[[why is not None for why in ci_reason]] = np.nan
    with np.errstate(invalid="ignore"):
        value = np.bincount(of, kept[measure], minlength=len(groups)) / n_cells
    replicates = sums / np.maximum(n_cells, 1)[:, None]
    edges = _edges(kept, of, n_cells, corrected)
    low, high = _bounds(centred(value, replicates), *edges, highest=1.0 if measure == "clipped" else np.inf)
    n_undefined = np.bincount(number, minlength=len(groups)) - n_cells
    return Replicates(groups, value, replicates, low, high, n_cells, n_undefined, reason, ci_reason)


def _sets_with_vague_ceilings(study, cells) -> list[str]:
    """Test sets whose ceiling is at or below chance in some resample, of those whose questions are at hand."""
    chances = cells.drop_duplicates("test").set_index("test")["chance_accuracy"]
    tops = {test: study.drawn_ceiling(test) for test in chances.index}
    return [test for test, top in tops.items() if top is not None and (top.drawn <= chances[test]).any()]


def _resampled_sums(study, cells, number, *, shape, corrected):
    """Recovered accuracy summed over the cells of each group in each resample, and why a cell could not take part."""
    sums = np.zeros(shape)
    correct = study.won.test
    tops = {test: study.drawn_ceiling(test) for test in cells["test"].unique()}
    keys = [CellKey(*key) for key in zip(*(cells[name] for name in CellKey._fields), strict=True)]
    at_hand = np.array([key in correct and tops[key.test] is not None for key in keys], dtype=bool)
    blocked = np.where(at_hand, None, NO_CORRECTNESS)
    for test, rows in cells.groupby("test", sort=True).indices.items():
        rows = rows[at_hand[rows]]
        if not len(rows):
            continue
        top, floor = tops[test], float(cells["chance_accuracy"].iloc[rows[0]]) if corrected else 0.0
        if (top.drawn <= floor).any():
            blocked[rows] = CEILING_NOT_CLEAR
            continue
        rows = rows[np.argsort(number[rows], kind="stable")]
        for chunk in probe_chunks(len(rows), max(top.weights.shape)):
            won = np.stack([correct[keys[row]] for row in rows[chunk]])
            _add(sums, number[rows[chunk]], won, top, floor, clipped=study.published and not corrected)
    return sums, blocked


def _add(sums, number, won, top, floor, *, clipped) -> None:
    """Add the cells of one test set; `number` ascends. Clipping comes before the sum over cells, so it needs every cell."""
    groups, starts, n_cells = np.unique(number, return_index=True, return_counts=True)
    if clipped:
        cells = np.clip(_recovered(won, np.ones(len(won)), top, floor), 0.0, 1.0)
        sums[groups] += np.add.reduceat(cells, starts, axis=0)
    else:
        sums[groups] += _recovered(np.add.reduceat(won, starts, axis=0), n_cells, top, floor)


def _recovered(won, n_cells, top: Ceiling, floor) -> np.ndarray:
    """Recovered accuracy summed over `n_cells` cells that together won `won` [sum, question]: [sum, resample]."""
    return (won @ top.weights.T / won.shape[1] - n_cells[:, None] * floor) / (top.drawn - floor)


def _edges(cells, number, n_cells, corrected):
    """By group: how far a bound reaches where all resamples agree (see `metrics.recovered`), and the least possible mean."""
    floor = cells["chance_accuracy"].to_numpy(dtype=float) if corrected else 0.0
    span = cells["ceiling"].to_numpy(dtype=float) - floor
    reach = (1.0 - TAIL ** (1.0 / cells["n"].to_numpy(dtype=float))) / span
    sums = (np.bincount(number, part, minlength=len(n_cells)) for part in (reach, -floor / span))
    return tuple(part / np.maximum(n_cells, 1) for part in sums)


def _bounds(replicates, reach, least, *, highest):
    low, high = np.full((2, len(replicates)), np.nan)
    known = np.isfinite(replicates).all(axis=1)
    if known.any():
        found = percentile(replicates[known])
        slack = np.where(found.degenerate, reach[known], 0.0)
        low[known] = np.maximum(found.low - slack, least[known])
        high[known] = np.minimum(found.high + slack, highest)
    return low, high


def _numbers(cells, by) -> np.ndarray:
    return cells.groupby(list(by), sort=False, dropna=False).ngroup().to_numpy()


def _first(reasons, number, *, only) -> Reasons:
    """The first reason in each group of cells, for the groups in `only`."""
    found: list[str | None] = [None] * len(only)
    for group, reason in zip(number, reasons, strict=True):
        found[group] = found[group] or (reason if only[group] else None)
    return tuple(found)
