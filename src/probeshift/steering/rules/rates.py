"""How often texts follow a rule under each condition, and against what happens anyway: the base rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from probeshift.errors import UsageError
from probeshift.metrics.intervals import clopper_pearson
from probeshift.steering.rules.rule import Rule, Verdict, follows

if TYPE_CHECKING:
    import pandas as pd

UNSTEERED, PROMPTED = "unsteered", "prompted"
BASES = (UNSTEERED, PROMPTED)
RATES = ("strict", "loose", "useful", "useful_loose")


def rule_rates(rule: Rule, texts: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    """One row per condition: how many of its texts follow the rule, with exact 95 % intervals, and the change against both
    base rates.

    Args:
        rule: what is checked.
        texts: the generated texts of each condition, row i answering the same prompt in all of them. "unsteered" (nothing
            added) and "prompted" (`rule.request` added to the prompt) are the base rates and have to be there.

    Columns: `condition`, `n`; `strict`, `loose`, `useful` (strict and not degenerate), `useful_loose`, each with `_low` and
    `_high`; counts `n_degenerate`, `n_undetermined`; and for each base `useful_vs_<base>` (difference of rates) with `p_vs_<base>`
    (exact McNemar test over prompts, two-sided; NaN where no prompt tells them apart).

    Raises:
        UsageError: a base rate is missing, or conditions have different numbers of texts, or there is no text.
    """
    import pandas as pd

    _check(texts)
    verdicts = {condition: [follows(rule, text) for text in some] for condition, some in texts.items()}
    rows = [_row(rule, condition, verdicts) for condition in texts]
    return pd.DataFrame(rows)


def _check(texts: Mapping[str, Sequence[str]]) -> None:
    absent = [base for base in BASES if base not in texts]
    if absent:
        raise UsageError(
            f"rule rates need their base rates; missing: {', '.join(absent)}. Generate the same prompts without steering "
            f"(`{UNSTEERED}`) and with the rule's request in the prompt (`{PROMPTED}`)."
        )
    counts = {condition: len(some) for condition, some in texts.items()}
    if len(set(counts.values())) > 1 or not all(counts.values()):
        raise UsageError(f"each condition needs one text per prompt; found {counts}.")


def _row(rule: Rule, condition: str, verdicts: Mapping[str, Sequence[Verdict]]) -> dict[str, Any]:
    mine = verdicts[condition]
    row: dict[str, Any] = {"rule": rule.name, "condition": condition, "n": len(mine)}
    for rate in RATES:
        passed = float(sum(getattr(verdict, rate) for verdict in mine))
        low, high = clopper_pearson(np.array([passed]), len(mine))
        row |= {rate: passed / len(mine), f"{rate}_low": float(low[0]), f"{rate}_high": float(high[0])}
    row["n_degenerate"] = sum(verdict.degenerate is not None for verdict in mine)
    row["n_undetermined"] = sum(verdict.undetermined for verdict in mine)
    for base in BASES:
        row |= _against(base, mine, verdicts[base]) if base != condition else _nothing(base)
    return row


def _against(base: str, mine: Sequence[Verdict], theirs: Sequence[Verdict]) -> dict[str, float]:
    from scipy.stats import binomtest

    gained = sum(one.useful and not other.useful for one, other in zip(mine, theirs, strict=True))
    lost = sum(other.useful and not one.useful for one, other in zip(mine, theirs, strict=True))
    p = float(binomtest(gained, gained + lost).pvalue) if gained + lost else float("nan")
    return {f"useful_vs_{base}": (gained - lost) / len(mine), f"p_vs_{base}": p}


def _nothing(base: str) -> dict[str, float]:
    return {f"useful_vs_{base}": float("nan"), f"p_vs_{base}": float("nan")}
