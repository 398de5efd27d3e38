"""Means and maxima over the tokens of a span, gathered while a batch is computed: no hidden state is kept for them.

A span may be read in two passes (a shared prefix, then what follows it), so sums and maxima are carried from pass to pass, in
float32 whatever the model computes in.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Span = tuple[int, int, int]
"""Row of the batch that holds it, first token, end: all within one pass. Empty where the end is not behind the first."""


class PooledSpans:
    """One span per row; `pools` are names of `POOLS`, in the order they come back; `passes` gives every row's part of each pass."""

    def __init__(self, n_layers: int, pools: Sequence[str], passes: Sequence[Sequence[Span]]) -> None:
        self.n_layers, self.pools = n_layers, tuple(pools)
        self.parts = [_Part(spans) for spans in passes]
        self.counts = sum((torch.tensor([max(0, b - a) for _, a, b in spans]) for spans in passes), torch.tensor(0))
        self.sums: Tensor | None = None
        self.maxima: Tensor | None = None

    def add(self, current: int, slot: int, hidden: Tensor) -> None:
        """Take in what layer number `slot` computes in one pass: [batch, token, d_model]."""
        part = self.parts[current]
        if self.sums is None or self.maxima is None:
            shape = (self.n_layers, len(self.counts), hidden.shape[-1])
            self.sums = hidden.new_zeros(shape, dtype=torch.float32)
            self.maxima = hidden.new_full(shape, float("-inf"), dtype=torch.float32)
        if part.empty:
            return
        sources, inside, of_row = part.on(hidden)
        states = (hidden if part.whole(len(hidden)) else hidden[sources]).float()
        if "mean" in self.pools:
            self.sums[slot] += torch.einsum("rt,rtd->rd", inside.float(), states)[of_row].to(self.sums.device)
        if "max" in self.pools:
            found = states.masked_fill(~inside[..., None], float("-inf")).amax(1)[of_row].to(self.maxima.device)
            self.maxima[slot] = torch.maximum(self.maxima[slot], found)

    def result(self, dtype: torch.dtype) -> Tensor:
        """[layer, row, pool, d_model]."""
        assert self.sums is not None and self.maxima is not None
        means = self.sums / self.counts[:, None].to(self.sums.device)
        of = {"mean": means, "max": self.maxima}
        return torch.stack([of[pool] for pool in self.pools], dim=2).to(dtype)


class _Part:
    """The spans of one pass; rows that read the same tokens (of one shared prefix) are reduced once."""

    def __init__(self, spans: Sequence[Span]) -> None:
        distinct = {span: number for number, span in enumerate(dict.fromkeys(spans))}
        self.spans = tuple(distinct)
        self.of_row = torch.tensor([distinct[span] for span in spans])
        self.empty = all(stop <= start for _, start, stop in spans)
        self._held: dict[tuple[torch.device, int], tuple[Tensor, Tensor, Tensor]] = {}

    def whole(self, n: int) -> bool:
        """Whether the spans are those of all `n` rows of the batch, in order."""
        return [source for source, _, _ in self.spans] == list(range(n))

    def on(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Batch rows, [span, token] inside or not, and each row's span; made once per device, not once per layer."""
        key = (hidden.device, hidden.shape[1])
        if key not in self._held:
            sources, starts, stops = torch.tensor(self.spans).T
            tokens = torch.arange(hidden.shape[1])
            inside = (tokens >= starts[:, None]) & (tokens < stops[:, None])
            made = [t.to(hidden.device, non_blocking=True) for t in (sources, inside, self.of_row)]
            self._held[key] = (made[0], made[1], made[2])
        return self._held[key]
