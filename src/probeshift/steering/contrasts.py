"""Rows that show a concept or do not, as the token ids a model reads, and which of those tokens count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase

from probeshift.errors import UsageError
from probeshift.models import PostInstruction, find_post_instruction, render_prompt
from probeshift.provenance import sha256_json

# "response": tokens that end inside the response; "all": also those of the prompt, without what the template puts in
# front of it; "last": the last token of the row.
Tokens = Literal["response", "all", "last"]
TOKENS: tuple[Tokens, ...] = ("response", "all", "last")
_SENTINEL = "Vq7kZwXuJ"


@dataclass(frozen=True)
class Contrast:
    """One row of a concept: what was asked, what was answered, and whether the answer shows the concept.

    A row of plain text has an empty prompt.
    """

    concept: str
    prompt: str
    response: str
    positive: bool


@dataclass(frozen=True)
class Encoded:
    """Token ids of a row, the indices of the tokens that are read, and where each of those ends.

    `ends` counts characters of the row's own words (from the start of the response, or of the prompt), so that two
    tokenizers can be compared.
    """

    ids: tuple[int, ...]
    read: tuple[int, ...]
    ends: tuple[int, ...]
    truncated: bool = False


@dataclass(frozen=True)
class Encoder:
    """Turns prompts and responses into token ids: through the chat template, or as plain text for a base model."""

    tokenizer: PreTrainedTokenizerBase
    chat: bool
    system: str | None = None
    max_tokens: int | None = None
    parts: bool = False

    def prompt(self, content: str) -> str:
        """The text in front of the response."""
        if not self.chat:
            return content
        return render_prompt(self.tokenizer, content, system=self.system, parts=self.parts)

    def prompt_ids(self, content: str) -> tuple[int, ...]:
        """What the model reads before it answers.

        Raises:
            UsageError: there is nothing to read.
        """
        ids = self.tokenizer(self.prompt(content), add_special_tokens=not self.chat).input_ids
        if not ids:
            raise UsageError("an empty prompt gives a base model nothing to start from. Give --prompt some text.")
        return tuple(ids)

    def encode(self, prompt: str, response: str, tokens: Tokens = "response") -> Encoded:
        """A row's token ids, response included, and the tokens that count.

        Raises:
            UsageError: no token is left to read, or the row is longer than `max_tokens` allows.
        """
        before = self.prompt(prompt)
        own = len(before) if tokens == "response" else self._own_words_start()
        found = self.tokenizer(before + response, add_special_tokens=not self.chat, return_offsets_mapping=True)
        ends = [end for _, end in found["offset_mapping"]]
        limit = self.max_tokens or len(ends)
        read = [i for i, end in enumerate(ends[:limit]) if end > own]
        if not read:
            raise UsageError(
                f"no token of the row {response[:60]!r} can be read ({tokens}). {_why_none(ends, own, limit)}"
            )
        read = read[-1:] if tokens == "last" else read
        return Encoded(
            tuple(found["input_ids"][:limit]), tuple(read), tuple(ends[i] - own for i in read), limit < len(ends)
        )

    def _own_words_start(self) -> int:
        return self.prompt(_SENTINEL).index(_SENTINEL)


def _why_none(ends: Sequence[int], own: int, limit: int) -> str:
    """What is in the way of reading any token of a row."""
    first = next((i for i, end in enumerate(ends) if end > own), None)
    if first is None:
        return "Leave out empty responses."
    return f"It begins at token {first + 1}, and rows are cut at {limit}: raise max_tokens, or leave out rows with long prompts."


def make_encoder(
    tokenizer: PreTrainedTokenizerBase,
    *,
    chat: bool | None = None,
    system: str | None = None,
    max_tokens: int | None = None,
) -> Encoder:
    """How rows become ids for one model; `chat` None uses the chat template where there is one.

    `max_tokens` cuts longer rows on the right; they are counted. None leaves rows whole.

    Raises:
        UsageError: the tokenizer gives no character offsets, or has no chat template and one was asked for.
    """
    if not tokenizer.is_fast:
        raise UsageError("steering reads tokens by their character offsets, which this slow tokenizer does not give.")
    post: PostInstruction | None = None if chat is False else find_post_instruction(tokenizer, system=system)
    if chat and post is None:
        raise UsageError("this tokenizer has no chat template. Leave `chat` out to use plain text.")
    if system is not None and post is None:
        raise UsageError(
            "plain text has no place for a system message. Leave it out, or use a model with a chat template."
        )
    return Encoder(tokenizer, post is not None, system, max_tokens, post.parts if post else False)


def data_hash(rows: Sequence[Contrast]) -> str:
    """Hex sha256 over the rows, whatever their order."""
    return sha256_json(sorted([r.prompt, r.response, r.positive] for r in rows))
