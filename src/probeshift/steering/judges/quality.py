"""How good a judge is, on texts whose answer is known. Printed beside every score it gives.

Each rubric is tried on pairs of classes it has to tell apart, as AUROC (0.5: it cannot):

    concept      texts labelled as showing the concept, against texts labelled as not
    instruction  texts with the instruction they answer, against the same texts with another row's instruction
    fluency      the texts, against the same texts with their words in random order

Intervals resample concepts for the first (texts, when there is one concept) and texts for the other two. A text that is a negative of
several concepts, as with rules, is rated once for each; that these ratings hang together is not in the interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from probeshift.metrics import measure
from probeshift.metrics.intervals import NO_INTERVAL
from probeshift.steering.judges.cache import JudgementCache
from probeshift.steering.judges.judge import Asked, Judge, Usage
from probeshift.steering.judges.rubrics import CONCEPT, FLUENCY, INSTRUCTION, Rubric, Sample
from probeshift.steering.judges.scoring import SCORES, Progress, rate

if TYPE_CHECKING:
    import pandas as pd

FEWEST_WORDS = 5  # shorter texts may read as well in another order
NO_ROWS = "no rows to try it on"


@dataclass(frozen=True)
class LabelledText:
    """A text whose label is known: does it show its sample's concept or not."""

    sample: Sample
    shows_concept: bool


@dataclass(frozen=True)
class Separation:
    """How well one rubric tells two classes apart: AUROC with 95 % bounds, NaN with a `reason` where undefined.

    `mean_yes` and `mean_no` are the mean ratings of the class that should rate high and of the other, in [0, 2].
    """

    rubric: str
    classes: str
    mean_yes: float
    mean_no: float
    n: int
    n_missing: int
    auroc: float = float("nan")
    low: float = float("nan")
    high: float = float("nan")
    ci_kind: str = NO_INTERVAL
    reason: str | None = NO_ROWS

    @property
    def told(self) -> str:
        """The value in a few words."""
        if self.reason:
            return f"{self.rubric} n/a ({self.reason})"
        return f"{self.rubric} AUROC {self.auroc:.2f} [{self.low:.2f}, {self.high:.2f}], n={self.n}"


@dataclass(frozen=True)
class JudgeQuality:
    """What a judge was found to be worth; `usage` is what finding out took."""

    judge: str
    separations: tuple[Separation, ...]
    usage: Usage = field(default_factory=Usage)

    @property
    def told(self) -> str:
        """One line to stand beside scores."""
        return "; ".join(separation.told for separation in self.separations)


def judge_quality(
    judge: Judge,
    rows: Sequence[LabelledText],
    *,
    cache: JudgementCache | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> JudgeQuality:
    """The judge's quality on labelled rows. Rows must not be among those that strengths or methods are chosen on.

    Raises:
        JudgeError: the judge cannot go on.
    """
    usage = Usage()
    tried = [trial.run(judge, cache, seed, progress, usage) for trial in _trials(rows, seed)]
    return JudgeQuality(judge.name, tuple(tried), usage)


def quality_questions(rows: Sequence[LabelledText], *, seed: int = 0) -> list[Asked]:
    """Everything `judge_quality` asks, for an estimate before it does."""
    return [asked for trial in _trials(rows, seed) for asked in trial.questions]


def quality_table(quality: JudgeQuality) -> pd.DataFrame:
    """One row per rubric: what was told apart, AUROC with bounds, mean ratings of both classes, counts, reason."""
    import pandas as pd

    return pd.DataFrame([{"judge": quality.judge, **vars(separation)} for separation in quality.separations])


def with_other_instructions(samples: Sequence[Sample]) -> list[Sample | None]:
    """Each sample with the instruction of the next sample that has a different one; None when all have the same."""
    told = list(dict.fromkeys(sample.instruction for sample in samples))
    after = dict(zip(told, [*told[1:], *told[:1]], strict=True))
    return [replace(one, instruction=after[one.instruction]) if len(told) > 1 else None for one in samples]


def with_shuffled_words(samples: Sequence[Sample], generator: np.random.Generator) -> list[Sample | None]:
    """Each sample with its words in another order; None for texts with fewer than five different words."""
    return [_shuffled(sample, generator) for sample in samples]


def _shuffled(sample: Sample, generator: np.random.Generator) -> Sample | None:
    words = sample.text.split()
    if len(set(words)) < FEWEST_WORDS:
        return None
    order = list(words)
    while order == words:
        order = [words[i] for i in generator.permutation(len(words))]
    return replace(sample, text=" ".join(order))


@dataclass(frozen=True)
class _Trial:
    rubric: Rubric
    classes: str
    samples: Sequence[Sample]
    labels: Sequence[bool]
    groups: Sequence[int] | None

    @property
    def questions(self) -> list[Asked]:
        return [Asked(self.rubric, sample) for sample in self.samples]

    def run(
        self, judge: Judge, cache: JudgementCache | None, seed: int, progress: Progress | None, total: Usage
    ) -> Separation:
        ratings, usage = rate(self.questions, judge, cache=cache, progress=progress)
        total.include(usage)
        values = np.array([np.nan if one.value is None else one.value for one in ratings], dtype=float)
        there = np.isfinite(values)
        labels = np.array(self.labels, dtype=bool)
        told = Separation(
            rubric=self.rubric.name,
            classes=self.classes,
            mean_yes=_mean(values[there & labels]),
            mean_no=_mean(values[there & ~labels]),
            n=int(there.sum()),
            n_missing=int((~there).sum()),
        )
        if not there.any():
            return told
        groups = None if self.groups is None else np.array(self.groups, dtype=np.int64)[there]
        got = measure(values[there][None], labels[there], groups, seed=seed).auroc
        value, low, high = (float(part[0]) for part in (got.value, got.low, got.high))
        return replace(told, auroc=value, low=low, high=high, ci_kind=got.ci_kind[0], reason=got.reason[0])


def _trials(rows: Sequence[LabelledText], seed: int) -> list[_Trial]:
    samples = [row.sample for row in rows]
    concepts = {concept: number for number, concept in enumerate(dict.fromkeys(one.concept for one in samples))}
    groups = [concepts[one.concept] for one in samples] if len(concepts) > 1 else None
    shuffled = with_shuffled_words(samples, np.random.default_rng(seed))
    return [
        _Trial(CONCEPT, "shows the concept / does not", samples, [row.shows_concept for row in rows], groups),
        _altered(INSTRUCTION, "own instruction / another row's", samples, with_other_instructions(samples)),
        _altered(FLUENCY, "as it is / words shuffled", samples, shuffled),
    ]


def _altered(rubric: Rubric, classes: str, samples: Sequence[Sample], altered: Sequence[Sample | None]) -> _Trial:
    """Samples against their altered copies; both share a group."""
    pairs = [(one, other) for one, other in zip(samples, altered, strict=True) if other is not None]
    flat = [sample for pair in pairs for sample in pair]
    return _Trial(rubric, classes, flat, [True, False] * len(pairs), [i for i in range(len(pairs)) for _ in range(2)])


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")


def score_table(rows: pd.DataFrame, by: Sequence[str], *, judge: Judge, quality: JudgeQuality | None) -> pd.DataFrame:
    """Mean scores of each group of rows, who judged, and how good that judge was found to be.

    Args:
        rows: one judged text each: the columns of `by`, and concept, instruction, fluency, overall (NaN where missing).
        by: columns whose values make a group.
        judge: who gave the scores; scores of two judges never share a table.
        quality: what `judge_quality` measured; None is shown as "not measured".

    Means are over the texts that have the score: `n` counts those with an overall score, `n_missing` the others.
    """
    groups = rows.groupby(list(by), sort=False, dropna=False)
    table = groups[list(SCORES)].mean()
    table["n"] = groups["overall"].count()
    table["n_missing"] = groups["overall"].size() - table["n"]
    told = quality.told if quality else "not measured"
    return table.reset_index().assign(judge=judge.name, judge_quality=told)
