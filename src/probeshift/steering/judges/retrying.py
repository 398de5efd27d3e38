"""Which failures of an HTTP judge are worth another try, and how long to wait before it."""

from __future__ import annotations

import asyncio
import email.utils
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

NOT_A_COMPLETION = "the server's answer is no chat completion"
LONGEST_WAIT = 120.0  # a server that asks for more is treated as gone

_RETRIED = (408, 409, 429)
_FATAL = {
    401: "refuses the key in the environment variable {variable}: set a valid one",
    403: "does not allow this key (variable {variable}) to use `{model}`",
    404: "does not serve `{model}` at this address: check model and base_url",
}


class NotACompletion(Exception):
    """The server answered 200 with something else than a chat completion."""


@dataclass(frozen=True)
class Retries:
    """At most `most` further tries. The waits double from `first` to `longest` seconds, each shortened by up to a quarter by
    chance, unless the server says how long (`retry-after-ms`, `retry-after` in seconds or as a date).

    `wait` is what waits; tests hand in one that only notes the seconds.
    """

    most: int = 5
    first: float = 0.5
    longest: float = 8.0
    wait: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def run(self, call: Callable[[], Awaitable[Any]]) -> Any:
        """What `call` gives, tried again after failures that may pass."""
        for tried in range(self.most + 1):
            try:
                return await call()
            except Exception as error:
                pause = self._pause(error, tried) if self.understands(error) and may_pass(error) else None
                if pause is None or tried == self.most:
                    raise
                await self.wait(pause)
        raise AssertionError

    @staticmethod
    def understands(error: Exception) -> bool:
        """True for failures of the server or the connection; False for faults of this program."""
        import openai

        return isinstance(error, openai.OpenAIError | NotACompletion | json.JSONDecodeError | TimeoutError)

    def _pause(self, error: Exception, tried: int) -> float | None:
        """Seconds until the next try; None when the server asks for more than two minutes."""
        asked = seconds_asked(getattr(getattr(error, "response", None), "headers", {}))
        if asked is not None:
            return asked if asked <= LONGEST_WAIT else None
        return min(self.first * 2.0**tried, self.longest) * (1.0 - 0.25 * random.random())


def may_pass(error: Exception) -> bool:
    """True when the same call may succeed later: broken connections, timeouts, 408, 409, 429, 5xx, garbled answers."""
    status = getattr(error, "status_code", None)
    if status is None or status < 400:
        return True
    if getattr(error, "code", None) == "insufficient_quota":
        return False
    said = error.response.headers.get("x-should-retry")  # type: ignore[attr-defined]
    return said == "true" or (said != "false" and (status in _RETRIED or status >= 500))


def why_fatal(error: Exception) -> str | None:
    """Why no other question would fare better, with places for {variable} and {model}; None when one may."""
    if getattr(error, "code", None) == "insufficient_quota":
        return "says that the account of this key (variable {variable}) has no credit left"
    return _FATAL.get(getattr(error, "status_code", 0))


def seconds_asked(headers: Mapping[str, str]) -> float | None:
    """The wait a server asks for, in seconds and never negative; None when it asks for none."""
    for name, scale in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * scale
        except (KeyError, ValueError):
            continue
        if seconds == seconds:  # not NaN
            return max(0.0, seconds)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (KeyError, ValueError):
        return None
