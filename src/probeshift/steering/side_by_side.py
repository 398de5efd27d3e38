"""Batches computed at the same time on a CPU, each on a core of its own with its own copy of the modules.

Within one forward pass only the matrix products use all cores; copying cached keys, attention of single tokens and everything
small leave most of them idle.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from queue import SimpleQueue
from typing import Any, TypeVar

import torch

from probeshift.models import LanguageModel, is_hooked, twin

# Fewer rows leave a core waiting for weights from memory.
MIN_ROWS = 64

Batch = TypeVar("Batch")
Result = TypeVar("Result")


def n_at_once(model: LanguageModel, n_rows: int) -> int:
    """How many batches to compute at the same time: on a CPU as many as have cores and rows enough, else one."""
    if model.device.type != "cpu" or is_hooked(model.blocks):
        return 1
    return max(1, min(torch.get_num_threads(), n_rows // MIN_ROWS))


def side_by_side(
    model: LanguageModel, batches: Sequence[Batch], work: Callable[[LanguageModel, Batch], Result], *, at_once: int
) -> Iterator[Result]:
    """`work(model, batch)` of every batch, as they are done; cores are shared out evenly.

    Left early, by an error or an interrupt, it ends what is running at the next forward pass.
    """
    if at_once == 1 or len(batches) < 2:
        yield from (work(model, batch) for batch in batches)
        return
    threads, stop = torch.get_num_threads(), threading.Event()
    free: SimpleQueue[LanguageModel] = SimpleQueue()
    for _ in range(at_once):
        free.put(_stoppable(twin(model), stop))

    def one(batch: Batch) -> Result:
        torch.set_num_threads(max(1, threads // at_once))  # of this thread
        own = free.get()
        try:
            return work(own, batch)
        finally:
            free.put(own)

    pool = ThreadPoolExecutor(at_once)
    try:
        for done in as_completed([pool.submit(one, batch) for batch in batches]):
            yield done.result()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # threads that start later take the number set last


class _LeftError(Exception):
    """Nobody waits for this batch any more."""


def _stoppable(model: LanguageModel, stop: threading.Event) -> LanguageModel:
    def look(*_: Any) -> None:
        if stop.is_set():
            raise _LeftError

    model.backbone.register_forward_pre_hook(look)
    return model
