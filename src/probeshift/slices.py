"""The two coordinates of every experiment: where activations come from, and what is measured on them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Slice:
    """A set of labelled activations.

    `mixture` names the data as `dataset:split`, several joined by `+`; `layer` is the 0-based block whose output is read;
    `position` is the token position as the user names it (`last`).
    """

    model: str
    mixture: str
    layer: int
    position: str = "last"


@dataclass(frozen=True, slots=True)
class Cell:
    """One measurement: a method fitted on one slice and scored on another."""

    method: str
    train: Slice
    test: Slice
    seed: int = 0
