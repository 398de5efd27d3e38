"""A judge behind any OpenAI-compatible endpoint: many calls at once, retried, each answer handed over as it arrives."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from probeshift.errors import UsageError
from probeshift.steering.judges.exchange import Exchange, is_completion
from probeshift.steering.judges.judge import Asked, JudgeError, Keep, Rating
from probeshift.steering.judges.retrying import NOT_A_COMPLETION, NotACompletion, Retries, why_fatal
from probeshift.steering.judges.rubrics import ANSWER_FORM, REMINDER, prompt_for

if TYPE_CHECKING:
    from openai import AsyncOpenAI

DEFAULT_BASE_URL = "https://api.openai.com/v1"
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1", "0.0.0.0")
_FAILURES_IN_A_ROW = 3  # questions that fail after all their retries, with no answer in between: the judge is gone


@dataclass(frozen=True)
class EndpointJudge:
    """A model served over HTTP.

    The key is read from the environment variable `key_variable` at each run and is stored nowhere; servers on this machine
    need none. `temperature` None sends none; `length_parameter` is what the server calls the longest reply (some models want
    `max_completion_tokens`). `timeout` is seconds for one call. `concurrency`, `timeout` and `retries` are no part of the identity.
    """

    model: str
    base_url: str = DEFAULT_BASE_URL
    key_variable: str = "OPENAI_API_KEY"
    temperature: float | None = 0.0
    max_tokens: int = 256
    length_parameter: str = "max_tokens"
    seed: int | None = None
    concurrency: int = 16
    timeout: float = 60.0
    retries: Retries = field(default_factory=Retries)

    def __post_init__(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"base_url `{self.base_url}` is no http address. Write e.g. http://localhost:8000/v1.")
        if parts.username or parts.password:
            raise UsageError(
                f"base_url must not hold a key or password. Put the key in the variable {self.key_variable}."
            )
        if self.concurrency < 1:
            raise UsageError(f"judge concurrency must be at least 1, got {self.concurrency}.")

    @property
    def name(self) -> str:
        """What stands beside its scores: the model, and where it is served if not at OpenAI."""
        host = urlsplit(self.base_url).netloc
        return self.model if self.base_url == DEFAULT_BASE_URL else f"{self.model} at {host}"

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything its answers depend on."""
        return {"backend": "openai", "base_url": self.base_url, "model": self.model, **self._parameters} | {
            "reminder": REMINDER,
        }

    @property
    def longest_reply(self) -> int:
        """Tokens a reply may have."""
        return self.max_tokens

    @property
    def _parameters(self) -> dict[str, Any]:
        optional = {"temperature": self.temperature, "seed": self.seed}
        return {self.length_parameter: self.max_tokens} | {k: v for k, v in optional.items() if v is not None}

    def prompt(self, asked: Asked) -> str:
        """The words of the one user message."""
        return f"{prompt_for(asked.rubric, asked.sample)}\n\n{ANSWER_FORM}"

    def answer(self, questions: Sequence[Asked], keep: Keep) -> None:
        """Ask all questions, `concurrency` at a time (see `Judge.answer`).

        A reply without a rating is asked for once more, then the rating is missing. A question that fails after all its
        retries is missing for this run and left for the next.

        Raises:
            JudgeError: no key; the server cannot be reached, refuses the key or does not know the model; three questions in
                a row failed after all their retries.
        """
        key = self._key()
        _run(_Asking(self, key, keep).all(questions))

    @property
    def lacks_key(self) -> bool:
        """Whether the environment holds no key and the server is one that wants one."""
        return not self._given_key and urlsplit(self.base_url).hostname not in _LOCAL_HOSTS

    @property
    def _given_key(self) -> str:
        return os.environ.get(self.key_variable, "").strip()

    def _key(self) -> str:
        if not self.lacks_key:
            return self._given_key or "no-key-needed"  # the client insists on one
        raise JudgeError(
            f"judge `{self.name}` needs a key and the environment variable {self.key_variable} is not set. "
            f"Set it (export {self.key_variable}=...), name another variable with `key_variable`, or judge with a local "
            "model (backend hf) or by rules alone (backend none). What was judged and generated is kept."
        )


class _Asking:
    """One run over many questions."""

    def __init__(self, judge: EndpointJudge, key: str, keep: Keep) -> None:
        self.judge, self.key, self.keep = judge, key, keep
        self.failures_in_a_row, self.last_said = 0, ""

    async def all(self, questions: Sequence[Asked]) -> None:
        client = _client(self.judge, self.key)
        waiting = iter(enumerate(questions))
        try:
            async with client, asyncio.TaskGroup() as group:
                for _ in range(min(self.judge.concurrency, len(questions))):
                    group.create_task(self._work(client, waiting))
        except BaseExceptionGroup as failed:
            # Every worker stops for the same reason; the first says it.
            raise failed.exceptions[0] from None

    async def _work(self, client: AsyncOpenAI, waiting: Iterator[tuple[int, Asked]]) -> None:
        for index, asked in waiting:
            rating = await self._rate(client, asked)
            self.keep(index, rating)
            self.failures_in_a_row = 0 if rating.final else self.failures_in_a_row + 1
            if self.failures_in_a_row >= _FAILURES_IN_A_ROW:
                raise self._gone()

    async def _rate(self, client: AsyncOpenAI, asked: Asked) -> Rating:
        prompt, begun, replies = self.judge.prompt(asked), time.monotonic(), Exchange()
        for message in (prompt, f"{prompt}\n\n{REMINDER}"):
            try:
                await self._call(client, message, replies)
            except Exception as error:
                if not self.judge.retries.understands(error):
                    raise
                return self._failed(error, replies, time.monotonic() - begun)
            if replies.value is not None:
                break
        return replies.rating(time.monotonic() - begun)

    def _failed(self, error: Exception, replies: Exchange, seconds: float) -> Rating:
        self.last_said = said = str(error).replace(self.key, "***").strip().rstrip(".")[:300]
        fatal = why_fatal(error)
        if fatal:
            raise JudgeError(
                f"judge `{self.judge.name}` {fatal.format(variable=self.judge.key_variable, model=self.judge.model)} "
                f"({said}). What was judged is kept, the same command continues."
            ) from None
        return replies.rating(seconds, failure=f"no answer: {type(error).__name__}")

    def _gone(self) -> JudgeError:
        judge = self.judge
        return JudgeError(
            f"judge `{judge.name}` does not answer at {judge.base_url}: {_FAILURES_IN_A_ROW} questions in a row failed for "
            f"good, the last with: {self.last_said}. Check that the server is up, its address and the judge's settings. "
            "What was judged is kept, the same command continues."
        )

    async def _call(self, client: AsyncOpenAI, message: str, replies: Exchange) -> None:
        async def once() -> Any:
            replies.calls += 1
            # The client's own timeout starts anew with every byte.
            async with asyncio.timeout(self.judge.timeout):
                got = await client.chat.completions.create(
                    model=self.judge.model, messages=[{"role": "user", "content": message}], **self.judge._parameters
                )
            if not is_completion(got):
                raise NotACompletion(f"{NOT_A_COMPLETION}: {str(got)[:200]}")
            return got

        replies.take(await self.judge.retries.run(once))


def _client(judge: EndpointJudge, key: str) -> AsyncOpenAI:
    try:
        from openai import AsyncOpenAI
    except ImportError:
        raise UsageError(
            'a judge over HTTP needs the openai client. Install it: pip install "probeshift[judge]"'
        ) from None
    return AsyncOpenAI(api_key=key, base_url=judge.base_url, timeout=judge.timeout, max_retries=0)


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end; from a notebook, where a loop already runs, in a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work)
        return
    raised: list[BaseException] = []

    def inside() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]
