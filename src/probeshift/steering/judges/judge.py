"""What every judge is: something with an identity that answers many questions and hands each answer over as it comes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, runtime_checkable

from probeshift.errors import ProbeshiftError
from probeshift.provenance import sha256_json
from probeshift.steering.judges.rubrics import Rubric, Sample


class JudgeError(ProbeshiftError):
    """The judge cannot be reached, refuses the key, or leaves too much unanswered. What was judged is kept."""


@dataclass(frozen=True)
class Asked:
    """One question: a rubric about a sample. `repeat` numbers independent askings of the same question."""

    rubric: Rubric
    sample: Sample
    repeat: int = 0


@dataclass(frozen=True)
class Rating:
    """The answer to one question.

    `value` is in [0, 2]: whole for an endpoint, an expectation for a local judge; None when missing, with the `reason`.
    `replies` are kept as they came. Tokens are None where the server did not count them. `final` is False when no answer
    came at all, so that the next run asks again.
    """

    value: float | None
    reason: str | None = None
    replies: tuple[str, ...] = ()
    calls: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    seconds: float = 0.0
    served_by: str | None = None
    final: bool = True


Keep = Callable[[int, Rating], None]


@runtime_checkable
class Judge(Protocol):
    """A judge. `name` is what stands beside its scores; `identity` is everything an answer depends on besides the question."""

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> Mapping[str, Any]: ...

    @property
    def longest_reply(self) -> int:
        """Tokens a reply may have; 0 when the judge writes none and costs nothing."""
        ...

    def prompt(self, asked: Asked) -> str:
        """The words the judge is given for one question."""
        ...

    def answer(self, questions: Sequence[Asked], keep: Keep) -> None:
        """Answer all questions, in any order; `keep(index, rating)` is called for each as soon as it is there.

        Raises:
            JudgeError: the judge cannot go on. What was handed to `keep` stays.
        """
        ...


def key_of(judge: Judge, asked: Asked) -> str:
    """What an answer is stored under: a hash of the judge's identity, the rubric, the whole prompt and the repeat."""
    return sha256_json(
        {
            "judge": dict(judge.identity),
            "rubric": asdict(asked.rubric),
            "prompt": judge.prompt(asked),
            "repeat": asked.repeat,
        }
    )


@dataclass
class Usage:
    """Totals of a run. Tokens are counted where the server says them; `uncounted` ratings are not in the token sums."""

    asked: int = 0
    from_cache: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    missing: dict[str, int] = field(default_factory=dict)

    def add(self, rating: Rating, *, cached: bool) -> None:
        """Count one rating; cached ones cost nothing now."""
        self.asked += 1
        if rating.value is None:
            reason = rating.reason or "unknown"
            self.missing[reason] = self.missing.get(reason, 0) + 1
        if cached:
            self.from_cache += 1
            return
        self.calls += rating.calls
        if rating.prompt_tokens is None or rating.completion_tokens is None:
            self.uncounted += 1
            return
        self.prompt_tokens += rating.prompt_tokens
        self.completion_tokens += rating.completion_tokens

    def include(self, other: Usage) -> None:
        """Add the totals of another run."""
        for name in ("asked", "from_cache", "calls", "prompt_tokens", "completion_tokens", "uncounted"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for reason, count in other.missing.items():
            self.missing[reason] = self.missing.get(reason, 0) + count

    @property
    def n_missing(self) -> int:
        """Ratings that are missing, for any reason."""
        return sum(self.missing.values())

    def sentence(self, cost: float | None = None) -> str:
        """The totals in one line."""
        tokens = f"{self.prompt_tokens:,} + {self.completion_tokens:,} tokens"
        parts = [
            f"{self.asked:,} ratings",
            f"{self.from_cache:,} from the cache",
            f"{self.calls:,} calls",
            tokens + (f" and those of {self.uncounted:,} ratings the server did not count" if self.uncounted else ""),
        ]
        if cost is not None:
            parts.append(f"{'at least ' if self.uncounted else ''}${cost:,.4f}")
        missing = "; ".join(f"{count:,} {reason}" for reason, count in sorted(self.missing.items()))
        parts.append(f"{self.n_missing:,} missing" + (f" ({missing})" if missing else ""))
        return ", ".join(parts)
