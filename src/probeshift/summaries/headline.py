"""One number for a sentence or a table, with its interval, what it counts, and why it is missing where it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from probeshift.metrics.intervals import BOOTSTRAP_QUESTIONS, NO_INTERVAL
from probeshift.summaries.blocks import ALL_AGREE, NO_CELLS, Blocks, ResampledMean, bounds_of
from probeshift.summaries.study import Study

SHARED_QUESTIONS = "no interval: probes answer the same questions and are no independent trials"


@dataclass(frozen=True)
class Headline:
    """One number of one study; `n` counts `n_kind`. Where the value or its bounds are NaN, `reason` says why."""

    value: float = np.nan
    low: float = np.nan
    high: float = np.nan
    n: int = 0
    n_kind: str = "cells"
    ci_kind: str = NO_INTERVAL
    reason: str | None = None


def mean_recovered(study: Study, cells: pd.DataFrame, *, corrected: bool = False) -> Headline:
    """The mean of these cells, as the protocol averages it or above chance, with bounds from resampled questions."""
    if not len(cells):
        return Headline(reason=NO_CELLS)
    return headline(Blocks.of(study, cells, ["model"], corrected=corrected).union(np.array([True])))


def headline(mean: ResampledMean) -> Headline:
    """A resampled mean with its 95 % percentile bounds."""
    bounds = None if mean.reason else bounds_of(mean.drawn)
    if bounds is None:
        return Headline(mean.value, n=mean.n_cells, reason=mean.reason or ALL_AGREE)
    return Headline(mean.value, bounds[0], min(bounds[1], mean.most), mean.n_cells, ci_kind=BOOTSTRAP_QUESTIONS)


def share(hits: pd.Series, n_kind: str = "cells") -> Headline:
    """The share of true entries: no interval, since cells and probes share the questions they are counted on."""
    if not len(hits):
        return Headline(n_kind=n_kind, reason=NO_CELLS)
    return Headline(float(hits.mean()), n=len(hits), n_kind=n_kind, reason=SHARED_QUESTIONS)
