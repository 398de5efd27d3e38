"""How the scores of single rows are spread: histograms by class, ROC, share of true rows by score, the worst errors.

All of it for many probes on the rows of one test set at once, in sizes that do not grow with the rows. A row is called true where
its score is above 0 (the threshold that training data gave the probe is folded into the score).

Sources: Fawcett 2006 (ROC); Clopper and Pearson 1934 (bounds of the shares).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from probeshift.arrays import Labels, Scores
from probeshift.metrics.intervals import clopper_pearson

N_BINS = 24
N_RATES = 41
N_PARTS = 10
N_WORST = 6

Ends = Float[np.ndarray, "probe 2"]
Counts = Int[np.ndarray, "probe bin"]
Rates = Float[np.ndarray, "probe rate"]
Parts = Float[np.ndarray, "probe part"]
PartRows = Int[np.ndarray, "probe part"]
RowNumbers = Int[np.ndarray, "probe place"]


@dataclass(frozen=True)
class ScoreShapes:
    """Per probe: `ends` of the histogram [low, high] and the rows in its equal bins by class; `caught`, the highest share of true
    rows called true while at most 0, 1/40, ... 1 of the false rows are; `part_*`, ten equal parts of the rows from lowest score to
    highest: mean score, share of true rows with 95 % bounds, rows (NaN and 0 beyond the rows there are); `worst` numbers the rows
    furthest on the wrong side of 0, worst first, -1 where there are no more.
    """

    ends: Ends
    true_rows: Counts
    false_rows: Counts
    caught: Rates
    part_score: Parts
    part_share: Parts
    part_low: Parts
    part_high: Parts
    part_rows: PartRows
    worst: RowNumbers


def score_shapes(scores: Scores, labels: Labels) -> ScoreShapes:
    """The shapes of `scores` [probe, row] against true and false rows. Every score must be finite."""
    ends = np.stack([scores.min(axis=1), scores.max(axis=1)], axis=1)
    parts = _parts(scores, labels)
    return ScoreShapes(
        ends=ends,
        true_rows=_histogram(scores[:, labels], ends),
        false_rows=_histogram(scores[:, ~labels], ends),
        caught=_caught(scores, labels),
        worst=_worst(scores, labels),
        **parts,
    )


def _histogram(scores: Scores, ends: Ends) -> Counts:
    width = np.where(ends[:, 1] > ends[:, 0], ends[:, 1] - ends[:, 0], 1.0)
    bins = np.minimum(((scores - ends[:, :1]) / width[:, None] * N_BINS).astype(np.int64), N_BINS - 1)
    flat = bins + N_BINS * np.arange(len(scores))[:, None]
    return np.bincount(flat.ravel(), minlength=N_BINS * len(scores)).reshape(len(scores), N_BINS)


def _caught(scores: Scores, labels: Labels) -> Rates:
    """With one class only there is no curve: NaN."""
    n_true, n_false = int(labels.sum()), int((~labels).sum())
    if not n_true or not n_false:
        return np.full((len(scores), N_RATES), np.nan)
    falls = -np.sort(-scores[:, ~labels], axis=1)
    allowed = np.floor(np.arange(N_RATES) * n_false / (N_RATES - 1) + 1e-9).astype(int)
    # With k false rows allowed, what is called true lies above the false row of rank k + 1; with all allowed, everything is.
    limits = np.concatenate([falls, np.full((len(scores), 1), -np.inf)], axis=1)[:, allowed]
    rises = np.sort(scores[:, labels], axis=1)
    above = [n_true - np.searchsorted(row, limit, side="right") for row, limit in zip(rises, limits, strict=True)]
    return np.array(above) / n_true


def _parts(scores: Scores, labels: Labels) -> dict[str, np.ndarray]:
    order = np.argsort(scores, axis=1, kind="stable")
    ranked, truth = np.take_along_axis(scores, order, axis=1), labels[order]
    edges = np.linspace(0, scores.shape[1], min(N_PARTS, scores.shape[1]) + 1).astype(int)
    pieces = list(pairwise(edges))
    rows = np.array([[stop - start for start, stop in pieces]] * len(scores))
    hits = np.stack([truth[:, start:stop].sum(axis=1) for start, stop in pieces], axis=1)
    low, high = clopper_pearson(hits.astype(np.float64).ravel(), rows.astype(np.float64).ravel())
    means = np.stack([ranked[:, start:stop].mean(axis=1) for start, stop in pieces], axis=1)
    shares = {"score": means, "share": hits / rows, "low": low.reshape(hits.shape), "high": high.reshape(hits.shape)}
    missing = ((0, 0), (0, N_PARTS - len(pieces)))
    padded = {f"part_{name}": np.pad(values, missing, constant_values=np.nan) for name, values in shares.items()}
    return {**padded, "part_rows": np.pad(rows, missing)}


def _worst(scores: Scores, labels: Labels) -> RowNumbers:
    wrongness = np.where(labels, -scores, scores)
    order = np.argsort(-wrongness, axis=1, kind="stable")[:, :N_WORST]
    worst = np.where(np.take_along_axis(wrongness, order, axis=1) > 0, order, -1)
    return np.pad(worst, ((0, 0), (0, N_WORST - worst.shape[1])), constant_values=-1)
