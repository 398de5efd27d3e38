"""Blocks below all steering: they read each distinct prompt once, whatever is done to its rows further up.

In a sweep every prompt stands in a batch many times, with many vectors and strengths. Up to the first steered block the
states of these rows are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager, suppress
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from probeshift.models import StopForward

# Share of a batch's rows that must be copies of others.
_MIN_SAVING = 0.25


@dataclass(frozen=True)
class Alike:
    """Rows of a batch that differ (`firsts`), and for every row the place of its like among them (`groups`)."""

    firsts: Tensor
    groups: Tensor


def alike(rows: Sequence[Hashable]) -> Alike | None:
    """Which rows are the same; None where too few are."""
    firsts = {row: i for i, row in reversed(list(enumerate(rows)))}
    order = sorted(firsts.values())
    if len(order) > (1 - _MIN_SAVING) * len(rows):
        return None
    place = {rows[i]: number for number, i in enumerate(order)}
    return Alike(torch.tensor(order), torch.tensor([place[row] for row in rows]))


@dataclass(frozen=True)
class Below:
    """What blocks 0 to `layer` made of a batch: the output of the last, and the cached keys and values of each."""

    layer: int
    hidden: Tensor
    cached: list[Any]


def has_keys_by_block(cache: Any, n_layers: int) -> bool:
    """Whether each block has keys of its own that nothing forgets."""
    layers = getattr(cache, "layers", ())
    return len(layers) == n_layers and all(type(layer).__name__ == "GrowingLayer" for layer in layers)


def read_below(
    blocks: Sequence[nn.Module], layer: int, cache: Any, rows: Alike, forward: Callable[[Any], Any]
) -> Below | None:
    """Run `forward(its cache)` on the rows that differ, as far as block `layer`. The given cache is left as it is.

    None where a block returns more than the residual stream.
    """
    own, found = copy(cache), []
    own.layers = [copy(each) for each in cache.layers]
    own.batch_select_indices(rows.firsts)

    def stop(_module: nn.Module, _args: tuple, output: Any) -> None:
        found.append(output)
        raise StopForward

    hook = blocks[layer].register_forward_hook(stop)
    try:
        with suppress(StopForward):
            forward(own)
    finally:
        hook.remove()
    if not isinstance(found[0], Tensor):
        return None
    for each in own.layers[: layer + 1]:
        each.batch_select_indices(rows.groups)
    return Below(layer, found[0][rows.groups], own.layers[: layer + 1])


@contextmanager
def standing_in(blocks: Sequence[nn.Module], below: Below, cache: Any) -> Iterator[None]:
    """For one forward pass of the whole batch: blocks 0 to `below.layer` hand on what is known, with their keys."""
    replaced = list(blocks[: below.layer + 1])
    before = [vars(block).get("forward") for block in replaced]
    for block in replaced:
        block.forward = lambda *_args, **_named: below.hidden  # hooks on the block still run
    try:
        yield
    finally:
        for block, own in zip(replaced, before, strict=True):
            del block.forward
            if own is not None:
                block.forward = own
    cache.layers[: below.layer + 1] = below.cached
