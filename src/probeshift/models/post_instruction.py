"""The post-instruction tokens: what the chat template puts behind the user's words, up to where the model answers.

They are found by rendering the template around several sentinels and reading character offsets, never by tokenising
the tail alone (which gets a stray space from SentencePiece) and never from a typed-in table (builds of one tokenizer
differ).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from transformers import PreTrainedTokenizerBase

from probeshift.errors import UsageError
from probeshift.models.describing import template_hash

# Two plain ones, one ending in a digit, one in punctuation; the last one learns whether the template strips its
# content.
_SENTINELS = ("Vq7kZwXuJ", "HxWd3TmQvR", "Jq2vKxYf8", "Zk5wPqXv?")
_EDGE_SPACES = " Wq4xMzKd "

Content = str | list[dict[str, str]]


@dataclass(frozen=True)
class PostInstruction:
    """The last `n` tokens of every rendered prompt: positions -n ... -1.

    `border_merge`: the tokenizer may join the end of the content with what follows (such a token counts as content).
    `strips`: the template removes white space around the content. `gen_start`: index into `ids` where the generation
    prompt begins, None when the template has none of its own. `parts`: content is given as a list of parts, not as a
    string. `head` and `tail` are the text around the content.
    """

    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    border_merge: bool
    strips: bool
    gen_start: int | None
    template_hash: str
    kwargs: dict[str, Any] = field(default_factory=dict)
    parts: bool = False
    head: str = ""
    tail: str = ""

    @property
    def n(self) -> int:
        """How many post-instruction tokens there are."""
        return len(self.ids)


@dataclass(frozen=True)
class TokenRow:
    """One token of a rendered prompt and the names it goes by: `-3`, `post[2]`, `content_last`, `gen_start`."""

    index: int
    id: int
    token: str
    marks: tuple[str, ...]


def find_post_instruction(
    tokenizer: PreTrainedTokenizerBase, *, system: str | None = None, **template_kwargs: Any
) -> PostInstruction | None:
    """The post-instruction tokens of a tokenizer's chat template; None for a base model, which has no template.

    `template_kwargs` must be the ones used later for the prompts themselves (`enable_thinking=False`, a date, ...).

    Raises:
        UsageError: the template refuses the prompt, repeats, changes or drops the user's words, or lets them decide
        what follows.
    """
    if not tokenizer.chat_template:
        return None
    render, parts = _working_renderer(tokenizer, system, template_kwargs)
    tails, found, merged = set(), [], False
    for sentinel in _SENTINELS:
        text = render(sentinel)
        end = _end_of(sentinel, text)
        tails.add(text[end:])
        ids, straddles = _ids_behind(tokenizer, text, end)
        found.append(ids)
        merged |= straddles
    if len(tails) != 1:
        raise UsageError(f"the chat template puts different text behind different user messages: {sorted(tails)!r}.")
    ids = _common_suffix(found)
    if not ids:
        raise UsageError(
            "the chat template puts no token behind the user's words: there are no post-instruction tokens."
        )
    return PostInstruction(
        ids=ids,
        tokens=tuple(tokenizer.convert_ids_to_tokens(list(ids))),
        border_merge=merged or len({len(one) for one in found}) > 1,
        strips=_EDGE_SPACES not in render(_EDGE_SPACES),
        gen_start=_generation_start(tokenizer, system, template_kwargs, parts, n=len(ids)),
        template_hash=template_hash(tokenizer) or "",
        kwargs={**template_kwargs, **({"system": system} if system is not None else {})},
        parts=parts,
        head=text[: end - len(sentinel)],
        tail=tails.pop(),
    )


def render_prompt(
    tokenizer: PreTrainedTokenizerBase,
    content: str,
    *,
    system: str | None = None,
    parts: bool = False,
    add_generation_prompt: bool = True,
    **template_kwargs: Any,
) -> str:
    """A user message as the model is to read it. Tokenise it with `add_special_tokens=False`: it has its own BOS.

    Raises:
        UsageError: the template refuses (some know no system message).
    """

    def message(role: str, text: str) -> dict[str, Content]:
        return {"role": role, "content": [{"type": "text", "text": text}] if parts else text}

    messages = [*([message("system", system)] if system is not None else []), message("user", content)]
    try:
        rendered = tokenizer.apply_chat_template(
            messages,  # type: ignore[arg-type]
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            **template_kwargs,
        )
    except Exception as error:
        # Templates are programs: they raise jinja's errors, or any Python error on a kind of content they did not
        # expect.
        raise UsageError(f"the chat template refuses this prompt: {error}") from error
    return str(rendered)


def mark_tokens(
    tokenizer: PreTrainedTokenizerBase, text: str, *, system: str | None = None, **template_kwargs: Any
) -> list[TokenRow]:
    """The tokens of a text as the model reads it, through the chat template if any, and the names they go by."""
    post = find_post_instruction(tokenizer, system=system, **template_kwargs)
    if post is None:
        ids = tokenizer(text).input_ids
        marks = {len(ids) - 1: ["-1"]} if ids else {}
    else:
        prompt = render_prompt(tokenizer, text, system=system, parts=post.parts, **template_kwargs)
        ids = tokenizer(prompt, add_special_tokens=False).input_ids
        if tuple(ids[-post.n :]) != post.ids:
            raise UsageError(f"the prompt for {text!r} does not end in the post-instruction tokens {list(post.ids)}.")
        first = len(ids) - post.n
        marks = {first + i: [str(i - post.n), f"post[{i}]"] for i in range(post.n)}
        marks[first - 1] = ["content_last"]
        if post.gen_start is not None:
            marks[first + post.gen_start].append("gen_start")
    tokens = tokenizer.convert_ids_to_tokens(ids)
    return [TokenRow(i, ids[i], tokens[i], tuple(marks.get(i, ()))) for i in range(len(ids))]


def _working_renderer(
    tokenizer: PreTrainedTokenizerBase, system: str | None, kwargs: dict[str, Any]
) -> tuple[Callable[[str], str], bool]:
    """How to render so that the user's words survive: content as text, else as a list of parts."""
    failure: UsageError | None = None
    for parts in (False, True):

        def render(content: str, parts: bool = parts) -> str:
            return render_prompt(tokenizer, content, system=system, parts=parts, **kwargs)

        try:
            _end_of(_SENTINELS[0], render(_SENTINELS[0]))
            return render, parts
        except UsageError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _end_of(sentinel: str, text: str) -> int:
    """The character behind the sentinel, which must occur exactly once."""
    times = text.count(sentinel)
    if times != 1:
        reason = "repeats the user's words" if times else "changes or drops the user's words"
        raise UsageError(
            f"the chat template {reason}: the tokens behind them cannot be told. Use positions such as -1."
        )
    return text.index(sentinel) + len(sentinel)


def _ids_behind(tokenizer: PreTrainedTokenizerBase, text: str, end: int) -> tuple[tuple[int, ...], bool]:
    """Ids of the tokens from a character on, and whether a token lies across it; all ids where offsets are unknown."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=tokenizer.is_fast)
    ids = encoded["input_ids"]
    if len(ids) > 1 and ids[0] == ids[1] == tokenizer.bos_token_id:
        raise UsageError("the chat template starts with two BOS tokens.")
    if not tokenizer.is_fast:
        return tuple(ids), False
    offsets = encoded["offset_mapping"]
    behind = tuple(token for token, (start, _) in zip(ids, offsets, strict=True) if start >= end)
    return behind, any(start < end < stop for start, stop in offsets)


def _common_suffix(sequences: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The ids all sequences end in."""
    n = 0
    while n < min(map(len, sequences)) and len({sequence[-1 - n] for sequence in sequences}) == 1:
        n += 1
    return sequences[0][len(sequences[0]) - n :]


def _generation_start(
    tokenizer: PreTrainedTokenizerBase, system: str | None, kwargs: dict[str, Any], parts: bool, *, n: int
) -> int | None:
    """Where in the post-instruction tokens the generation prompt starts, by rendering with and without it."""
    render = {"system": system, "parts": parts, **kwargs}
    whole = render_prompt(tokenizer, _SENTINELS[0], **render)
    turn = render_prompt(tokenizer, _SENTINELS[0], add_generation_prompt=False, **render)
    if whole == turn or not whole.startswith(turn) or not tokenizer.is_fast:
        return None
    behind, _ = _ids_behind(tokenizer, whole, len(turn))
    return n - len(behind) if 0 < len(behind) <= n else None
