"""Language models as judges of generated text: three rubrics from 0 to 2, any OpenAI-compatible endpoint or a local model.

Loads neither torch nor openai before a judge is opened.
"""

from probeshift.steering.judges.cache import JudgementCache
from probeshift.steering.judges.estimate import NO_COST, CallEstimate, Prices, estimate_ahead, estimate_calls
from probeshift.steering.judges.judge import Asked, Judge, JudgeError, Rating, Usage
from probeshift.steering.judges.opening import JudgeSettings, open_judge
from probeshift.steering.judges.quality import (
    JudgeQuality,
    LabelledText,
    judge_quality,
    quality_questions,
    quality_table,
    score_table,
)
from probeshift.steering.judges.rubrics import RUBRICS, Rubric, Sample, overall_score
from probeshift.steering.judges.scoring import Judgement, judge_samples, questions_about, rate, score_rows

__all__ = [
    "NO_COST",
    "RUBRICS",
    "Asked",
    "CallEstimate",
    "Judge",
    "JudgeError",
    "JudgeQuality",
    "JudgeSettings",
    "Judgement",
    "JudgementCache",
    "LabelledText",
    "Prices",
    "Rating",
    "Rubric",
    "Sample",
    "Usage",
    "estimate_ahead",
    "estimate_calls",
    "judge_quality",
    "judge_samples",
    "open_judge",
    "overall_score",
    "quality_questions",
    "quality_table",
    "questions_about",
    "rate",
    "score_rows",
    "score_table",
]
