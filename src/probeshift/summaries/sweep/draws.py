"""Resampled AUROC of all mixtures on one test set, drawn once: differences between mixtures are paired, sets are independent."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from probeshift.metrics.differences import auroc_draws
from probeshift.metrics.intervals import TAIL, independent_pairs
from probeshift.metrics.questions import lay_out
from probeshift.metrics.ranking import auroc
from probeshift.mixture_scores import MixtureScores
from probeshift.summaries.sweep.evaluating import SetRole, SweepSets


@dataclass(frozen=True)
class SetDraws:
    """AUROC of each mixture on one set (NaN where its own training rows are among the set's) and in each resample of its rows.

    `n_pairs` is how many pairs of a positive and a negative row share no group: what bounds the p of few rows.
    """

    values: np.ndarray
    drawn: np.ndarray
    n_pairs: int

    @classmethod
    def of(cls, found: MixtureScores, role: SetRole, sets: SweepSets) -> SetDraws | None:
        """None for a set of one class."""
        rows = role.rows(found)
        labels = found.labels[rows]
        if labels.all() or not labels.any():
            return None
        scores = found.scores[:, rows]
        seed = int(np.random.SeedSequence([sets.seed, zlib.crc32(role.name.encode())]).generate_state(1)[0])
        groups = found.groups(rows)
        drawn = auroc_draws(scores, labels, groups, n_resamples=sets.n_resamples, seed=seed)
        values = auroc(scores, labels)
        trained = (found.members & rows).any(axis=1)
        values[trained], drawn[trained] = np.nan, np.nan
        return cls(values, drawn, independent_pairs(lay_out(labels, groups)))


def bounds(drawn: np.ndarray) -> list[float] | None:
    """95 % percentile bounds; None where they are not defined or all resamples are equal, which bounds nothing."""
    if not len(drawn) or np.isnan(drawn).any() or np.ptp(drawn) <= 1e-12:
        return None
    return [float(x) for x in np.quantile(drawn, [TAIL, 1 - TAIL])]


def number(value: float) -> float | None:
    """A plain number, None where it is not defined."""
    return None if np.isnan(value) else float(value)
