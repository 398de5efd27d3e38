"""Which source split plays which part. The rule used is a sentence in the dataset; nothing is swapped in silence."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from probeshift.datasets.splits import EVALUATION_ONLY, FROM_EVAL, FROM_TRAIN, POOLED, POOLED_RULE, Shares


@dataclass(frozen=True)
class Roles:
    """The source splits in use with their shares, and the rule in words."""

    shares: dict[str, Shares]
    rule: str


def evaluation_only(source: str) -> Roles:
    """All questions are for evaluation: 0.8 test, 0.2 selection."""
    return Roles(
        {source: EVALUATION_ONLY}, f"evaluation only: hash split of source split {source}, 0.8 test, 0.2 selection"
    )


def pooled(source: str, reason: str) -> Roles:
    """One source serves all three splits."""
    return Roles({source: POOLED}, f"{POOLED_RULE} of {reason}")


def choose(available: Collection[str], source_splits: tuple[str, ...]) -> Roles:
    """The parts of the source splits found, given the (train, eval) splits the experiment is defined on."""
    train, reference = source_splits
    others = [name for name in ("validation", "test") if name in available]
    if train in available and others:
        return _train_and_eval(train, reference if reference in others else others[0], reference)
    if len(others) == 2:
        return _two_evals(others[1] if others[0] == reference else others[0], reference)
    only = next(name for name in (*others, train, "all") if name in available)
    if only == "all":
        return pooled(only, "the one table found, whose path names no source split")
    return pooled(only, f"source split {only}, the only one found")


def _train_and_eval(train: str, evaluation: str, reference: str) -> Roles:
    rule = f"source split {train}: hash split 0.75 train, 0.25 selection; source split {evaluation}: test as a whole"
    if evaluation != reference:
        rule += f" (in place of {reference}, which was not found)"
    return Roles({train: FROM_TRAIN, evaluation: FROM_EVAL}, rule)


def _two_evals(stand_in: str, reference: str) -> Roles:
    rule = (
        f"source split {stand_in} in place of train, which was not found: hash split 0.75 train, 0.25 selection; "
        f"source split {reference}: test as a whole"
    )
    return Roles({stand_in: FROM_TRAIN, reference: FROM_EVAL}, rule)
