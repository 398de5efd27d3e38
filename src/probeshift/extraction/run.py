"""Runs a plan: finished shards stay, missing ones are made, damaged ones are named and made again.

The model is loaded only if a shard is missing. Batches are launched ahead of the copies of the batch before, and a second
thread converts, checks, hashes and writes, so the device does not wait for the disk.
"""

from __future__ import annotations

import ctypes
import json
import logging
import math
import shutil
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import accumulate, cycle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from probeshift.activations import ActivationStore, finish, shard_paths, shard_state, write_shard
from probeshift.datasets import Statement
from probeshift.errors import StoreError
from probeshift.extraction.batching import Batch
from probeshift.extraction.forward import PREFIX_TOLERANCE, BatchReader, is_out_of_memory
from probeshift.extraction.plan import ExtractionOptions, Plan, make_plan
from probeshift.models import LanguageModel, ModelInfo, folder_name
from probeshift.models.prompts import RAW, PromptFormat
from probeshift.provenance import cache_root, cannot_write, publish

log = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]  # label, tokens done, tokens in all


@dataclass(frozen=True)
class Extraction:
    """What `prepare` found: the plan, where it lives, and the finished store if there is one."""

    label: str
    plan: Plan
    options: ExtractionOptions
    folder: Path
    finished: ActivationStore | None

    @property
    def tokens_left(self) -> int:
        """Tokens still to compute; 0 when finished. Looks at files, not at their checksums."""
        if self.finished:
            return 0
        missing = (i for i in range(len(self.plan.shards)) if not shard_paths(self.folder, i)[1].exists())
        return sum(self.plan.shard_tokens(i) for i in missing)


def prepare(
    statements: Sequence[Statement],
    info: ModelInfo,
    tokenizer: Any,
    options: ExtractionOptions,
    *,
    label: str,
    identity: dict[str, Any] | None = None,
    root: Path | None = None,
) -> Extraction:
    """Make the plan and look for a finished store that already answers it. Loads no weights.

    A finished store answers when it holds the same content at all wanted layers, in the wanted dtype. Never in another: one split
    in bfloat16 and one in float32 are not the same place.
    """
    plan = make_plan(statements, info, tokenizer, options, identity)
    home = (root or cache_root() / "activations") / folder_name(info.name)
    folder = home / f"{label}-{plan.content_id[:12]}-{plan.plan_id[:12]}"
    return Extraction(label, plan, options, folder, _find_finished(home, plan, options))


def _find_finished(home: Path, plan: Plan, options: ExtractionOptions) -> ActivationStore | None:
    for index in sorted(home.glob(f"*-{plan.content_id[:12]}-*/index.json")):
        store = ActivationStore.open(index.parent)
        same = store.plan["content_id"] == plan.content_id and set(options.layers) <= set(store.layers)
        if same and store.dtype == options.dtype:
            return store
        if same:
            log.info("%s is there in %s; --dtype %s takes it", index.parent.name, store.dtype, store.dtype)
    return None


def read_activations(
    model: LanguageModel,
    statements: Sequence[Statement],
    *,
    layers: Sequence[int],
    positions: Sequence[str] = ("last",),
    prompts: PromptFormat = RAW,
    root: Path | None = None,
) -> ActivationStore:
    """The residual stream of statements at the given positions after the given blocks, computed once and kept in the cache.

    Raises:
        UsageError: no statements, an unknown layer, or prompts longer than the model's context.
    """
    dtype = str(model.dtype).removeprefix("torch.")
    options = ExtractionOptions(
        layers=tuple(sorted(set(layers))),
        dtype=dtype,
        device=model.device.type,
        positions=tuple(positions),
        prompts=prompts,
        reuse_prefixes=model.info.causal,
    )
    label = "+".join(dict.fromkeys(f"{s.dataset}-{s.split}" for s in statements))
    return extract(prepare(statements, model.info, model.tokenizer, options, label=label, root=root), lambda: model)


def extract(
    job: Extraction, load: Callable[[], LanguageModel], *, on_progress: Progress | None = None
) -> ActivationStore:
    """Finish a prepared extraction and open its store.

    `load` is called only when something is missing. Shards already present are checked against their checksums first.

    Raises:
        StoreError: the disk is full, activations are not finite, or another process left the store unusable.
    """
    if job.finished:
        store = job.finished
        damaged = [i for i in range(store.plan["n_shards"]) if _needs_work(store.folder, i)]
        if not damaged:
            return store
        (store.folder / "index.json").unlink()  # finished no longer
    missing = [i for i in range(len(job.plan.shards)) if _needs_work(job.folder, i)]
    return _fill(job, missing, load, on_progress)


def _needs_work(folder: Path, shard: int) -> bool:
    state = shard_state(folder, shard)
    if state == "damaged":
        log.warning("shard %s is damaged (its checksum differs); it is made again", shard_paths(folder, shard)[0])
    return state != "done"


def _fill(
    job: Extraction, missing: list[int], load: Callable[[], LanguageModel], on_progress: Progress | None
) -> ActivationStore:
    _check_space(job)
    try:
        job.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(job.folder, error) from error
    if not (job.folder / "plan.json").exists():
        job.plan.save(job.folder)
    if missing:
        model = load()
        plan = job.plan
        names = plan.header["positions"]
        reader = BatchReader(model, job.options.layers, plan.sequences, plan.positions, plan.spans, names)
        plain = _without_prefixes_if_wrong(job, reader)
        if plain is not None:
            return extract(plain, load, on_progress=on_progress)
        _run_shards(job, missing, reader, on_progress)
    finish(job.folder, len(job.plan.shards), len(job.plan.sequences))
    return ActivationStore.open(job.folder)


def _check_space(job: Extraction) -> None:
    parent = next(p for p in (job.folder, *job.folder.parents) if p.exists())
    free = shutil.disk_usage(parent).free
    if job.plan.store_bytes > free:
        raise StoreError(
            f"{job.label} needs {job.plan.store_bytes / 1e9:.1f} GB at {parent}, {free / 1e9:.1f} GB are free. "
            "Free some space, set PROBESHIFT_CACHE to another disk, or store fewer layers (--layers, --layer-skip)."
        )


def _without_prefixes_if_wrong(job: Extraction, reader: BatchReader) -> Extraction | None:
    """Compare shared groups with the plain pass; a job without sharing if the architecture does not allow it."""
    if shares_safely(job.plan, reader, job.folder):
        return None
    return _replan(job, replace(job.options, reuse_prefixes=False), reader.model)


def shares_safely(plan: Plan, reader: BatchReader, record: Path | None = None) -> bool:
    """Whether computing the shared prefixes of a plan once gives what the plain pass gives; true where nothing is shared.

    Tried on the first plan of a loaded model, and again only for what that did not cover. What was measured goes into the
    folder `record`. Without memory for the comparison the reader is told not to share.
    """
    known, groups = reader.model.prefix_reuse, _groups_to_check(plan, reader.model)
    if not groups:
        return True
    try:
        for case in groups:
            if case not in known:
                known[case] = reader.prefix_difference(groups[case])
    except (TypeError, ValueError, AttributeError, NotImplementedError, IndexError, RuntimeError, MemoryError) as error:
        if is_out_of_memory(
            error
        ):  # says nothing about the architecture: the plan stays, but nothing unchecked is used
            log.warning("no memory to check prefix reuse; batches that share a prefix are halved and read without it")
            reader.shares = False
            return True
        log.warning("%s cannot reuse prefixes (%s: %s)", plan.header["model"], type(error).__name__, error)
        known |= dict.fromkeys(groups, float("inf"))
    difference = max(known[case] for case in groups)
    log.info("prefix reuse differs from the plain pass by %.2g (relative)", difference)
    if difference > PREFIX_TOLERANCE[reader.model.dtype]:
        log.warning("prefix reuse is off: it changes activations by %.2g (relative)", difference)
        return False
    if record is not None:
        publish(record / "prefix_check.json", json.dumps({"relative_difference": difference}))
    return True


def _groups_to_check(plan: Plan, model: LanguageModel) -> dict[Hashable, Batch]:
    """By case, two members of a group that shares a prefix: of the cheapest, and of the longest where it passes the window of
    sliding attention, which shows only there. A case covers all later plans that reach no deeper layer."""
    shared = [Batch(b.prefix, (group[:2],)) for b in plan.batches if b.prefix for group in b.groups if len(group) > 1]
    shared.sort(key=lambda batch: batch.tokens(plan.lengths))
    window = getattr(model.info.config.get_text_config(), "sliding_window", None)
    beyond = [b for b in shared if window and max(plan.lengths[s] for s in b.sequences) > window]
    deepest = max(plan.header["layers"])
    return {(case, deepest): found[0] for case, found in (("any", shared), ("window", beyond[-1:])) if found}


def _replan(job: Extraction, options: ExtractionOptions, model: LanguageModel) -> Extraction:
    if not (job.folder / "shards").exists():  # nothing made yet, by us or beside us
        shutil.rmtree(job.folder)
    return prepare(
        job.plan.rows.statements, model.info, model.tokenizer, options, label=job.label, root=job.folder.parent.parent
    )


def _run_shards(job: Extraction, missing: list[int], reader: BatchReader, on_progress: Progress | None) -> None:
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
    _remember_rate(reader.model, done - before, time.perf_counter() - start)


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


def _rates_file() -> Path:
    return cache_root() / "rates.json"


def _remember_rate(model: LanguageModel, tokens: int, seconds: float) -> None:
    """Keep tokens per second of long enough runs, for the next plan's estimate."""
    if seconds < 1:
        return
    rates = known_rates()
    rates[rate_key(model.info, model.device.type, str(model.dtype).removeprefix("torch."))] = tokens / seconds
    publish(_rates_file(), json.dumps(rates, indent=1))


def known_rates() -> dict[str, float]:
    """Tokens per second measured on this machine, by `rate_key`."""
    return json.loads(_rates_file().read_text()) if _rates_file().exists() else {}


def rate_key(info: ModelInfo, device: str, dtype: str) -> str:
    return f"{info.config_hash[:16]} {device} {dtype}"
