"""Texts as the model is to read them: raw, through the chat template, or already formatted; their tokens, and which are the user's.

Every prompt that is said to end in the post-instruction tokens is checked to do so, by id. That one check catches truncation,
double templating, a template rendered with other options, and padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

from probeshift.errors import UsageError
from probeshift.models.post_instruction import PostInstruction, find_post_instruction, render_prompt

_AT_ONCE = 1024
UNKNOWN = -1

Kind = Literal["raw", "chat", "formatted"]


class Prompt(NamedTuple):
    """Token ids, and the tokens [start, end) that are the user's words; `start` is UNKNOWN where that cannot be told."""

    ids: list[int]
    start: int
    end: int


@dataclass(frozen=True)
class PromptFormat:
    """How a text becomes a prompt.

    `kind`: "raw" is tokenised as it is (with the tokenizer's special tokens if `special_tokens`); "chat" becomes a user message
    in the chat template, after `system`, with `template_kwargs` (`enable_thinking`, a date, ...); "formatted" carries the
    template already and is tokenised without special tokens.
    """

    kind: Kind = "raw"
    system: str | None = None
    template_kwargs: dict[str, Any] = field(default_factory=dict)
    special_tokens: bool = True


RAW = PromptFormat()


@dataclass(frozen=True)
class PromptEncoder:
    """One tokenizer and one format. `post` is what every prompt ends in; None for raw text.

    Raises:
        UsageError: a template is asked for and the model has none, or it hides the user's words.
    """

    tokenizer: Any
    format: PromptFormat

    def __post_init__(self) -> None:
        if self.format.kind != "raw" and self.post is None:
            raise UsageError("this model has no chat template: it is a base model. Leave the prompts as they are.")

    @cached_property
    def post(self) -> PostInstruction | None:
        if self.format.kind == "raw":
            return None
        return find_post_instruction(self.tokenizer, system=self.format.system, **self.format.template_kwargs)

    def record(self) -> dict[str, Any]:
        """What a store keeps of it."""
        post = self.post
        assert post is not None
        about = ("ids", "tokens", "border_merge", "strips", "gen_start", "template_hash", "head", "tail")
        return {**asdict(self.format), **{name: getattr(post, name) for name in about}}

    def encode(self, texts: Sequence[str]) -> Iterator[Prompt]:
        """The prompt of each text, in order.

        Raises:
            UsageError: a text has no tokens, or two BOS tokens; a prompt does not end in the post-instruction tokens.
        """
        if self.format.kind != "raw":
            carrying = self.carrying(texts)
            if self.format.kind == "chat" and carrying:
                raise UsageError(
                    f"{carrying} of {len(texts)} prompts already end as the chat template does. Say --already-formatted "
                    "instead of --use-chat-template, or separate the two kinds."
                )
        for begin in range(0, len(texts), _AT_ONCE):
            part = texts[begin : begin + _AT_ONCE]
            found = self._raw(part) if self.format.kind == "raw" else self._templated(part)
            for number, prompt in enumerate(found, start=begin):
                self._check(prompt, number)
                yield prompt

    def carrying(self, texts: Sequence[str]) -> int:
        """How many texts end as the chat template does (white space at the very end aside)."""
        if self.post is None:
            return 0
        tail = self.post.tail.rstrip()
        return sum(text.rstrip().endswith(tail) for text in texts) if tail else 0

    def _raw(self, texts: Sequence[str]) -> Iterator[Prompt]:
        options = {
            "add_special_tokens": self.format.special_tokens,
            "return_special_tokens_mask": True,
            "verbose": False,
        }
        encoded = self.tokenizer(list(texts), **options)
        for ids, added in zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True):
            n, before = len(ids), next((i for i, mark in enumerate(added) if not mark), len(ids))
            behind = next((i for i, mark in enumerate(reversed(added)) if not mark), 0)
            yield Prompt(ids, before, n - behind)

    def _templated(self, texts: Sequence[str]) -> Iterator[Prompt]:
        rendered = [self._render(text) for text in texts] if self.format.kind == "chat" else list(texts)
        fast = self.tokenizer.is_fast
        encoded = self.tokenizer(rendered, add_special_tokens=False, return_offsets_mapping=fast, verbose=False)
        offsets_of = encoded["offset_mapping"] if fast else [None] * len(rendered)
        assert self.post is not None
        for text, ids, offsets in zip(rendered, encoded["input_ids"], offsets_of, strict=True):
            yield Prompt(ids, self._start(text, offsets), len(ids) - self.post.n)

    def _render(self, content: str) -> str:
        assert self.post is not None
        options = {"system": self.format.system, "parts": self.post.parts, **self.format.template_kwargs}
        return render_prompt(self.tokenizer, content, **options)

    def _start(self, rendered: str, offsets: Any) -> int:
        """The first token that reaches past the head of the template; unknown where the head is another one."""
        assert self.post is not None
        if offsets is None or not rendered.startswith(self.post.head):
            return UNKNOWN
        border = len(self.post.head)
        return next((i for i, (_, stop) in enumerate(offsets) if stop > border), len(offsets))

    def _check(self, prompt: Prompt, number: int) -> None:
        bos = self.tokenizer.bos_token_id
        if not prompt.ids:
            raise UsageError(f"text {number + 1} has no tokens. Remove the empty texts.")
        if bos is not None and prompt.ids[:2] == [bos, bos]:
            raise UsageError(
                f"text {number + 1} starts with two BOS tokens: it brings one and the tokenizer adds one. Use "
                "--already-formatted if it carries the chat template, else --no-special-tokens."
            )
        if self.post and tuple(prompt.ids[-self.post.n :]) != self.post.ids:
            end = "".join(self.tokenizer.convert_ids_to_tokens(prompt.ids[-self.post.n :]))
            raise UsageError(
                f"prompt {number + 1} ends in {end!r}, not in the post-instruction tokens {''.join(self.post.tokens)!r}. Check that "
                "all texts carry the template (--already-formatted) or none does (--use-chat-template), rendered with the same options."
            )
