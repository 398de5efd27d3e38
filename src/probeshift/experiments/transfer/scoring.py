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

if TYPE_CHECKING:
    import pandas as pd

    from probeshift.experiments.transfer.writing import Text
    from probeshift.steering.judges import Judge, JudgementCache, JudgeQuality

log = logging.getLogger(__name__)

_QUALITY_ROWS = 4  # of each kind of each concept


@dataclass
class Scorer:
    """Whoever scores the texts of a study; a judge's answers are kept in `evaluation/judgements.sqlite`."""

    study: Study
    judge: Judge | None
    cache: JudgementCache | None
    quality: JudgeQuality | None = None
    usage: list[str] = field(default_factory=list)

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
        from probeshift.steering.judges import Sample, estimate_calls, judge_samples, questions_about, score_rows

        assert self.judge is not None
        told = {c.id: c.told for c in self.study.data.concepts}
        samples = [Sample(t.generation.text, told[t.ask.concept], t.ask.prompt) for t in texts]
        asked = self.study.settings.judge
        ahead = estimate_calls(questions_about(samples), self.judge, self.cache, prices=asked.price_table)
        log.log(logging.WARNING if ahead.calls else logging.INFO, "to judge: %s", ahead.sentence)
        judgements, usage = judge_samples(
            samples, self.judge, cache=self.cache, most_missing=asked.most_missing,
            progress=self.study.on_progress,
        )  # fmt: skip
        self.usage.append(usage.sentence())
        return score_rows(judgements).rename(columns={"concept": "judge_concept"})

    def _quality(self) -> JudgeQuality:
        from probeshift.steering.judges import LabelledText, Sample, judge_quality, quality_table

        assert self.judge is not None
        told = {c.id: c.told for c in self.study.data.concepts}
        rows = []
        for concept in told:
            own = self.study.data.of("detection", [concept])
            rows += [r for kind in (True, False) for r in [r for r in own if r.positive == kind][:_QUALITY_ROWS]]
        labelled = [LabelledText(Sample(r.response, told[r.concept], r.prompt), r.positive) for r in rows]
        found = judge_quality(
            self.judge, labelled, cache=self.cache, seed=self.study.settings.seed, progress=self.study.on_progress
        )
        publish(self.study.folder(EVALUATION) / "judge_quality.csv", quality_table(found).to_csv(index=False))
        return found

    def save(self) -> None:
        """Who judged, and how good that judge was found to be, for the pages."""
        about = {
            "judge": self.judge.name if self.judge else None, "quality": self.quality.told if self.quality else None,
            "usage": self.usage,
        }  # fmt: skip
        publish(self.study.folder(EVALUATION) / "judge.json", json.dumps(about, indent=1))


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
