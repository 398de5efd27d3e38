"""Answers on disk: keyed by everything they depend on, kept when the process dies, reused for nothing else."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field, replace

import pytest

from probeshift.errors import StoreError, UsageError
from probeshift.steering.judges import (
    Asked,
    JudgementCache,
    Prices,
    Rating,
    Sample,
    Usage,
    estimate_calls,
    judge_samples,
    rate,
)
from probeshift.steering.judges.endpoint import EndpointJudge
from probeshift.steering.judges.estimate import estimate_ahead
from probeshift.steering.judges.judge import key_of
from probeshift.steering.judges.rubrics import CONCEPT, FLUENCY, RUBRICS

ENDPOINT = EndpointJudge("m", base_url="http://localhost:1/v1")
ASKED = Asked(CONCEPT, Sample("wet", "rain", "Speak."))


@dataclass
class Counting:
    """A judge that rates by the length of the text and notes what it was asked: a program, not a language model."""

    name: str = "counting"
    longest_reply: int = 10
    identity: dict = field(default_factory=lambda: {"backend": "test"})
    asked: list = field(default_factory=list)

    def prompt(self, asked):
        return f"{asked.rubric.name}: {asked.sample}"

    def answer(self, questions, keep):
        for index, asked in enumerate(questions):
            self.asked.append(asked)
            keep(index, Rating(float(len(asked.sample.text) % 3), calls=1, prompt_tokens=10, completion_tokens=2))


@pytest.mark.parametrize(
    "judge",
    [
        replace(ENDPOINT, model="n"),
        replace(ENDPOINT, base_url="http://localhost:2/v1"),
        replace(ENDPOINT, temperature=0.5),
        replace(ENDPOINT, max_tokens=64),
        replace(ENDPOINT, seed=1),
    ],
    ids=["model", "address", "temperature", "length", "seed"],
)
def test_another_judge_has_another_key(judge):
    assert key_of(judge, ASKED) != key_of(ENDPOINT, ASKED)


@pytest.mark.parametrize(
    "asked",
    [
        replace(ASKED, repeat=1),
        replace(ASKED, rubric=FLUENCY),
        replace(ASKED, rubric=replace(CONCEPT, version=2)),
        replace(ASKED, rubric=replace(CONCEPT, question="Is it there?")),
        replace(ASKED, sample=replace(ASKED.sample, text="wet ")),
        replace(ASKED, sample=replace(ASKED.sample, concept="snow")),
    ],
    ids=["repeat", "rubric", "version", "words", "text", "concept"],
)
def test_another_question_has_another_key(asked):
    assert key_of(ENDPOINT, asked) != key_of(ENDPOINT, ASKED)


def test_what_an_answer_does_not_depend_on_is_not_in_its_key():
    """The twin: speed settings, and the instruction for a rubric that never sees it."""
    for judge in (
        replace(ENDPOINT, concurrency=1),
        replace(ENDPOINT, timeout=1.0),
        replace(ENDPOINT, key_variable="K"),
    ):
        assert key_of(judge, ASKED) == key_of(ENDPOINT, ASKED)
    other = replace(ASKED, sample=replace(ASKED.sample, instruction="Sing."))
    assert key_of(ENDPOINT, other) == key_of(ENDPOINT, ASKED)


def test_a_rating_comes_back_as_it_was_stored(tmp_path):
    ratings = {
        "a": Rating(1.25, None, ("é\n«", "2"), 2, 10, 3, 0.5, "served"),
        "b": Rating(None, "refused", (), 1, None, None, 0.0, None),
    }
    with JudgementCache(tmp_path / "c.sqlite") as cache:
        for key, rating in ratings.items():
            cache.put(key, "judge", "concept", rating)
    with JudgementCache(tmp_path / "c.sqlite") as cache:
        assert cache.get(["b", "a", "none", "a"]) == ratings
        cache.put("a", "judge", "concept", replace(ratings["a"], value=2.0))
        assert (cache.n_ratings, cache.get(["a"])["a"].value) == (2, 2.0)


def test_many_keys_are_looked_up_at_once(tmp_path):
    with JudgementCache(tmp_path / "c.sqlite") as cache:
        for number in range(0, 1300, 100):
            cache.put(str(number), "judge", "concept", Rating(1.0))
        assert len(cache.get(map(str, range(1300)))) == 13


def test_a_killed_run_loses_nothing_judged(tmp_path):
    """A process is killed by the operating system in the middle of its 6th answer."""
    path = tmp_path / "c.sqlite"
    program = textwrap.dedent(f"""
        import os, signal, sys
        sys.path.insert(0, {os.path.dirname(__file__)!r})
        from test_judge_cache import Counting, texts
        from probeshift.steering.judges import JudgementCache, rate
        from pathlib import Path
        class Dying(Counting):
            def prompt(self, asked):
                if len(self.asked) == 6:
                    os.kill(os.getpid(), signal.SIGKILL)
                return super().prompt(asked)
            def answer(self, questions, keep):
                def then(index, rating):
                    keep(index, rating)
                    self.prompt(questions[index])
                super().answer(questions, then)
        rate(texts(20), Dying(), cache=JudgementCache(Path({str(path)!r})))
    """)
    died = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert died.returncode == -signal.SIGKILL, died.stderr
    judge = Counting()
    with JudgementCache(path) as cache:
        ratings, usage = rate(texts(20), judge, cache=cache)
    assert (usage.from_cache, usage.calls, len(judge.asked)) == (6, 14, 14)
    assert [rating.value for rating in ratings] == [float(len(asked.sample.text) % 3) for asked in texts(20)]


def texts(n):
    """Different questions."""
    return [Asked(CONCEPT, Sample(f"text {number:03d}" + "x" * number, "rain", "Speak.")) for number in range(n)]


def test_two_processes_may_write_at_once(tmp_path):
    with JudgementCache(tmp_path / "c.sqlite") as one, JudgementCache(tmp_path / "c.sqlite") as other:
        one.put("a", "judge", "concept", Rating(1.0))
        other.put("b", "judge", "concept", Rating(2.0))
        assert one.get(["a", "b"]).keys() == other.get(["a", "b"]).keys() == {"a", "b"}


def test_cache_only_reproduces_a_run_and_refuses_to_ask(tmp_path):
    judge = Counting()
    with JudgementCache(tmp_path / "c.sqlite") as cache:
        first, _ = rate(texts(5), judge, cache=cache)
        again, usage = rate(texts(5), judge, cache=cache, cache_only=True)
        assert (again, usage.calls, usage.from_cache, len(judge.asked)) == (first, 0, 5, 5)
        with pytest.raises(UsageError, match="1 of 6 answers of judge `counting` are not in the cache"):
            rate(texts(6), judge, cache=cache, cache_only=True)
    assert len(judge.asked) == 5


def test_without_a_cache_everything_is_asked_anew():
    judge = Counting()
    rate(texts(2), judge)
    rate(texts(2), judge)
    assert len(judge.asked) == 4


def test_a_file_that_is_no_cache_is_refused(tmp_path):
    (tmp_path / "c.sqlite").write_text("these are not the bytes of a database" * 50)
    with pytest.raises(StoreError, match="no cache of judgements"):
        JudgementCache(tmp_path / "c.sqlite")
    with sqlite3.connect(tmp_path / "newer.sqlite") as database:
        database.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match="format 99"):
        JudgementCache(tmp_path / "newer.sqlite")


def test_the_estimate_counts_calls_that_will_be_made(tmp_path):
    judge = Counting()
    with JudgementCache(tmp_path / "c.sqlite") as cache:
        rate(texts(4), judge, cache=cache)
        asked = [*texts(10), *texts(10)]
        estimate = estimate_calls(asked, judge, cache, prices=Prices(2.0, 4.0, "2026-01-31"))
        assert (estimate.ratings, estimate.cached, estimate.calls) == (20, 4, 6)
        _, usage = rate(asked, judge, cache=cache)
    assert usage.calls == estimate.calls
    characters = sum(len(judge.prompt(one)) for one in texts(10)[4:])
    assert estimate.prompt_tokens == round(characters / 4)
    assert estimate.cost == pytest.approx((estimate.prompt_tokens * 2 + 6 * 10 * 4) / 1e6)
    assert estimate.most_cost == pytest.approx((2 * estimate.prompt_tokens * 2 + 2 * 6 * 10 * 4) / 1e6)
    assert "6 calls" in estimate.sentence and "prices of 2026-01-31" in estimate.sentence


def test_without_prices_the_cost_is_unknown_not_free():
    estimate = estimate_calls(texts(3), Counting())
    assert estimate.cost is None and "cost unknown" in estimate.sentence


def test_the_estimate_ahead_is_close_to_the_one_with_the_texts():
    samples = [Sample("word " * 120, "c" * 60, "i" * 100) for _ in range(5)]
    different = [replace(sample, text=sample.text[:-1] + str(n)) for n, sample in enumerate(samples)]
    there = estimate_calls([Asked(rubric, one) for one in different for rubric in RUBRICS], ENDPOINT)
    ahead = estimate_ahead(ENDPOINT, 5)
    assert (ahead.calls, ahead.reply_tokens) == (there.calls, there.reply_tokens)
    assert ahead.prompt_tokens == pytest.approx(there.prompt_tokens, rel=0.01)


def test_usage_counts_what_this_run_paid_for():
    usage = Usage()
    usage.add(Rating(1.0, calls=2, prompt_tokens=10, completion_tokens=3), cached=False)
    usage.add(Rating(1.0, calls=1, prompt_tokens=99, completion_tokens=9), cached=True)
    usage.add(Rating(None, "refused", calls=2), cached=False)
    assert (usage.calls, usage.prompt_tokens, usage.uncounted, usage.n_missing) == (4, 10, 1, 1)
    assert Prices(1.0, 2.0, "2026-01-31").of(usage) == pytest.approx(16e-6)
    assert "3 ratings, 1 from the cache, 4 calls" in usage.sentence()
    assert "1 missing (1 refused)" in usage.sentence()


def test_three_ratings_of_each_sample_stay_together():
    samples = [Sample("x" * n, f"c{n}", f"i{n}") for n in range(1, 8)]
    judgements, _ = judge_samples(samples, Counting())
    for sample, judgement in zip(samples, judgements, strict=True):
        value = float(len(sample.text) % 3)
        assert (judgement.sample, judgement.concept, judgement.instruction, judgement.fluency) == (sample, *[value] * 3)
