"""From texts to scores: every question asked once, every answer kept at once, every missing rating counted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from probeshift.errors import UsageError
from probeshift.steering.judges.cache import JudgementCache
from probeshift.steering.judges.judge import Asked, Judge, JudgeError, Rating, Usage, key_of
from probeshift.steering.judges.rubrics import CONCEPT, FLUENCY, INSTRUCTION, RUBRICS, Sample, overall_score

if TYPE_CHECKING:
    import pandas as pd

MOST_MISSING = 0.02
SCORES = ("concept", "instruction", "fluency", "overall")
_FEW = 50  # below this one missing rating would already be more than the share allows

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Judgement:
    """A text with its three ratings. Scores are in [0, 2]; None when the rating is missing."""

    sample: Sample
    ratings: tuple[Rating, Rating, Rating]

    @property
    def concept(self) -> float | None:
        """How clearly the concept is there."""
        return self.ratings[RUBRICS.index(CONCEPT)].value

    @property
    def instruction(self) -> float | None:
        """Whether the text responds to its instruction."""
        return self.ratings[RUBRICS.index(INSTRUCTION)].value

    @property
    def fluency(self) -> float | None:
        """Whether it reads naturally."""
        return self.ratings[RUBRICS.index(FLUENCY)].value

    @property
    def overall(self) -> float | None:
        """Harmonic mean of the three, 0 when any is 0, None when any is missing."""
        return overall_score([rating.value for rating in self.ratings])

    @property
    def reason(self) -> str | None:
        """Why a score is missing: the first reason, with its rubric."""
        pairs = zip(RUBRICS, self.ratings, strict=True)
        return next((f"{rubric.name}: {rating.reason}" for rubric, rating in pairs if rating.value is None), None)


def judge_samples(
    samples: Sequence[Sample],
    judge: Judge,
    *,
    cache: JudgementCache | None = None,
    cache_only: bool = False,
    most_missing: float = MOST_MISSING,
    progress: Progress | None = None,
) -> tuple[list[Judgement], Usage]:
    """All three ratings of every sample, in order, and the totals of the run.

    Raises:
        JudgeError: the judge cannot go on, or more than `most_missing` of the ratings are missing. The cache keeps all.
    """
    ratings, usage = rate(questions_about(samples), judge, cache=cache, cache_only=cache_only, progress=progress)
    _check_missing(usage, judge, most_missing)
    threes = zip(*(ratings[start :: len(RUBRICS)] for start in range(len(RUBRICS))), strict=True)
    return [Judgement(sample, three) for sample, three in zip(samples, threes, strict=True)], usage


def questions_about(samples: Sequence[Sample]) -> list[Asked]:
    """What is asked of every sample: all rubrics in their order."""
    return [Asked(rubric, sample) for sample in samples for rubric in RUBRICS]


def rate(
    questions: Sequence[Asked],
    judge: Judge,
    *,
    cache: JudgementCache | None = None,
    cache_only: bool = False,
    progress: Progress | None = None,
) -> tuple[list[Rating], Usage]:
    """The rating of every question, in order. Equal questions are asked once; each answer is stored as it comes.

    Args:
        questions: what to ask.
        judge: who answers.
        cache: where answers are looked up and stored; None asks everything and keeps nothing.
        cache_only: never call the judge; a question that is not in the cache is an error.
        progress: called with (label, done, total).

    Raises:
        UsageError: `cache_only` and some answer is not stored.
        JudgeError: the judge cannot go on. What came before is in the cache.
    """
    keys = [key_of(judge, asked) for asked in questions]
    ratings = cache.get(keys) if cache is not None else {}
    waiting = {key: asked for key, asked in zip(keys, questions, strict=True) if key not in ratings}
    if waiting and cache_only:
        raise UsageError(
            f"{len(waiting):,} of {len(set(keys)):,} answers of judge `{judge.name}` are not in the cache. "
            "Run once without cache_only."
        )
    stored, order, tell = frozenset(ratings), list(waiting), progress or (lambda *_: None)

    def keep(index: int, rating: Rating) -> None:
        key = order[index]
        ratings[key] = rating
        if cache is not None and rating.final:
            cache.put(key, judge.name, waiting[key].rubric.name, rating)
        tell("judge", len(ratings) - len(stored), len(order))

    if order:
        judge.answer([waiting[key] for key in order], keep)
    return [ratings[key] for key in keys], _totals(keys, ratings, stored)


def score_rows(judgements: Sequence[Judgement]) -> pd.DataFrame:
    """One row per judgement, in order: the four scores in [0, 2], NaN where missing, and the reason."""
    import pandas as pd

    columns = {name: pd.Series([getattr(one, name) for one in judgements], dtype=float) for name in SCORES}
    return pd.DataFrame(columns).assign(missing=pd.Series([one.reason for one in judgements], dtype=object))


def _totals(keys: Sequence[str], ratings: dict[str, Rating], stored: frozenset[str]) -> Usage:
    usage, paid = Usage(), set(stored)
    for key in keys:
        usage.add(ratings[key], cached=key in paid)
        paid.add(key)  # a question asked twice is answered once
    return usage


def _check_missing(usage: Usage, judge: Judge, most_missing: float) -> None:
    allowed = most_missing * max(usage.asked, _FEW)
    if usage.n_missing <= allowed:
        return
    why = "; ".join(f"{count:,} {reason}" for reason, count in sorted(usage.missing.items()))
    raise JudgeError(
        f"judge `{judge.name}` left {usage.n_missing:,} of {usage.asked:,} ratings missing ({why}), more than the "
        f"{most_missing:.0%} allowed. What it answered is kept. Take a stronger judge, or raise `most_missing` and read the "
        "counts beside every score."
    )
