"""Rules about what the whole answer is wrapped in."""

from __future__ import annotations

import json
import re

from probeshift.steering.rules.pairs import pairs_of
from probeshift.steering.rules.rule import Rule

_FENCE = re.compile(r"\s*```[\w+-]*[ \t]*\n(.*?)\n?```\s*", re.DOTALL)


def _is_quoted(text: str) -> bool:
    """A quotation mark inside would end the quotation: then it is not the whole answer that is quoted."""
    text = text.strip()
    inside = text[1:-1]
    straight = text[:1] == text[-1:] == '"' and '"' not in inside
    curly = text[:1] == "“" and text[-1:] == "”" and not set("“”") & set(inside)
    return (straight or curly) and bool(inside.strip())


def _is_json(text: str) -> bool:
    """An object or an array; a bare number or string is valid JSON too, but so is many a plain answer."""
    try:
        return isinstance(json.loads(text, parse_constant=_refuse), dict | list)
    except (ValueError, RecursionError):
        return False


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _without_fence(text: str) -> str:
    found = _FENCE.fullmatch(text)
    return found[1] if found else text


WRAPPING_RULES = (
    Rule(
        name="quoted",
        group="wrapping",
        request="Put your whole answer in double quotation marks.",
        check=_is_quoted,
        pairs=pairs_of(lambda answer: f'"{answer.text}"'),
    ),
    Rule(
        name="json",
        group="wrapping",
        request="Give your whole answer as a valid JSON object.",
        check=_is_json,
        pairs=pairs_of(lambda answer: json.dumps({"topic": answer.topic, "answer": answer.text}, indent=1)),
        unwrap=_without_fence,
    ),
)
