"""What a server says about one question, from completions of whatever shape to a rating with its counts."""

from __future__ import annotations

from typing import Any

from probeshift.steering.judges.judge import Rating
from probeshift.steering.judges.replies import EMPTY, parse_rating


def is_completion(got: Any) -> bool:
    """Whether an answer has the shape of a chat completion; the client checks nothing of what a server sends."""
    choices = getattr(got, "choices", None)
    message = getattr(choices[0], "message", None) if isinstance(choices, list) and choices else None
    return message is not None and isinstance(getattr(message, "content", 0), str | None)


class Exchange:
    """What the server said about one question: one reply, or two when the first held no rating."""

    def __init__(self) -> None:
        self.value: float | None = None
        self.reason: str | None = EMPTY
        self.texts: list[str] = []
        self.calls, self.tokens, self.counted = 0, (0, 0), True
        self.served_by: str | None = None

    def take(self, completion: Any) -> None:
        """Note one completion: its rating, its text, its tokens."""
        choice, usage = completion.choices[0], getattr(completion, "usage", None)
        message, cut = choice.message, getattr(choice, "finish_reason", None) == "length"
        refusal = getattr(message, "refusal", None) or None
        parsed = parse_rating(message.content, refusal=refusal, cut=cut)
        self.value, self.reason, self.served_by = parsed.value, parsed.reason, getattr(completion, "model", None)
        self.texts.append(refusal or message.content or "")
        sent, received = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
        if isinstance(sent, int) and isinstance(received, int):
            self.tokens = self.tokens[0] + sent, self.tokens[1] + received
        else:
            self.counted = False

    def rating(self, seconds: float, failure: str | None = None) -> Rating:
        """The outcome; with a `failure` it is missing and not final."""
        sent, received = self.tokens if self.counted and self.texts else (None, None)
        return Rating(
            value=None if failure else self.value,
            reason=failure or self.reason,
            replies=tuple(self.texts),
            calls=self.calls,
            prompt_tokens=sent,
            completion_tokens=received,
            seconds=seconds,
            served_by=self.served_by,
            final=failure is None,
        )
