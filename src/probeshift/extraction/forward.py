"""One batch through the model: wanted layers and tokens only, shared prefixes once, no head, nothing past the deepest layer."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor

from probeshift.errors import OutOfMemoryError
from probeshift.extraction.batching import Batch, TokenIds
from probeshift.extraction.pooling import PooledSpans, Span
from probeshift.extraction.positions import POOLS
from probeshift.models import LanguageModel, StopForward, cache_argument, new_cache, record_residuals

log = logging.getLogger(__name__)

# Largest relative difference (Frobenius norm, per layer) that cached keys may make against the plain pass.
PREFIX_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 5e-3}


class BatchReader:
    """Reads chosen layers and positions of planned batches from one loaded model.

    `names` are the positions in the order they are stored; `positions` the token indices of the unpooled ones of each sequence,
    `spans` the tokens that pooled ones read. Source of the cached pass: keys and values of a prefix do not depend on what
    follows it in a causal model.
    """

    def __init__(
        self,
        model: LanguageModel,
        layers: Sequence[int],
        sequences: Sequence[TokenIds],
        positions: Sequence[Sequence[int]],
        spans: Sequence[Sequence[int]] = (),
        names: Sequence[str] = ("last",),
    ) -> None:
        self.model, self.layers, self.sequences, self.positions = model, tuple(layers), sequences, positions
        self.spans, self.pools = spans, tuple(name for name in names if name in POOLS)
        points = [name for name in names if name not in POOLS]
        self._column = [[*points, *self.pools].index(name) for name in names]
        # Encoders count positions in their own way (RoBERTa starts at 2) and get their mask instead.
        named = inspect.signature(model.backbone.forward).parameters
        self._takes_positions = model.info.causal and "position_ids" in named
        self.splits = 0  # batches cut in half for lack of memory; recorded, since it changes rounding
        self.shares = True  # off: batches with a prefix are halved and read plainly

    def read(self, batch: Batch) -> Tensor:
        """Residual stream of a batch as [layer, sequence, position, d_model] on the model's device.

        Raises:
            OutOfMemoryError: a single sequence does not fit.
        """
        with torch.inference_mode():
            try:
                if not batch.prefix:
                    return self._plain(batch.sequences)
                if self.shares:
                    return self._cached(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
        return self._halves(batch)  # outside the handler, so that the failed pass's tensors are free

    def visit(self, sequences: Sequence[int], take: Callable[[int, Tensor], None]) -> None:
        """Hand over the states [token, d_model] of each sequence's span at the one layer; none of them is kept.

        Raises:
            OutOfMemoryError: a single sequence does not fit.
        """

        def see(_: int, hidden: Tensor) -> None:
            for row, sequence in enumerate(sequences):
                start, stop = self.spans[sequence]
                take(sequence, hidden[row, start:stop])

        try:
            with torch.inference_mode(), record_residuals(self.model.blocks, self.layers, see, stop=True):
                mask = None if self.model.info.causal else self._mask(sequences)
                self._forward(_pad([self.sequences[s] for s in sequences]), mask=mask)
            return
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(sequences) == 1:
                raise OutOfMemoryError(
                    "one text does not fit in memory. Use --max-tokens or a larger device."
                ) from error
        for half in (sequences[: len(sequences) // 2], sequences[len(sequences) // 2 :]):
            self.visit(half, take)

    def _halves(self, batch: Batch) -> Tensor:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        rows = batch.sequences
        if len(rows) == 1:
            raise OutOfMemoryError(
                f"one prompt of {len(self.sequences[rows[0]])} tokens does not fit in the memory of {self.model.device}. "
                f"Use --max-tokens {len(self.sequences[rows[0]]) // 2}, a larger device or --device-map auto."
            )
        self.splits += 1
        log.warning("out of memory with %d prompts; halving the batch", len(rows))
        halves = (rows[: len(rows) // 2], rows[len(rows) // 2 :])
        return torch.cat([self.read(Batch(0, tuple((s,) for s in half))) for half in halves], dim=1)

    def _plain(self, rows: Sequence[int]) -> Tensor:
        ids = _pad([self.sequences[s] for s in rows])
        wanted = [(r, p, token) for r, s in enumerate(rows) for p, token in enumerate(self.positions[s])]
        pooled = [(r, self.spans[s][0], self.spans[s][1]) for r, s in enumerate(rows)] if self.pools else []
        with self._capture(len(rows), ([(r, p, r, token) for r, p, token in wanted],), (pooled,)) as take:
            self._forward(ids, mask=None if self.model.info.causal else self._mask(rows))
        return take.result(self._column)

    def _cached(self, batch: Batch) -> Tensor:
        """Prefixes once, then every suffix on its prefix's keys and values."""
        rows, prefix = batch.sequences, batch.prefix
        group_of = [g for g, members in enumerate(batch.groups) for _ in members]
        before = [
            (r, p, group_of[r], t) for r, s in enumerate(rows) for p, t in enumerate(self.positions[s]) if t < prefix
        ]
        after = [
            (r, p, r, t - prefix) for r, s in enumerate(rows) for p, t in enumerate(self.positions[s]) if t >= prefix
        ]
        cache = new_cache(self.model.info.config)
        with self._capture(len(rows), (before, after), self._cut_spans(rows, group_of, prefix)) as take:
            heads = torch.tensor([self.sequences[members[0]][:prefix] for members in batch.groups])
            self._forward(heads, cache=cache)
            cache.batch_select_indices(torch.tensor(group_of, device=self._cache_device()))
            take.next_pass()
            self._forward(_pad([self.sequences[s][prefix:] for s in rows]), cache=cache, start=prefix)
        return take.result(self._column)

    def _cut_spans(self, rows: Sequence[int], group_of: Sequence[int], prefix: int) -> tuple[list[Span], list[Span]]:
        """The part of each pooled span inside the prefix of its group, and the part behind it."""
        if not self.pools:
            return [], []
        spans = [tuple(self.spans[s]) for s in rows]
        inside = [(g, min(a, prefix), min(b, prefix)) for g, (a, b) in zip(group_of, spans, strict=True)]
        behind = [(r, max(a - prefix, 0), max(b - prefix, 0)) for r, (a, b) in enumerate(spans)]
        return inside, behind

    def _cache_device(self) -> torch.device | None:
        """Where indices into the cache live: beside it, or on the CPU when its layers are spread over devices."""
        return None if getattr(self.model.module, "hf_device_map", None) else self.model.device

    def _mask(self, rows: Sequence[int]) -> Tensor:
        lengths = torch.tensor([len(self.sequences[s]) for s in rows])
        return (torch.arange(int(lengths.max())) < lengths[:, None]).long()

    @contextmanager
    def _capture(
        self, n_rows: int, passes: Sequence[list[tuple[int, int, int, int]]], spans: Sequence[list[Span]]
    ) -> Iterator[_Capture]:
        n_points = len(self.positions[0])
        pooled = PooledSpans(len(self.layers), self.pools, spans) if self.pools else None
        take = _Capture(len(self.layers), n_rows, n_points, passes, pooled)
        with record_residuals(self.model.blocks, self.layers, take, stop=True):
            yield take

    def _forward(self, ids: Tensor, *, mask: Tensor | None = None, cache: Any = None, start: int = 0) -> None:
        device = self.model.device
        positions = torch.arange(start, start + ids.shape[1]).expand(ids.shape[0], -1)
        inputs: dict[str, Any] = {"input_ids": ids.to(device, non_blocking=True)}
        if self._takes_positions:
            inputs["position_ids"] = positions.to(device, non_blocking=True)
        if mask is not None:
            inputs["attention_mask"] = mask.to(device, non_blocking=True)
        if self.model.info.causal:
            inputs["use_cache"] = cache is not None
        if cache is not None:
            inputs[cache_argument(self.model.backbone)] = cache
        with suppress(StopForward):
            self.model.backbone(**inputs)

    def prefix_difference(self, batch: Batch) -> float:
        """Largest relative difference, over layers, between the cached and the plain pass of a batch."""
        with torch.inference_mode():
            cached, plain = self._cached(batch).double(), self._plain(batch.sequences).double()
        norms = plain.flatten(1).norm(dim=1).clamp_min(1e-30)
        return float(((cached - plain).flatten(1).norm(dim=1) / norms).max())


class _Capture:
    """Gathers (row, position) vectors inside the hook: advanced indexing copies, so no whole hidden state stays alive."""

    def __init__(
        self,
        n_layers: int,
        n_rows: int,
        n_points: int,
        passes: Sequence[list[tuple[int, int, int, int]]],
        pooled: PooledSpans | None = None,
    ) -> None:
        self.shape = (n_layers, n_rows, n_points)
        self.passes = [torch.tensor(p, dtype=torch.long).reshape(-1, 4).T for p in passes]
        self.pooled = pooled
        self.current, self.slot = 0, 0
        self.found: Tensor | None = None
        self.index: dict[tuple[int, torch.device], Tensor] = {}

    def __call__(self, layer: int, hidden: Tensor) -> None:
        if self.found is None:  # one block: pieces kept layer by layer would split the memory the layers share
            self.found = hidden.new_empty((*self.shape, hidden.shape[-1]))
        if self.passes[self.current].shape[1]:
            row, position, _, _ = self._index(self.found.device)
            _, _, source, token = self._index(hidden.device)
            self.found[self.slot, row, position] = hidden[source, token].to(self.found.device, non_blocking=True)
        if self.pooled is not None:
            self.pooled.add(self.current, self.slot, hidden)
        self.slot += 1

    def _index(self, device: torch.device) -> Tensor:
        key = (self.current, device)
        if key not in self.index:  # once per batch and device, not once per layer
            self.index[key] = self.passes[self.current].to(device, non_blocking=True)
        return self.index[key]

    def next_pass(self) -> None:
        self.current, self.slot = self.current + 1, 0

    def result(self, columns: Sequence[int]) -> Tensor:
        """[layer, row, position, d_model], on the first layer's device; `columns` orders points followed by pools."""
        assert self.found is not None
        if self.pooled is None:
            return self.found
        both = torch.cat([self.found, self.pooled.result(self.found.dtype).to(self.found.device)], dim=2)
        return both[:, :, list(columns)]


def _pad(sequences: Sequence[TokenIds]) -> Tensor:
    """Token ids padded on the right with 0: in a causal model nothing behind a token reaches it; encoders get a mask."""
    longest = max(map(len, sequences))
    return torch.tensor([[*s, *([0] * (longest - len(s)))] for s in sequences])


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a failed pass asked for more memory than there is; on the CPU torch says so in words only."""
    words = ("out of memory", "not enough memory", "can't allocate memory")
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or any(w in str(error) for w in words)
