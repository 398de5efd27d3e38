"""A judge's measured quality: 1 for a judge that knows, chance for one that does not, undefined for one that never varies."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from probeshift.steering.judges import (
    LabelledText,
    Rating,
    Sample,
    estimate_calls,
    judge_quality,
    quality_questions,
    quality_table,
    score_rows,
    score_table,
)
from probeshift.steering.judges.quality import with_other_instructions, with_shuffled_words
from probeshift.steering.judges.scoring import Judgement

WORDS = ("rain", "stone", "music", "bread", "horse")


@dataclass
class Program:
    """A judge made of a function of (rubric name, sample)."""

    say: object
    name: str = "program"
    longest_reply: int = 0
    identity: dict = field(default_factory=lambda: {"backend": "test"})

    def prompt(self, asked):
        return f"{asked.rubric.name}: {asked.sample}"

    def answer(self, questions, keep):
        for index, asked in enumerate(questions):
            keep(index, self.say(asked.rubric.name, asked.sample))


def knows(name, sample):
    """Reads the answer off the text, which names its concept, its instruction and the order of its words."""
    words = sample.text.split()
    marks = [int(word[1:]) for word in words if word[0] == "w"]
    right = {
        "concept": sample.concept in words,
        "instruction": sample.instruction in words,
        "fluency": marks == sorted(marks),
    }
    return Rating(2.0 if right[name] else 0.0)


def rows(n=60):
    """Half of them show their concept."""
    made = []
    for number in range(n):
        concept, shown = WORDS[number % 5], number % 2 == 0
        text = " ".join([f"i{number}", *(f"w{i}" for i in range(8)), concept if shown else "nothing"])
        made.append(LabelledText(Sample(text, concept, f"i{number}"), shown))
    return made


def test_a_judge_that_knows_has_quality_one_on_every_rubric():
    quality = judge_quality(Program(knows), rows())
    for separation in quality.separations:
        assert (separation.auroc, separation.mean_yes, separation.mean_no, separation.n_missing) == (1.0, 2.0, 0.0, 0)
        assert 0.0 < separation.low < 1.0 and separation.high == 1.0
    concept, instruction, _ = quality.separations
    assert concept.low < instruction.low, "five concepts say less than sixty texts"


def test_a_judge_that_guesses_has_chance_within_its_interval():
    generator = np.random.default_rng(3)
    quality = judge_quality(Program(lambda *_: Rating(float(generator.integers(3)))), rows(200))
    for separation in quality.separations:
        assert separation.low < 0.5 < separation.high


def test_a_judge_that_always_says_the_same_has_no_quality_and_the_reason_is_told():
    quality = judge_quality(Program(lambda *_: Rating(1.0)), rows())
    assert all(np.isnan(separation.auroc) for separation in quality.separations)
    assert quality.told.count("n/a (constant_scores)") == 3


def test_the_auroc_is_that_of_the_ratings_that_are_there():
    generator = np.random.default_rng(1)
    noisy = {row.sample.text: float(row.shows_concept) + generator.normal() for row in rows()}

    def say(name, sample):
        value = noisy.get(sample.text, 0.0)
        return Rating(None, "refused") if name == "concept" and sample.text.startswith("i1 ") else Rating(value)

    concept = judge_quality(Program(say), rows()).separations[0]
    kept = [row for row in rows() if not row.sample.text.startswith("i1 ")]
    expected = roc_auc_score([row.shows_concept for row in kept], [noisy[row.sample.text] for row in kept])
    assert concept.auroc == pytest.approx(expected)
    assert (concept.n, concept.n_missing, concept.ci_kind) == (59, 1, "bootstrap_questions")


def test_a_single_concept_resamples_texts():
    one = [LabelledText(Sample(row.sample.text, "rain", row.sample.instruction), row.shows_concept) for row in rows()]
    generator = np.random.default_rng(2)
    concept = judge_quality(Program(lambda *_: Rating(generator.normal())), one).separations[0]
    assert concept.ci_kind == "bootstrap_rows"


def test_what_quality_will_ask_is_known_before_it_asks():
    asked = []

    def say(name, sample):
        asked.append((name, sample))
        return Rating(1.0)

    judge_quality(Program(say), rows(), seed=4)
    questions = [(one.rubric.name, one.sample) for one in quality_questions(rows(), seed=4)]
    assert set(questions) == set(asked)
    estimate = estimate_calls(quality_questions(rows(), seed=4), Program(say))
    assert estimate.calls == len(asked) and "no cost" in estimate.sentence


def test_nothing_to_try_is_said():
    quality = judge_quality(Program(knows), [])
    assert [separation.reason for separation in quality.separations] == ["no rows to try it on"] * 3


def test_shuffled_texts_have_the_same_words_in_another_order():
    samples = [row.sample for row in rows()] + [Sample("one two one", "c", "i"), Sample("", "c", "i")]
    shuffled = with_shuffled_words(samples, np.random.default_rng(0))
    assert shuffled[-2:] == [None, None]
    for sample, other in zip(samples[:-2], shuffled[:-2], strict=True):
        assert sorted(other.text.split()) == sorted(sample.text.split()) and other.text != sample.text


def test_no_sample_keeps_its_own_instruction():
    samples = [Sample("t", "c", instruction) for instruction in "aabca"]
    assert all(
        one.instruction != two.instruction for one, two in zip(samples, with_other_instructions(samples), strict=True)
    )
    assert with_other_instructions(samples[:2]) == [None, None]


def test_the_table_has_a_row_per_rubric():
    table = quality_table(judge_quality(Program(knows), rows()))
    assert list(table["rubric"]) == ["concept", "instruction", "fluency"]
    assert {"judge", "auroc", "low", "high", "n", "n_missing", "mean_yes", "mean_no", "reason"} <= set(table)


def test_scores_never_come_without_their_judge_and_its_quality():
    judge = Program(knows)
    full, part = Rating(2.0), Rating(None, "refused")
    judgements = [Judgement(rows(1)[0].sample, three) for three in ((full, full, full), (full, part, full))]
    judged = score_rows(judgements).assign(method=["a", "b"])
    assert list(judged["missing"]) == [None, "instruction: refused"]
    table = score_table(pd.concat([judged] * 2), ["method"], judge=judge, quality=judge_quality(judge, rows()))
    assert list(table["n"]) == [2, 0] and list(table["n_missing"]) == [0, 2]
    assert table["overall"][0] == 2.0 and np.isnan(table["overall"][1])
    assert set(table["judge"]) == {"program"} and "concept AUROC 1.00" in table["judge_quality"][0]
    assert set(score_table(judged, ["method"], judge=judge, quality=None)["judge_quality"]) == {"not measured"}
