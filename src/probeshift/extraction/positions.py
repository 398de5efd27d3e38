"""Token positions by name, resolved to token indices of each prompt; never from the padding side.

    last            the last token of the prompt, whatever it is
    -3              the third token from the end of the prompt
    post[-3]        the same token where it is proved to be a post-instruction token; `post[0]` counts from their start
    gen_start       the first token of the generation prompt
    content_last    the last token of the user's words
    mean, max       pooled over the tokens of the user's words (special tokens are not among them)

`post` stands for all post-instruction tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from probeshift.errors import UsageError, nearest
from probeshift.models.post_instruction import PostInstruction
from probeshift.models.prompts import UNKNOWN, Prompt

POOLS = ("mean", "max")
_NAMES = ("last", "content_last", "gen_start", "post", *POOLS, "post[-1]", "-1")
_INDEXED = re.compile(r"post\[(-?\d+)\]")


def resolve_positions(asked: Sequence[str], post: PostInstruction | None) -> tuple[str, ...]:
    """The names as stores keep them: `post` written out, `post[i]` counted from the end; each once, in the order given.

    Raises:
        UsageError: a name is not known, or needs a chat template where the prompts have none.
    """
    if not asked:
        raise UsageError("no token position is asked. Name one, such as `last`.")
    found = [name for one in asked for name in _resolve(one.strip(), post)]
    return tuple(dict.fromkeys(found))


def _resolve(name: str, post: PostInstruction | None) -> tuple[str, ...]:
    indexed = _INDEXED.fullmatch(name)
    if name.startswith("post") or name == "gen_start":
        if post is None:
            raise UsageError(
                f"position `{name}` needs the chat template, and these prompts are raw text. Add --use-chat-template, or "
                "--already-formatted if they carry it; raw text has `last`, -2, `content_last`, `mean` and `max`."
            )
        if name == "post":
            return tuple(f"post[{i}]" for i in range(-post.n, 0))
        if name == "gen_start" and post.gen_start is None:
            raise UsageError("this chat template has no generation prompt of its own: there is no `gen_start`.")
    if indexed and post is not None:
        index = int(indexed[1]) if int(indexed[1]) < 0 else int(indexed[1]) - post.n
        if not -post.n <= index < 0:
            raise UsageError(
                f"position `{name}` asked; there are {post.n} post-instruction tokens: post[-{post.n}] to post[-1]."
            )
        return (f"post[{index}]",)
    if name in _NAMES or re.fullmatch(r"-[1-9]\d*", name):
        return (name,)
    raise UsageError(f"position `{name}` is not known. {nearest(name, _NAMES)}")


@dataclass(frozen=True, slots=True)
class Sites:
    """Where the wanted positions of one prompt are: `points` token indices, and the tokens [start, end) that pools read."""

    points: tuple[int, ...]
    span: tuple[int, int]


def sites(prompt: Prompt, positions: Sequence[str], post: PostInstruction | None, row: str) -> Sites:
    """The token indices of the unpooled positions, in order, and the span of the pooled ones (0, 0 without any).

    Raises:
        UsageError: the prompt, which the message calls `row`, has no such token.
    """
    points = tuple(_point(prompt, name, post, row) for name in positions if name not in POOLS)
    if not set(positions) & set(POOLS):
        return Sites(points, (0, 0))
    if prompt.start == UNKNOWN:
        raise UsageError(
            f"where the user's words start in {row} cannot be told, so nothing can be pooled over them: the text has another "
            "system message than the template, or the tokenizer keeps no offsets. Use --use-chat-template on raw texts."
        )
    if prompt.start >= prompt.end:
        raise UsageError(f"{row} has no words of the user to pool over. Remove it, or read a token position.")
    return Sites(points, (prompt.start, prompt.end))


def _point(prompt: Prompt, name: str, post: PostInstruction | None, row: str) -> int:
    n = len(prompt.ids)
    if name == "content_last":
        index = prompt.end - 1
    elif name == "gen_start":
        assert post is not None and post.gen_start is not None
        index = n - post.n + post.gen_start
    else:
        indexed = _INDEXED.fullmatch(name)
        index = n + int(indexed[1] if indexed else "-1" if name == "last" else name)
    if not 0 <= index < n:
        raise UsageError(f"{row} has {n} tokens, so it has no position `{name}`. Remove it or ask for fewer positions.")
    return index
