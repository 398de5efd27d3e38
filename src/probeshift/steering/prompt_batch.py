"""Prompts read side by side, their cached keys, and which rows are still written.

What all prompts of a batch begin with, such as the opening of a chat template, is read once for every distinct treatment of
it rather than once a row. Rows are padded on the left of what is their own.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from probeshift.models import LanguageModel, cache_argument, growing_cache, has_window
from probeshift.steering.forward import TokenIds, takes
from probeshift.steering.unsteered_blocks import Alike, Below, alike, has_keys_by_block, read_below, standing_in

# Cached keys give bitwise the plain pass only from whole attention tiles and a few tokens behind them.
_STEP, _BEHIND = 16, 4
# Share of the prompts' tokens that reading their beginning once must save.
_MIN_SAVING = 0.05


@dataclass(frozen=True)
class SharedPrefix:
    """The first `length` tokens of all prompts; row i has the treatment of row `leaders[groups[i]]` on them."""

    length: int
    leaders: tuple[int, ...]
    groups: tuple[int, ...]


def shared_prefix(prompts: Sequence[TokenIds], treatments: Sequence[Hashable]) -> SharedPrefix | None:
    """What all prompts begin with, if reading it once per distinct treatment is worth a pass of its own."""
    first, last = min(map(tuple, prompts)), max(map(tuple, prompts))  # all others begin with what these two share
    common = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    length = max(0, min(common, min(map(len, prompts)) - _BEHIND)) // _STEP * _STEP
    leaders: dict[Hashable, int] = {}
    for row, treatment in enumerate(treatments):
        leaders.setdefault(treatment, row)
    saved = (len(prompts) - len(leaders)) * length
    if saved <= _MIN_SAVING * sum(map(len, prompts)):
        return None
    number = {treatment: group for group, treatment in enumerate(leaders)}
    return SharedPrefix(length, tuple(leaders.values()), tuple(number[t] for t in treatments))


class PromptBatch:
    """The rows of a batch while they are written. `rows` are indices of prompts.

    Before `read_prompts`, and outside any steering of whole batches, what rows have in common can be read once:
    `read_prefix`, then `read_below`.
    """

    def __init__(self, model: LanguageModel, prompts: Sequence[TokenIds]) -> None:
        self.model, self.rows, self.prompts = model, list(range(len(prompts))), prompts
        self.cache: Any = growing_cache(model.info.config)
        self.start = 0
        self.mask: Tensor | None = None
        self.positions = torch.zeros(0)
        self.below: Below | None = None

    def may_share(self) -> bool:
        """Not where keys are forgotten by distance: padding behind the prefix would count as distance."""
        return not has_window(self.cache)

    def read_prefix(self, prefix: SharedPrefix) -> None:
        """Read the shared beginning, a row per leader, and give every row the keys of its own."""
        self.start = prefix.length
        ids = torch.tensor([list(self.prompts[row][: prefix.length]) for row in prefix.leaders])
        self.positions = torch.arange(prefix.length, device=self.model.device).expand(len(ids), -1)
        self._forward(ids.to(self.model.device))
        self.cache.batch_select_indices(torch.tensor(prefix.groups, device=self.model.device))

    def read_below(self, layer: int) -> None:
        """Read each distinct prompt once up to block `layer`, where that is possible and worth it."""
        rows, n_layers = alike([tuple(p) for p in self.prompts]), len(self.model.blocks)
        inside = 0 <= layer < n_layers  # else steering refuses it, in words
        if rows is None or not inside or not has_keys_by_block(self.cache, n_layers):
            return
        rows = Alike(rows.firsts.to(self.model.device), rows.groups.to(self.model.device))
        ids = self._lay_out()[rows.firsts]
        part = copy(self)
        part.positions = self.positions[rows.firsts]
        part.mask = None if self.mask is None else self.mask[rows.firsts]

        def forward(cache: Any) -> None:
            part.cache = cache
            part._forward(ids)

        self.below = read_below(self.model.blocks, layer, self.cache, rows, forward)

    def read_prompts(self) -> Tensor:
        """Logits [row, vocabulary] for the first new token."""
        ids = self._lay_out()
        if self.below is None:
            return self._forward(ids)
        with standing_in(self.model.blocks, self.below, self.cache):
            logits = self._forward(ids)
        self.below = None
        return logits

    def _lay_out(self) -> Tensor:
        """The ids behind the shared beginning, side by side; sets where they stand and which are padding."""
        device, own = self.model.device, [list(p[self.start :]) for p in self.prompts]
        longest = max(map(len, own))
        missing = torch.tensor([longest - len(p) for p in own], device=device)[:, None]
        columns = torch.arange(longest, device=device)
        self.positions = self.start + (columns - missing).clamp_min(0)
        if missing.any():
            before = torch.ones(len(own), self.start, dtype=torch.long, device=device)
            self.mask = torch.cat([before, (columns >= missing).long()], dim=1)
        return torch.tensor([[*([0] * (longest - len(p))), *p] for p in own], device=device)

    def read_next(self, chosen: Tensor) -> Tensor:
        """Logits for the token behind the chosen ones."""
        self.positions = self.positions[:, -1:] + 1
        if self.mask is not None:
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(chosen), 1)], dim=1)
        return self._forward(chosen[:, None])

    def keep(self, places: Tensor) -> None:
        """Drop all rows but those at these places."""
        self.rows = [self.rows[place] for place in places.tolist()]
        self.positions = self.positions[places]
        self.mask = None if self.mask is None else self.mask[places]
        self.cache.batch_select_indices(places)

    def _forward(self, ids: Tensor) -> Tensor:
        inputs: dict[str, Any] = {"input_ids": ids, cache_argument(self.model.module): self.cache, "use_cache": True}
        if takes(self.model, "position_ids"):
            inputs["position_ids"] = self.positions
        if self.mask is not None:
            inputs["attention_mask"] = self.mask
        if takes(self.model, "logits_to_keep"):
            inputs["logits_to_keep"] = 1
        return self.model.module(**inputs).logits[:, -1]
