"""Two runs, cell by cell: what changed, and whether it is more than noise.

The bounds of a difference come from the two saved intervals (MOVER: Zou and Donner 2008), with the correlation of both runs'
correctness where both saved which of the same questions they won, without it (as if independent) elsewhere. Where the questions
are at hand the verdict is an exact two-sided sign test on the questions only one run won (McNemar 1947), corrected over all such
cells (Benjamini and Hochberg 1995); elsewhere it is whether the bounds leave 0 out, one cell at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd

from probeshift.arrays import Correct, PerProbe
from probeshift.summaries.paired import discovery_rates
from probeshift.summaries.rows import pick

KEY = ["method", "train", "test", "layer", "position", "metric", "protocol"]
_IF_SEVERAL = ("model", "seed")  # runs of one model or seed each are matched across them
LEVEL = 0.05
BEYOND, WITHIN, EQUAL, OPEN = "beyond noise", "within noise", "equal", "not decided"
PAIRED, UNPAIRED = "same questions, sign test, corrected over cells", "saved intervals, each cell alone"

Correctness = Mapping[tuple[str, str, int, str], np.ndarray]


def changes(
    before: pd.DataFrame,
    after: pd.DataFrame,
    correct: tuple[Correctness, Correctness] | None = None,
    same_questions: Callable[[str], bool] = lambda test: False,
) -> pd.DataFrame:
    """One row per cell that both runs measured on their test splits: both values, `difference` (after - before), its bounds,
    `p` and `q` where tested on questions, `basis` of the verdict and the `verdict`.

    `correct` are both runs' questions won (`ResultFolder.correct`), used for accuracy on tests that `same_questions` names.
    """
    both_have = [name for name in (*KEY, *_IF_SEVERAL) if name in before and name in after]
    key = [n for n in both_have if n in KEY or max(before[n].nunique(), after[n].nunique()) > 1]
    kept = [*key, "value", "ci_low", "ci_high", "n"]
    sides = [_plain(pick(rows, split="test")[kept].drop_duplicates(key), key) for rows in (before, after)]
    both = sides[0].merge(sides[1], on=key, suffixes=("_before", "_after"))
    return judged(both, {"test": correct} if correct is not None else {}, same_questions)


def judged(
    both: pd.DataFrame,
    correct: Mapping[str, tuple[Correctness, Correctness]],
    same_questions: Callable[[str], bool],
) -> pd.DataFrame:
    """Cells that both runs have, with `difference`, bounds, `p`, `q`, `basis` and `verdict`: the rule of every comparison of runs.

    `both` has `value_before`, `value_after` and the saved bounds `ci_low_before` ... `ci_high_after`. `correct` are both runs' questions
    won, by split; without a column `split` all cells are of the test split.
    """
    both = both.assign(difference=both["value_after"] - both["value_before"], p=np.nan, correlation=0.0)
    for split, won in correct.items():
        of_split = both["split"].eq(split) if "split" in both else pd.Series(True, index=both.index)
        _compare_questions(both, of_split, won, same_questions)
    both["ci_low"], both["ci_high"] = _bounds(both)
    both["q"] = discovery_rates(both["p"])
    both["basis"] = np.where(both["p"].notna(), PAIRED, UNPAIRED)
    return both.assign(verdict=_verdicts(both)).drop(columns="correlation")


def same_questions(before: Mapping[str, Any], after: Mapping[str, Any]) -> Callable[[str], bool]:
    """Whether two runs, by their manifests, asked a test set the same questions: same content, same splits, same limit."""

    def of(manifest: Mapping[str, Any], test: str) -> tuple[Any, ...] | None:
        data = manifest.get("datasets", {}).get(test)
        limit = manifest.get("settings", {}).get("data", {}).get("eval_limit")
        return (data["content_hash"], data.get("split_rule"), data.get("split_by"), limit) if data else None

    return lambda test: (known := of(before, test)) is not None and known == of(after, test)


def _plain(rows: pd.DataFrame, key: list[str]) -> pd.DataFrame:
    """Categories as the words they stand for: two runs number theirs differently."""
    return rows.astype({name: object for name in key if rows[name].dtype == "category"})


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """How many cells of each metric got which verdict, and on what basis."""
    found = table.groupby(["metric", "basis", "verdict"], sort=True).size()
    return found.rename("cells").reset_index()


def _compare_questions(both, rows, correct, same_questions) -> None:
    """Fill `p` and `correlation` of the accuracies among `rows` that both runs have the same questions of, a test set at a time."""
    accuracy = both[rows & both["metric"].eq("accuracy")]
    for test, part in accuracy.groupby("test", observed=True):
        if not same_questions(str(test)):
            continue
        cells = zip(part["method"], part["train"], part["layer"].astype(int), strict=True)
        found = [[side.get((*cell, test)) for side in correct] for cell in cells]
        usable = [
            at for at, (old, new) in enumerate(found) if old is not None and new is not None and len(old) == len(new)
        ]
        if usable:
            old, new = (np.stack([found[at][side] for at in usable]) for side in (0, 1))
            known = ~np.isnan(old.sum(axis=1) + new.sum(axis=1))
            labels = part.index[np.array(usable)[known]]
            both.loc[labels, "p"] = sign_test(old[known], new[known])
            both.loc[labels, "correlation"] = _correlation(old[known], new[known])


def sign_test(old: Correct, new: Correct) -> PerProbe:
    """Two-sided exact p per cell [cell, question] that as many questions were gained as lost; 1 where none changed."""
    from scipy.stats import binom

    gained, lost = (new > old).sum(axis=1), (new < old).sum(axis=1)
    return np.minimum(1.0, 2 * binom.cdf(np.minimum(gained, lost), gained + lost, 0.5))


def _correlation(old: Correct, new: Correct) -> PerProbe:
    spread = old.std(axis=1) * new.std(axis=1)
    shared = ((old - old.mean(axis=1, keepdims=True)) * (new - new.mean(axis=1, keepdims=True))).mean(axis=1)
    return np.divide(shared, spread, out=np.zeros(len(old)), where=spread > 0)


def _bounds(both: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    down = {s: both[f"value_{s}"] - both[f"ci_low_{s}"] for s in ("before", "after")}
    up = {s: both[f"ci_high_{s}"] - both[f"value_{s}"] for s in ("before", "after")}
    rho = both["correlation"]
    low = _length(down["after"], up["before"], rho)
    high = _length(up["after"], down["before"], rho)
    return both["difference"] - low, both["difference"] + high


def _length(a: pd.Series, b: pd.Series, rho: pd.Series) -> pd.Series:
    return np.sqrt(np.maximum(a**2 - 2 * rho * a * b + b**2, 0.0))


def _verdicts(both: pd.DataFrame) -> np.ndarray:
    tested, equal = both["p"].notna(), both["difference"].abs() < 1e-12
    outside = (both["ci_low"] > 0) | (both["ci_high"] < 0)
    beyond = np.where(tested, both["q"] < LEVEL, outside)
    open_ = both["difference"].isna() | (both["ci_low"].isna() & ~tested)
    return np.select([open_, equal, beyond.astype(bool)], [OPEN, EQUAL, BEYOND], WITHIN)
