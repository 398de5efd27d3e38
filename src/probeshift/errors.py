"""What a user can cause. Every message says what was asked, what was found and the one thing that fixes it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ProbeshiftError(Exception):
    """The run failed for a reason the user can act on. `exit_code` is what the command line returns."""

    exit_code = 1


class UsageError(ProbeshiftError):
    """A name, option, file or column that is not valid as given."""

    exit_code = 2


class MissingError(ProbeshiftError):
    """A model or dataset that is valid but not present on this machine."""

    exit_code = 4


class OutOfMemoryError(ProbeshiftError):
    """Even a batch of one row does not fit."""

    exit_code = 5


class StoreError(ProbeshiftError):
    """An activation store or result folder that is damaged, foreign or cannot be written."""


def nearest(name: str, choices: Iterable[str], n: int = 3) -> str:
    """The valid names closest to `name`, as the end of an error sentence; all of them when none is close and they are few."""
    choices = sorted(set(choices))
    close = difflib.get_close_matches(name.lower(), choices, n=n, cutoff=0.5)
    if close:
        return "Nearest: " + ", ".join(f"`{c}`" for c in close) + "."
    shown = ", ".join(f"`{c}`" for c in choices[:12])
    return f"Valid: {shown}{', ...' if len(choices) > 12 else ''}." if choices else "There are none."
