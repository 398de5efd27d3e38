"""SAE features of statements, encoded while the model runs: no token's hidden state is stored.

The tokens that are pooled are those of the text: BOS, padding and the words of a template are not among them. One shard of the
plan at a time is kept in the cache, sparse; a killed run loses at most the one it was at.

    <content>-<sae>/00000.safetensors    per pool: values, columns and row starts of [sequence, feature]
    <content>-<sae>/check.json           active features per token and unexplained variance, on texts of all lengths
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from probeshift.errors import StoreError
from probeshift.extraction.forward import BatchReader
from probeshift.extraction.plan import ExtractionOptions, Plan, make_plan
from probeshift.features import POOLS, FitCheck, SparseEncoder, check_fit, pool_features
from probeshift.models import LanguageModel, ModelInfo, folder_name
from probeshift.provenance import cache_root, publish, sha256_json

log = logging.getLogger(__name__)
Progress = Callable[[str, int, int], None]

CHECKED_TOKENS = 2048


@dataclass(frozen=True)
class SaeFeatures:
    """`values` [statement, feature] of one pooling, float32 and sparse; how many tokens each statement has; how the SAE fits."""

    values: Any
    n_tokens: tuple[int, ...]
    check: FitCheck
    content_id: str


@dataclass(frozen=True)
class SaeExtraction:
    """A planned encoding of statements; nothing is loaded yet."""

    plan: Plan
    options: ExtractionOptions
    encoder: SparseEncoder
    folder: Path

    @classmethod
    def prepare(
        cls,
        statements: Sequence[Any],
        info: ModelInfo,
        tokenizer: Any,
        *,
        options: ExtractionOptions,
        encoder: SparseEncoder,
    ) -> SaeExtraction:
        """Plan the passes over the texts at the one layer of `options`.

        Raises:
            UsageError: texts that do not fit the model.
        """
        plain = replace(
            options, positions=("mean",), reuse_prefixes=False
        )  # `mean`: for the span of the text's own tokens
        plan = make_plan(statements, info, tokenizer, plain)
        name = f"{plan.plan_id[:16]}-{sha256_json([encoder.fingerprint, options.layers])[:12]}"
        return cls(plan, plain, encoder, cache_root() / "sae_features" / folder_name(info.name) / name)


def read_sae_features(
    job: SaeExtraction,
    load: Callable[[], LanguageModel],
    *,
    pool: str = "max",
    allow_misfit: bool = False,
    label: str = "SAE features",
    on_progress: Progress | None = None,
) -> SaeFeatures:
    """Encode what is missing and return one pooling of it. All poolings are computed and kept in the same pass.

    Raises:
        UsageError: the SAE does not fit the activations, and `allow_misfit` is off.
        StoreError: a damaged file.
    """
    shards = range(len(job.plan.shards))
    missing = [i for i in shards if not _path(job, i).exists()]
    if missing or not (job.folder / "check.json").exists():
        model = load()
        reader = BatchReader(
            model, job.options.layers, job.plan.sequences, job.plan.positions, job.plan.spans, ("mean",)
        )
        check = _check(job, reader)
        check.require(job.encoder.name, allow_misfit=allow_misfit)
        for done, shard in enumerate(missing):
            _write(job, shard, _encode(job, shard, reader))
            if on_progress:
                on_progress(label, done + 1, len(missing))
        publish(job.folder / "check.json", json.dumps(asdict(check)))
    check = FitCheck(**json.loads((job.folder / "check.json").read_text()))
    check.require(job.encoder.name, allow_misfit=allow_misfit)
    log.info("%s: %s", job.encoder.name, check.words())
    return SaeFeatures(_read(job, pool), tuple(job.plan.rows.n_tokens), check, job.folder.name)


def _check(job: SaeExtraction, reader: BatchReader) -> FitCheck:
    """On whole texts of all lengths, about two thousand tokens."""
    held: list[Tensor] = []
    for sequence in _texts_to_check(job.plan):
        reader.visit([sequence], lambda _, states: held.append(states.to(torch.float32, copy=True)))
    return check_fit(job.encoder, torch.cat(held))


def _texts_to_check(plan: Plan) -> list[int]:
    """Every n-th sequence from the longest to the shortest, so that tokens of short texts are among those looked at."""
    longest_first = sorted(range(len(plan.sequences)), key=plan.lengths.__getitem__, reverse=True)
    n_tokens = sum(stop - start for start, stop in plan.spans)
    every = max(1, n_tokens // CHECKED_TOKENS)
    return longest_first[min(every // 2, len(longest_first) - 1) :: every]


def _encode(job: SaeExtraction, shard: int, reader: BatchReader) -> dict[int, np.ndarray]:
    """Pooled features [pool, feature] by sequence."""
    found: dict[int, np.ndarray] = {}

    def take(sequence: int, states: Tensor) -> None:
        found[sequence] = pool_features(job.encoder, states)

    for number in job.plan.shards[shard]:
        reader.visit(job.plan.batches[number].sequences, take)
    return found


def _path(job: SaeExtraction, shard: int) -> Path:
    return job.folder / f"{shard:05d}.safetensors"


def _write(job: SaeExtraction, shard: int, found: dict[int, np.ndarray]) -> None:
    from safetensors.numpy import save

    sequences = sorted(found)
    tensors: dict[str, np.ndarray] = {"sequence": np.array(sequences, dtype=np.int64)}
    for row, pool in enumerate(POOLS):
        rows = sparse.csr_array(np.stack([found[s][row] for s in sequences]))
        tensors |= {f"{pool}.values": rows.data, f"{pool}.columns": rows.indices, f"{pool}.starts": rows.indptr}
    publish(_path(job, shard), save(tensors))


def _read(job: SaeExtraction, pool: str) -> Any:
    """[statement, feature] of one pooling, in the order of the statements."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    parts, order = [], []
    for shard in range(len(job.plan.shards)):
        try:
            held = load_file(_path(job, shard))
            arrays = (held[f"{pool}.values"], held[f"{pool}.columns"], held[f"{pool}.starts"])
        except (SafetensorError, KeyError, OSError) as error:
            raise StoreError(
                f"{_path(job, shard)} is damaged ({error}). Delete it and run the same command again."
            ) from error
        order += held["sequence"].tolist()
        parts.append(sparse.csr_array(arrays, shape=(len(held["sequence"]), job.encoder.n_features)))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    return sparse.vstack(parts, format="csr")[place[np.asarray(job.plan.rows.sequences)]]
