"""Which mixtures answer which question.

Steps: sources added one after the other. Subsets: every choice of sources, for what each adds whatever the order, and, all but one,
for how a source is detected without it. Size-matched: as many rows as the first step has, drawn from the sources of a later one,
which tells more sources from more rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from probeshift.errors import UsageError
from probeshift.mixture_scores import LEFT_OUT, SIZE_MATCHED, STEP, SUBSET, Mixture
from probeshift.mixtures.joined import JoinedRows

MOST_SOURCES = 6  # all subsets up to here; with more only what leaves one out


@dataclass(frozen=True)
class Step:
    """A cumulative step: its number, name and the sources it is trained on."""

    number: int
    name: str
    sources: tuple[str, ...]


@dataclass(frozen=True)
class Selection:
    """A mixture and its training rows, as flags over all rows."""

    mixture: Mixture
    members: np.ndarray


def mixtures_to_fit(
    data: JoinedRows, steps: Sequence[Step], *, subsets: bool, draws: int, seed: int
) -> tuple[list[Selection], dict[str, str]]:
    """The selections of rows to train on, steps first, and why some mixtures cannot be trained.

    Raises:
        UsageError: a step's training rows hold one class only.
    """
    chosen = [_step(data, step) for step in steps]
    if subsets:
        taken = {frozenset(s.mixture.sources) for s in chosen}
        chosen += [s for s in _subsets(data) if frozenset(s.mixture.sources) not in taken]
    for step in steps[1:] if draws else ():
        chosen += [_size_matched(data, steps[0], step, draw, seed) for draw in range(draws)]
    trainable = [s for s in chosen if _reason(data, s) is None]
    return trainable, {s.mixture.name: _reason(data, s) or "" for s in chosen if _reason(data, s)}


def _step(data: JoinedRows, step: Step) -> Selection:
    selection = Selection(Mixture(step.name, STEP, step.sources, step.number), data.training(step.sources))
    if _reason(data, selection):
        counts = ", ".join(f"{name}: {int(data.training([name]).sum())}" for name in step.sources)
        raise UsageError(
            f"step {step.number} (`{step.name}`) cannot be trained: its training rows ({counts}) are of one class only. "
            "Begin with a source that holds both classes, or set held_out lower."
        )
    return selection


def _subsets(data: JoinedRows) -> list[Selection]:
    sources = data.sources
    sizes = range(1, len(sources) + 1) if len(sources) <= MOST_SOURCES else (len(sources) - 1, len(sources))
    return [
        Selection(
            Mixture(" + ".join(names), LEFT_OUT if size == len(sources) - 1 else SUBSET, names), data.training(names)
        )
        for size in sizes
        for names in combinations(sources, size)
    ]


def _size_matched(data: JoinedRows, first: Step, step: Step, draw: int, seed: int) -> Selection:
    """As many rows as the first step trains on, from each source and class of a later step in proportion."""
    wanted, available = int(data.training(first.sources).sum()), data.training(step.sources)
    generator = np.random.default_rng([seed, step.number, draw])
    strata = data.rows["set"].astype(str) + data.rows["label"].astype(str)
    order = generator.permutation(np.flatnonzero(available))
    # Rows in the order of their place within their stratum: a prefix holds every stratum in proportion.
    place = strata.iloc[order].groupby(strata.iloc[order]).transform(lambda s: (np.arange(len(s)) + 0.5) / len(s))
    members = np.zeros(len(available), dtype=bool)
    members[order[np.argsort(place.to_numpy(), kind="stable")[:wanted]]] = True
    name = f"{step.name}, {wanted} rows, draw {draw}"
    return Selection(Mixture(name, SIZE_MATCHED, step.sources, step.number, draw), members)


def _reason(data: JoinedRows, selection: Selection) -> str | None:
    labels = data.labels[selection.members]
    if not len(labels):
        return "no_rows"
    return None if labels.any() and not labels.all() else f"single_class:{'positive' if labels.all() else 'negative'}"
