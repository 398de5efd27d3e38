"""What a judging run will cost, said before its first call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from probeshift.steering.judges.cache import JudgementCache
from probeshift.steering.judges.judge import Asked, Judge, Usage, key_of
from probeshift.steering.judges.rubrics import RUBRICS, Sample

CHARACTERS_PER_TOKEN = 4.0  # of English prose; the judge's own tokenizer is not at hand
REPLY_TOKENS = 80  # a sentence and the rating line
_MILLION = 1e6


NO_COST = "on this machine, no cost"


@dataclass(frozen=True)
class Prices:
    """US dollars for a million tokens in (prompt) and out (reply), and the day they were looked up (YYYY-MM-DD)."""

    prompt: float
    reply: float
    as_of: str

    def cost(self, prompt_tokens: int, reply_tokens: int) -> float:
        """Dollars for that many tokens."""
        return (prompt_tokens * self.prompt + reply_tokens * self.reply) / _MILLION

    def of(self, usage: Usage) -> float:
        """Dollars of a run's counted tokens; a lower bound when some were not counted."""
        return self.cost(usage.prompt_tokens, usage.completion_tokens)


@dataclass(frozen=True)
class CallEstimate:
    """Calls to make, `cached` ones not among them, and about how many tokens. Costs are None without prices.

    Where the cache was not asked `cached` is None, and all numbers are the most there can be.
    `most_cost` is what it costs at most by these tokens: every question asked twice, every reply as long as allowed.
    """

    ratings: int
    cached: int | None
    calls: int
    prompt_tokens: int
    reply_tokens: int
    cost: float | None
    most_cost: float | None
    prices: Prices | None
    longest_reply: int

    @property
    def sentence(self) -> str:
        """The estimate in one line."""
        some = (
            f"at most {self.ratings:,} ratings"
            if self.cached is None
            else f"{self.ratings:,} ratings: {self.cached:,} from the cache"
        )
        told = f"{some}, {self.calls:,} calls, about {self.prompt_tokens:,} tokens in and {self.reply_tokens:,} out"
        if not self.longest_reply:
            return f"{told}; {NO_COST}"
        if self.cost is None or self.most_cost is None or self.prices is None:
            return f"{told}; cost unknown (no prices given)"
        return f"{told}; about ${self.cost:,.2f}, at most ${self.most_cost:,.2f} (prices of {self.prices.as_of})"


def estimate_calls(
    questions: Sequence[Asked], judge: Judge, cache: JudgementCache | None = None, *, prices: Prices | None = None
) -> CallEstimate:
    """What `scoring.rate` would ask: equal questions once, cached ones not at all."""
    prompts = {key_of(judge, asked): judge.prompt(asked) for asked in questions}
    cached = cache.get(prompts).keys() if cache is not None else ()
    to_ask = [prompt for key, prompt in prompts.items() if key not in cached]
    return _estimate(judge, len(questions), len(prompts) - len(to_ask), len(to_ask), sum(map(len, to_ask)), prices)


def estimate_ahead(
    judge: Judge,
    n_texts: int,
    *,
    further: Sequence[Asked] = (),
    text_characters: int = 600,
    prices: Prices | None = None,
) -> CallEstimate:
    """The same before any text is generated: three ratings for each of `n_texts` texts of about that length.

    `further` are questions that are known already, such as those on the judge's own quality.
    """
    blank = Sample(text="x" * text_characters, concept="x" * 60, instruction="x" * 100)
    characters = n_texts * sum(len(judge.prompt(Asked(rubric, blank))) for rubric in RUBRICS)
    characters += sum(len(judge.prompt(asked)) for asked in further)
    n_ratings = n_texts * len(RUBRICS) + len(further)
    return _estimate(judge, n_ratings, None, n_ratings, characters, prices)


def _estimate(
    judge: Judge, n_ratings: int, n_cached: int | None, n_calls: int, n_characters: int, prices: Prices | None
) -> CallEstimate:
    allowed = judge.longest_reply
    prompt_tokens = round(n_characters / CHARACTERS_PER_TOKEN)
    reply_tokens = n_calls * min(REPLY_TOKENS, allowed)
    return CallEstimate(
        ratings=n_ratings,
        cached=n_cached,
        calls=n_calls,
        prompt_tokens=prompt_tokens,
        reply_tokens=reply_tokens,
        cost=prices.cost(prompt_tokens, reply_tokens) if prices else None,
        most_cost=prices.cost(2 * prompt_tokens, 2 * n_calls * allowed) if prices else None,
        prices=prices,
        longest_reply=allowed,
    )
