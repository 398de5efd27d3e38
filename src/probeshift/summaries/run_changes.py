"""Two runs, cell by cell: what changed, and whether it is more than noise.

The bounds of a difference come from the two saved intervals (MOVER: Zou and Donner 2008), with the correlation of both runs'
correctness where both saved which of the same questions they won, without it (as if independent) elsewhere. Where the questions
are at hand the verdict is an exact two-sided sign test on the questions only one run won (McNemar 1947), corrected over all such
cells (Benjamini and Hochberg 1995); elsewhere it is whether the bounds leave 0 out, one cell at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from probeshift.summaries.rows import pick

KEY = ["method", "train", "test", "layer", "position", "metric", "protocol"]
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
    key = [name for name in KEY if name in before and name in after]
    kept = [*key, "value", "ci_low", "ci_high", "n"]
    sides = [pick(rows, split="test")[kept].drop_duplicates(key) for rows in (before, after)]
    both = sides[0].merge(sides[1], on=key, suffixes=("_before", "_after"))
    both["difference"] = both["value_after"] - both["value_before"]
    both["p"], both["correlation"] = np.nan, 0.0
    if correct is not None:
        _compare_questions(both, correct, same_questions)
    both["ci_low"], both["ci_high"] = _bounds(both)
    both["q"] = _rates(both["p"])
    both["basis"] = np.where(both["p"].notna(), PAIRED, UNPAIRED)
    return both.assign(verdict=_verdicts(both)).drop(columns="correlation")


def counts(table: pd.DataFrame) -> pd.DataFrame:
    """How many cells of each metric got which verdict, and on what basis."""
    found = table.groupby(["metric", "basis", "verdict"], sort=True).size()
    return found.rename("cells").reset_index()


def _compare_questions(both, correct, same_questions) -> None:
    accuracy = both["metric"].eq("accuracy") & both["test"].map({t: same_questions(t) for t in set(both["test"])})
    for label, row in both[accuracy].iterrows():
        cell = (row["method"], row["train"], int(row["layer"]), row["test"])
        old, new = (side.get(cell) for side in correct)
        if old is not None and new is not None and len(old) == len(new) and not np.isnan([old.sum(), new.sum()]).any():
            both.loc[label, ["p", "correlation"]] = _sign_test(old, new), _correlation(old, new)


def _sign_test(old: np.ndarray, new: np.ndarray) -> float:
    from scipy.stats import binom

    gained, lost = int((new > old).sum()), int((new < old).sum())
    return min(1.0, 2 * float(binom.cdf(min(gained, lost), gained + lost, 0.5))) if gained + lost else 1.0


def _correlation(old: np.ndarray, new: np.ndarray) -> float:
    spread = old.std() * new.std()
    return float(np.mean((old - old.mean()) * (new - new.mean())) / spread) if spread > 0 else 0.0


def _bounds(both: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    down = {s: both[f"value_{s}"] - both[f"ci_low_{s}"] for s in ("before", "after")}
    up = {s: both[f"ci_high_{s}"] - both[f"value_{s}"] for s in ("before", "after")}
    rho = both["correlation"]
    low = _length(down["after"], up["before"], rho)
    high = _length(up["after"], down["before"], rho)
    return both["difference"] - low, both["difference"] + high


def _length(a: pd.Series, b: pd.Series, rho: pd.Series) -> pd.Series:
    return np.sqrt(np.maximum(a**2 - 2 * rho * a * b + b**2, 0.0))


def _rates(p: pd.Series) -> pd.Series:
    from probeshift.summaries.paired import discovery_rates

    return discovery_rates(p)


def _verdicts(both: pd.DataFrame) -> np.ndarray:
    tested, equal = both["p"].notna(), both["difference"].abs() < 1e-12
    outside = (both["ci_low"] > 0) | (both["ci_high"] < 0)
    beyond = np.where(tested, both["q"] < LEVEL, outside)
    open_ = both["difference"].isna() | (both["ci_low"].isna() & ~tested)
    return np.select([open_, equal, beyond.astype(bool)], [OPEN, EQUAL, BEYOND], WITHIN)
