"""Runs a plan: finished shards stay, missing ones are made, damaged ones are named and made again.

The model is loaded only if a shard is missing.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from pathlib import Path

from probeshift.activations import ActivationStore, finish, shard_paths, shard_state
from probeshift.datasets import Statement
from probeshift.errors import StoreError
from probeshift.extraction.batching import Batch
from probeshift.extraction.forward import PREFIX_TOLERANCE, BatchReader, is_out_of_memory
from probeshift.extraction.job import Extraction, prepare
from probeshift.extraction.plan import ExtractionOptions, Plan
from probeshift.extraction.shards import Progress, run_shards
from probeshift.models import LanguageModel
from probeshift.models.prompts import RAW, PromptFormat
from probeshift.provenance import cannot_write, publish

# What an architecture that cannot take the keys of a prefix raises, as far as seen.
_CANNOT_REUSE = TypeError, ValueError, AttributeError, NotImplementedError, IndexError, RuntimeError, MemoryError

log = logging.getLogger(__name__)


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
        run_shards(job, missing, reader, on_progress)
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

    Tried on the first plan of a loaded model, and again only for cases that that did not have. What was measured, and whether on
    this plan, goes into the folder `record`. Without memory for the comparison the reader is told not to share.
    """
    known, groups = reader.model.prefix_reuse, _groups_to_check(plan, reader.model)
    if not groups:
        return True
    new = [case for case in groups if case not in known]
    for case in new:
        try:
            known[case] = reader.prefix_difference(groups[case])
        except _CANNOT_REUSE as error:
            if is_out_of_memory(
                error
            ):  # says nothing about the architecture: the plan stays, nothing unchecked is used
                log.warning(
                    "no memory to check prefix reuse; batches that share a prefix are halved and read without it"
                )
                reader.shares = False
                return True
            log.warning("%s cannot reuse prefixes (%s: %s)", plan.header["model"], type(error).__name__, error)
            known[case] = float("inf")
    difference = max(known[case] for case in groups)
    log.info("prefix reuse differs from the plain pass by %.2g (relative)", difference)
    if difference > PREFIX_TOLERANCE[reader.model.dtype]:
        log.warning("prefix reuse is off: it changes activations by %.2g (relative)", difference)
        return False
    if record is not None:
        publish(
            record / "prefix_check.json",
            json.dumps({"relative_difference": difference, "measured_here": new == list(groups)}),
        )
    return True


def _groups_to_check(plan: Plan, model: LanguageModel) -> dict[Hashable, Batch]:
    """By case, two members of a group that shares a prefix: of the cheapest, of the longest text that passes the window of sliding
    attention, which shows only there, and of the longest prefix that does. A case covers later plans of the same layers."""
    shared = [Batch(b.prefix, (group[:2],)) for b in plan.batches if b.prefix for group in b.groups if len(group) > 1]
    shared.sort(key=lambda batch: batch.tokens(plan.lengths))
    window = getattr(model.info.config.get_text_config(), "sliding_window", None)
    beyond = [b for b in shared if window and max(plan.lengths[s] for s in b.sequences) > window]
    whole = [b for b in beyond if b.prefix > (window or 0)]
    cases = {"any": shared[:1], "text beyond the window": beyond[-1:], "prefix beyond the window": whole[-1:]}
    layers = tuple(plan.header["layers"])
    return {(case, layers): found[0] for case, found in cases.items() if found}


def _replan(job: Extraction, options: ExtractionOptions, model: LanguageModel) -> Extraction:
    if not (job.folder / "shards").exists():  # nothing made yet, by us or beside us
        shutil.rmtree(job.folder)
    return prepare(
        job.plan.rows.statements, model.info, model.tokenizer, options, label=job.label, root=job.folder.parent.parent
    )
