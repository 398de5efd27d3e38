"""Step 3b: scores of texts, by rules that a program checks and, where there is one, by a judge."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from probeshift.errors import UsageError
from probeshift.experiments.transfer.study import EVALUATION, Study
from probeshift.provenance import publish
from probeshift.steering.judges import Usage

if TYPE_CHECKING:
    import pandas as pd

    from probeshift.experiments.transfer.writing import Text
    from probeshift.steering.judges import Asked, Judge, JudgementCache, JudgeQuality, LabelledText

log = logging.getLogger(__name__)

_QUALITY_ROWS = 4  # of each kind of each concept


@dataclass
class Scorer:
    """Whoever scores the texts of a study; a judge's answers are kept in `evaluation/judgements.sqlite`."""

    study: Study
    judge: Judge | None
    cache: JudgementCache | None
    quality: JudgeQuality | None = None
    usage: Usage = field(default_factory=Usage)

    @classmethod
    def open(cls, study: Study) -> Scorer:
        """The judge of the settings, opened and tried on labelled rows.

        Raises:
            UsageError: the score needs a judge and there is none, or rules and there are none.
            JudgeError: the judge cannot be reached.
        """
        from probeshift.steering.judges import JudgementCache, open_judge

        check_score(study)
        judge = open_judge(study.settings.judge)
        if judge is None:
            return cls(study, None, None)
        made = cls(study, judge, JudgementCache(study.folder(EVALUATION) / "judgements.sqlite"))
        made.quality = made._quality()
        return made

    def table(self, texts: Sequence[Text]) -> pd.DataFrame:
        """One row per text: what it is, what it says, and its scores; a missing score is NaN.

        Raises:
            JudgeError: the judge cannot go on. Texts and answers so far are kept.
        """
        import pandas as pd

        from probeshift.steering.repetition import repetition_rate

        rows = [_about(t) | {"repetition": repetition_rate(t.generation.ids)} for t in texts]
        found = pd.DataFrame(rows)
        if self.study.settings.concepts.rules:
            found = found.join(pd.DataFrame([_verdict(t) for t in texts]))
        return found if self.judge is None else found.join(self._judged(texts))

    def _judged(self, texts: Sequence[Text]) -> pd.DataFrame:
        from probeshift.steering.judges import Sample, judge_samples, questions_about, score_rows

        assert self.judge is not None
        told = {c.id: c.told for c in self.study.data.concepts}
        samples = [Sample(t.generation.text, told[t.ask.concept], t.ask.prompt) for t in texts]
        self._announce(questions_about(samples))
        judgements, usage = judge_samples(
            samples, self.judge, cache=self.cache, most_missing=self.study.settings.judge.most_missing,
            progress=self.study.on_progress,
        )  # fmt: skip
        self.usage.include(usage)
        return score_rows(judgements).rename(columns={"concept": "judge_concept"})

    def _quality(self) -> JudgeQuality:
        from probeshift.steering.judges import judge_quality, quality_questions, quality_table

        assert self.judge is not None
        labelled, seed = labelled_texts(self.study), self.study.settings.seed
        self._announce(quality_questions(labelled, seed=seed))
        found = judge_quality(self.judge, labelled, cache=self.cache, seed=seed, progress=self.study.on_progress)
        self.usage.include(found.usage)
        publish(self.study.folder(EVALUATION) / "judge_quality.csv", quality_table(found).to_csv(index=False))
        return found

    def _announce(self, questions: Sequence[Asked]) -> None:
        """Say what the next questions will cost, before the first is asked."""
        from probeshift.steering.judges import estimate_calls

        assert self.judge is not None
        prices = self.study.settings.judge.price_table
        log.info(
            "judge %s: %s", self.judge.name, estimate_calls(questions, self.judge, self.cache, prices=prices).sentence
        )

    def save(self) -> None:
        """Who judged, how good that judge was found to be, and what it took in this run, for the pages."""
        about: dict[str, Any] = {"judge": None, "quality": None, "usage": []}
        if self.judge is not None:
            prices = self.study.settings.judge.price_table
            told = self.usage.sentence(prices.of(self.usage) if prices else None)
            about = {"judge": self.judge.name, "quality": self.quality.told if self.quality else None, "usage": [told]}
        publish(self.study.folder(EVALUATION) / "judge.json", json.dumps(about, indent=1))


def labelled_texts(study: Study) -> list[LabelledText]:
    """The rows a judge is tried on: some of each kind of each concept, which make no vector and choose no strength."""
    from probeshift.steering.judges import LabelledText, Sample

    told = {c.id: c.told for c in study.data.concepts}
    rows = []
    for concept in told:
        own = study.data.of("detection", [concept])
        rows += [r for kind in (True, False) for r in [r for r in own if r.positive == kind][:_QUALITY_ROWS]]
    return [LabelledText(Sample(r.response, told[r.concept], r.prompt), r.positive) for r in rows]


def check_score(study: Study) -> None:
    """Refuse a score that nobody can give, before any text is written.

    Raises:
        UsageError: `overall` without a judge, or a rule's score without rules.
    """
    score, rules = study.settings.scored_by, study.settings.concepts.rules
    if score == "overall" and study.settings.judge.backend == "none":
        raise UsageError(
            "these concepts are scored by a judge, and judge.backend is none. Set judge.backend to hf (a model on this machine) "
            "or openai, or set `generation: null` to stop after cosines and detection."
        )
    if score != "overall" and not rules:
        raise UsageError(
            f"score `{score}` is that of rules, and concepts.rules names none. Use score: overall with a judge."
        )


def _about(text: Text) -> dict[str, Any]:
    ask, made = text.ask, text.generation
    return {
        "split": ask.split, "condition": ask.condition, "seed": ask.seed, "concept": ask.concept, "strength": ask.strength,
        "prompt": ask.prompt, "text": made.text, "n_tokens": len(made.ids), "ended": made.ended, "key": made.key,
    }  # fmt: skip


def _verdict(text: Text) -> dict[str, Any]:
    from probeshift.steering.rules import follows, rule

    found = follows(rule(text.ask.concept), text.generation.text)
    rates = {name: float(getattr(found, name)) for name in ("strict", "loose", "useful", "useful_loose")}
    return rates | {"degenerate": found.degenerate, "undetermined": found.undetermined}
