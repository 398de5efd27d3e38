"""Shards of an extraction, made one after another: claimed under a lock, filled batch by batch, checked, written.

Batches are launched ahead of the copies of the batch before, and a second thread converts, checks, hashes and writes, so the
device does not wait for the disk.
"""

from __future__ import annotations

import ctypes
import logging
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import accumulate, cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from probeshift.activations import shard_state, write_shard
from probeshift.errors import StoreError
from probeshift.extraction.batching import Batch
from probeshift.extraction.forward import BatchReader
from probeshift.extraction.job import Extraction
from probeshift.extraction.rates import remember_rate

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]  # label, tokens done, tokens in all


def run_shards(job: Extraction, missing: list[int], reader: BatchReader, on_progress: Progress | None) -> None:
    """Make the missing shards of a prepared extraction, those that another process holds at the end.

    Raises:
        StoreError: activations are not finite, or the disk is full.
    """
    total = sum(job.plan.shard_tokens(i) for i in range(len(job.plan.shards)))
    done = before = total - sum(job.plan.shard_tokens(i) for i in missing)
    start = time.perf_counter()
    shapes = {shard: _shard_shape(job, shard) for shard in missing}
    # One shard computed, one written. Taken once: memory freed shard by shard goes back to the system only in part.
    space = cycle(torch.empty(2, max(map(math.prod, shapes.values())), dtype=reader.model.dtype))
    with ThreadPoolExecutor(1) as writer:
        writing: Future[None] | None = None
        for shard, lock in _claimed(job.folder, missing):
            _return_free_memory()
            batches = [job.plan.batches[b] for b in job.plan.shards[shard]]
            values = next(space)[: math.prod(shapes[shard])].view(shapes[shard])
            for batch in _fill_shard(values, batches, reader):
                done += batch.tokens(job.plan.lengths)
                if on_progress:
                    on_progress(job.label, done, total)
            if writing:
                writing.result()  # at most one shard waits for the disk while another is computed
            sequences = np.array([s for b in batches for s in b.sequences])
            writing = writer.submit(_write, job, shard, values, sequences, _where(reader), lock)
        if writing:
            writing.result()
    remember_rate(reader.model, done - before, time.perf_counter() - start)


def _return_free_memory() -> None:
    """Hand free pages back to the system: glibc keeps those between blocks in use, more of them with every size of batch."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim:
        trim(0)


def _shard_shape(job: Extraction, shard: int) -> tuple[int, int, int, int]:
    """Layers, sequences, positions, d_model."""
    n_sequences = sum(len(job.plan.batches[b].sequences) for b in job.plan.shards[shard])
    return len(job.options.layers), n_sequences, len(job.plan.header["positions"]), job.plan.header["d_model"]


def _claimed(folder: Path, missing: Sequence[int]) -> Iterator[tuple[int, FileLock]]:
    """Shards to make, each under its lock; those another process holds are waited for at the end, then checked again."""
    (folder / "shards").mkdir(parents=True, exist_ok=True)
    held = []
    for shard in missing:
        lock = FileLock(folder / "shards" / f"{shard:05d}.lock", thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            held.append((shard, lock))
            continue
        yield from _still_missing(folder, shard, lock)
    for shard, lock in held:
        log.info("waiting for shard %d, which another process is making", shard)
        lock.acquire()
        yield from _still_missing(folder, shard, lock)


def _still_missing(folder: Path, shard: int, lock: FileLock) -> Iterator[tuple[int, FileLock]]:
    if shard_state(folder, shard) == "done":
        lock.release()
        return
    for leftover in (folder / "shards").glob(f".{shard:05d}.*.tmp"):  # of a killed run: the lock says nobody is writing
        leftover.unlink()
    yield shard, lock


def _fill_shard(values: Tensor, batches: Sequence[Batch], reader: BatchReader) -> Iterator[Batch]:
    """Read batches into a shard, in order; each is handed back once its rows are there.

    From a GPU rows are copied while the next batch computes.
    """
    ends = accumulate(len(batch.sequences) for batch in batches)
    started: list[tuple[Batch, Callable[[], Any]]] = []
    for batch, end in zip(batches, ends, strict=True):
        place = values[:, end - len(batch.sequences) : end]
        started.append((batch, _start_copy(reader.read(batch), place)))
        if len(started) > 1:
            yield _finished(*started.pop(0))
    yield from (_finished(*last) for last in started)


def _start_copy(result: Tensor, place: Tensor) -> Callable[[], Any]:
    """Begin to copy a batch to its place in the shard; what comes back ends it."""
    if result.device.type != "cuda":
        place.copy_(result)
        return lambda: None
    host = torch.empty(result.shape, dtype=result.dtype, pin_memory=True)
    host.copy_(result, non_blocking=True)
    event = torch.cuda.Event()
    event.record(torch.cuda.current_stream(result.device))

    def finish() -> None:
        event.synchronize()
        place.copy_(host)

    return finish


def _finished(batch: Batch, finish: Callable[[], Any]) -> Batch:
    finish()
    return batch


def _write(
    job: Extraction, shard: int, values: Tensor, sequences: np.ndarray, where: dict[str, Any], lock: FileLock
) -> None:
    try:
        _check_finite(job, values, sequences)
        bits = values.view(torch.uint16).numpy() if values.dtype == torch.bfloat16 else values.numpy()
        layers = dict(zip(job.options.layers, bits, strict=True))
        write_shard(job.folder, shard, layers, sequences, dtype=job.options.dtype, record=where)
    finally:
        lock.release()


def _check_finite(job: Extraction, values: Tensor, sequences: np.ndarray) -> None:
    for layer, of_layer in zip(job.options.layers, values, strict=True):  # layer by layer: the test makes copies
        bad = ~torch.isfinite(of_layer).flatten(1).all(dim=1)
        if bad.any():
            row = next(r for r in job.plan.rows if r["sequence"] == sequences[int(bad.nonzero()[0])])
            raise StoreError(
                f"activations are not finite at layer {layer} for {row['dataset']} row {row['row_id']} in "
                f"{job.options.dtype}. Use --dtype bfloat16 or float32: float16 overflows at 65504."
            )


def _where(reader: BatchReader) -> dict[str, Any]:
    """The machine's part in the bits, beside the shard."""
    device = reader.model.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "device": name, "threads": torch.get_num_threads(), "torch": torch.__version__,
        "attention": reader.model.attention, "memory_splits": reader.splits,
    }  # fmt: skip
