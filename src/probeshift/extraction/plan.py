"""The frozen plan of an extraction: made before any weight is loaded, stored with the run, never changed by it.

Two names come out of it. `content_id` names *what* is asked (weights, tokenizer, texts, labels, position): finished stores
that share it hold the same numbers up to rounding. `plan_id` also fixes layers, dtype and every batch: runs that share it
write the same bytes, which is what makes resuming exact.
"""

from __future__ import annotations

import hashlib
import json
import logging
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from probeshift.activations import FORMAT_VERSION, ITEM_BYTES
from probeshift.datasets import Statement
from probeshift.errors import UsageError
from probeshift.extraction.batching import Batch, TokenLists, cut_batches, cut_shards
from probeshift.extraction.positions import POOLS, resolve_positions, sites
from probeshift.models import ModelInfo, template_hash, tokenizer_hash, weight_hash
from probeshift.models.prompts import RAW, UNKNOWN, Prompt, PromptEncoder, PromptFormat
from probeshift.provenance import publish, sha256_json

log = logging.getLogger(__name__)

# A shard is what a killed run can lose: tens of megabytes, or about a minute of work on a small CPU.
SHARD_BYTES = 32 << 20
SHARD_TOKENS = {"cpu": 1 << 16, "cuda": 1 << 20, "mps": 1 << 18}
# Tokens per forward: enough to keep the device busy (a GPU needs thousands, a CPU tens), few enough to pad little.
BATCH_TOKENS = {"cpu": (512, 2048), "cuda": (4096, 16384), "mps": (1024, 4096)}
SHARED_TOKENS = {"cpu": 2048, "cuda": 16384, "mps": 4096}
_NO_LIMIT = 1 << 60
_ROWS_AT_ONCE = 4096


@dataclass(frozen=True)
class ExtractionOptions:
    """How activations are read. `layers` are 0-based blocks; `dtype` is the resolved name the model computes and stores in.

    `positions` are names as in `extraction.positions`; `prompts` says how texts become prompts. `max_tokens` cuts longer prompts
    (raw text from the left, templated prompts in the middle of the user's words; counted and reported); None refuses prompts
    longer than the context. `batch_tokens` and `batch_size` bound one forward; None lets the plan choose for the device.
    """

    layers: tuple[int, ...]
    dtype: str
    device: str = "cpu"
    quantization: str | None = None
    positions: tuple[str, ...] = ("last",)
    prompts: PromptFormat = RAW
    max_tokens: int | None = None
    batch_tokens: int | None = None
    batch_size: int | None = None
    reuse_prefixes: bool = True


@dataclass(frozen=True)
class Rows(Sequence[dict[str, Any]]):
    """One line per statement, in dataset order. Kept as columns: a line is put together when it is read.

    `sequences` says which token sequence of the plan a statement is, `truncated` whether its tokens were cut.
    """

    statements: tuple[Statement, ...]
    n_tokens: array
    truncated: array
    sequences: array

    def __len__(self) -> int:
        return len(self.statements)

    def __getitem__(self, index: int) -> dict[str, Any]:  # type: ignore[override]  # single lines only
        s = self.statements[index]
        return {
            "dataset": s.dataset, "row_id": s.row_id, "text": s.text, "label": s.label, "split": s.split, "group": s.group,
            "answer_type": s.answer_type, "entity": s.entity, "n_tokens": self.n_tokens[index],
            "truncated": bool(self.truncated[index]), "sequence": self.sequences[index],
        }  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """Token sequences, probed positions, batches and shards of one store.

    `positions` are the token indices of the unpooled positions of each sequence, `spans` the tokens [start, end) that pooled
    ones read (nothing without pooled ones).
    """

    content_id: str
    header: dict[str, Any]
    rows: Rows
    sequences: TokenLists
    positions: TokenLists
    spans: TokenLists
    batches: tuple[Batch, ...]
    shards: tuple[tuple[int, ...], ...]

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of each sequence."""
        return self.sequences.lengths

    @property
    def truncated(self) -> int:
        """Statements whose tokens were cut."""
        return sum(self.rows.truncated)

    @cached_property
    def plan_id(self) -> str:
        batches = [[b.prefix, b.groups] for b in self.batches]
        return sha256_json([self.content_id, self.header, batches, self.shards])[:24]

    @property
    def text_tokens(self) -> int:
        """Tokens in the statements as written, repeats included."""
        return sum(self.rows.n_tokens)

    @property
    def needed_tokens(self) -> int:
        """Tokens left after shared prefixes and repeats are counted once, before padding."""
        return sum(
            b.prefix * (len(b.groups) if b.prefix else 0) + sum(self.lengths[s] - b.prefix for s in b.sequences)
            for b in self.batches
        )

    @property
    def computed_tokens(self) -> int:
        """Tokens the model computes, padding included."""
        return sum(b.tokens(self.lengths) for b in self.batches)

    def shard_tokens(self, shard: int) -> int:
        return sum(self.batches[b].tokens(self.lengths) for b in self.shards[shard])

    @property
    def store_bytes(self) -> int:
        per_sequence = len(self.header["layers"]) * len(self.header["positions"]) * self.header["d_model"]
        return len(self.sequences) * per_sequence * ITEM_BYTES[self.header["dtype"]]

    def save(self, folder: Path) -> None:
        """Write the plan's three files; the same plan writes the same bytes."""
        record = {
            **self.header,
            "plan_id": self.plan_id,
            "content_id": self.content_id,
            "n_rows": len(self.rows),
            "n_sequences": len(self.sequences),
            "n_shards": len(self.shards),
            "tokens": {"text": self.text_tokens, "needed": self.needed_tokens, "computed": self.computed_tokens},
            "truncated_rows": self.truncated,
            "batches": [{"prefix": b.prefix, "groups": b.groups} for b in self.batches],
            "shards": self.shards,
        }
        _write_rows(folder / "rows.parquet", self.rows)
        columns = {"ids": self.sequences, "positions": self.positions}
        if len(self.spans.flat):
            columns["spans"] = self.spans
        _write_sequences(folder / "sequences.parquet", columns)
        publish(folder / "plan.json", json.dumps(record, ensure_ascii=False, indent=1))


def identify(info: ModelInfo, tokenizer: Any) -> dict[str, Any]:
    """Hashes of what computes the activations, whatever the model is called; takes a moment, so make it once per job."""
    return {
        "weights": weight_hash(info),
        "config": info.config_hash,
        "tokenizer": tokenizer_hash(tokenizer),
        "chat_template": template_hash(tokenizer),
    }


def make_plan(
    statements: Sequence[Statement],
    info: ModelInfo,
    tokenizer: Any,
    options: ExtractionOptions,
    identity: dict[str, Any] | None = None,
) -> Plan:
    """Tokenise once, drop repeats, group, sort and cut. `identity` is `identify(info, tokenizer)` where it is at hand.

    Raises:
        UsageError: nothing to extract, an unknown layer or position, or prompts longer than the model's context.
    """
    if not statements:
        raise UsageError("no statements to extract. Check the dataset, the split and the limits.")
    _check_layers(info, options)
    encoder = PromptEncoder(tokenizer, options.prompts)
    names = resolve_positions(options.positions, encoder.post)
    context = [n for n in (info.max_tokens, tokenizer.model_max_length) if n]
    prompts, cut = _fit_context(statements, encoder, min(context, default=None), options)
    sequences, sequence_of = _distinct(prompts.ids)
    rows = Rows(tuple(statements), array("q", prompts.ids.lengths), cut, sequence_of)
    batches, shards = _cut(sequences, info, options, len(names))
    positions, spans = _sites_of_sequences(prompts, sequence_of, len(sequences), names, encoder, statements)
    asked = {**(identity or identify(info, tokenizer)), **_asked(options, names, encoder)}
    content_id = _hash_content(asked, rows, sequences)[:24]
    header = {**asked, **_header(info, options)}
    return Plan(content_id, header, rows, sequences, positions, spans, batches, shards)


@dataclass(frozen=True)
class _Prompts:
    """The prompts of all rows, after cutting: tokens, and where the user's words start and end."""

    ids: TokenLists
    starts: array
    ends: array

    def __getitem__(self, row: int) -> Prompt:
        return Prompt(self.ids[row], self.starts[row], self.ends[row])  # type: ignore[arg-type]  # an array is a list here


def _sites_of_sequences(
    prompts: _Prompts,
    sequence_of: array,
    n_sequences: int,
    names: Sequence[str],
    encoder: PromptEncoder,
    statements: Sequence[Statement],
) -> tuple[TokenLists, TokenLists]:
    """Token indices of each sequence, from the first row that is it; pads never enter, so they need no mask."""
    points: list[tuple[int, ...]] = []
    spans: list[tuple[int, ...]] = []
    for row, sequence in enumerate(sequence_of):
        if sequence == len(points):
            found = sites(prompts[row], names, encoder.post, f"{statements[row].dataset} row {statements[row].row_id}")
            points.append(found.points)
            spans.append(found.span if set(names) & set(POOLS) else ())
    assert len(points) == n_sequences
    return TokenLists.of(points), TokenLists.of(spans)


def _distinct(ids: TokenLists) -> tuple[TokenLists, array]:
    """Every sequence once, in order of first appearance, and which of them each row is."""
    number: dict[bytes, int] = {}  # by digest: a long text's tokens would be a long key
    index = array("q", (number.setdefault(hashlib.sha256(i).digest(), len(number)) for i in ids))
    firsts = np.unique(np.asarray(index), return_index=True)[1].tolist()
    return TokenLists.of(ids[row] for row in firsts), index


def _hash_content(asked: dict[str, Any], rows: Rows, sequences: TokenLists) -> str:
    """Row by row, so that no second copy of all texts and tokens is made."""
    digest = hashlib.sha256(sha256_json(asked).encode())
    for part in chain((sha256_json(row).encode() for row in rows), (s.tobytes() for s in sequences)):
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()


def _check_layers(info: ModelInfo, options: ExtractionOptions) -> None:
    bad = [layer for layer in options.layers if not -1 <= layer < info.n_layers]
    if bad or not options.layers:
        raise UsageError(
            f"{info.name} has layers 0 to {info.n_layers - 1} (-1: embeddings), asked: {list(options.layers)}. Choose --layers among them."
        )


def _fit_context(
    statements: Sequence[Statement], encoder: PromptEncoder, context: int | None, options: ExtractionOptions
) -> tuple[_Prompts, array]:
    """Refuse prompts that do not fit, or cut them when the user named a limit (1: cut). Never silently."""
    limit = min(n for n in (options.max_tokens, context, _NO_LIMIT) if n)
    ids, starts, ends, long = TokenLists.of(()), array("q"), array("q"), array("b")
    for prompt in encoder.encode([s.text for s in statements]):
        long.append(len(prompt.ids) > limit)
        kept = _shorten(prompt, limit, encoder) if long[-1] and options.max_tokens is not None else prompt
        ids.append(kept.ids)
        starts.append(kept.start)
        ends.append(kept.end)
    if any(long) and options.max_tokens is None:
        first = statements[long.index(1)]
        where = "cut them from the left" if encoder.post is None else "cut their middle (the chat template stays whole)"
        raise UsageError(
            f"{sum(long)} of {len(ids)} prompts are longer than the {limit} tokens the model can read (first: "
            f"{first.dataset} row {first.row_id}). Add --max-tokens {limit} to {where}, or remove them."
        )
    if any(long):
        where = "from the left" if encoder.post is None else "in the middle"
        log.warning("%d of %d prompts cut %s to %d tokens", sum(long), len(ids), where, limit)
    return _Prompts(ids, starts, ends), long


def _shorten(prompt: Prompt, limit: int, encoder: PromptEncoder) -> Prompt:
    """At most `limit` tokens: raw text loses its start, a templated prompt the middle of the user's words.

    Raises:
        UsageError: the template alone is longer than the limit.
    """
    surplus = len(prompt.ids) - limit
    if encoder.post is None:
        first = 1 if prompt.ids[0] in frozenset(encoder.tokenizer.all_special_ids) and limit > 1 else 0
        kept = [
            *prompt.ids[:first],
            *prompt.ids[first + surplus :],
        ]  # a leading BOS stays: models read badly without it
        return Prompt(kept, min(prompt.start, first), prompt.end - surplus)
    start = 0 if prompt.start == UNKNOWN else prompt.start
    left = prompt.end - start - surplus
    if left < 1:
        raise UsageError(
            f"--max-tokens {limit} leaves no room for the user's words beside the chat template. Raise it."
        )
    head = start + (left + 1) // 2
    kept = [*prompt.ids[:head], *prompt.ids[head + surplus :]]
    return Prompt(kept, prompt.start, prompt.end - surplus)


def _cut(
    sequences: TokenLists, info: ModelInfo, options: ExtractionOptions, n_positions: int
) -> tuple[tuple[Batch, ...], tuple[tuple[int, ...], ...]]:
    lengths = sequences.lengths
    floor, ceiling = BATCH_TOKENS[options.device]
    budget = options.batch_tokens or min(ceiling, max(floor, sum(lengths) // 50))
    shared = options.batch_tokens or max(budget, SHARED_TOKENS[options.device])
    batches = cut_batches(
        sequences,
        budget=budget,
        shared_budget=shared if options.reuse_prefixes else None,
        max_rows=options.batch_size,
    )
    per_sequence = len(options.layers) * n_positions * info.d_model * ITEM_BYTES[options.dtype]
    rows = max(1, SHARD_BYTES // per_sequence)
    return batches, cut_shards(batches, lengths, max_sequences=rows, max_tokens=SHARD_TOKENS[options.device])


def _asked(options: ExtractionOptions, positions: Sequence[str], encoder: PromptEncoder) -> dict[str, Any]:
    """The options that change the numbers by more than rounding."""
    return {
        "format_version": FORMAT_VERSION,
        "quantization": options.quantization,
        "special_tokens": options.prompts.special_tokens,
        "positions": list(positions),
        "max_tokens": options.max_tokens,
        **({"prompts": encoder.record()} if encoder.post is not None else {}),
    }


def _header(info: ModelInfo, options: ExtractionOptions) -> dict[str, Any]:
    templates = {"raw": "none: raw text", "chat": "the model's chat template", "formatted": "in the texts"}
    return {
        "model": info.name,
        "revision": info.revision,
        "template": templates[options.prompts.kind],
        "d_model": info.d_model,
        "n_layers": info.n_layers,
        "layers": list(options.layers),
        "dtype": options.dtype,
        "reuse_prefixes": options.reuse_prefixes,
    }


def _write_rows(path: Path, rows: Rows) -> None:
    """Some thousand rows at a time, so that the table never stands in memory a second time."""
    import pyarrow as pa

    words = ("dataset", "row_id", "text", "split", "group", "answer_type", "entity")
    truth = all(isinstance(s.label, bool) for s in rows.statements)
    label = pa.bool_() if truth else pa.float64()
    kinds = {**dict.fromkeys(words, pa.string()), "label": label, "truncated": pa.bool_()}
    schema = pa.schema([(name, kinds.get(name, pa.int64())) for name in rows[0]])
    lines = iter(rows)
    parts = iter(lambda: list(islice(lines, _ROWS_AT_ONCE)), [])
    _write_parquet(path, schema, (pa.Table.from_pylist(part, schema) for part in parts))


def _write_sequences(path: Path, columns: dict[str, TokenLists]) -> None:
    """One list of integers per sequence and column."""
    import pyarrow as pa

    flat = {name: [np.asarray(a, dtype=np.int32) for a in (c.bounds, c.flat)] for name, c in columns.items()}
    table = pa.table({name: pa.ListArray.from_arrays(*arrays) for name, arrays in flat.items()})
    _write_parquet(path, table.schema, [table])


def _write_parquet(path: Path, schema: Any, tables: Iterable[Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    with pq.ParquetWriter(buffer, schema) as writer:
        for table in tables:
            writer.write_table(table)
    publish(path, buffer.getvalue().to_pybytes())
    del buffer
    pa.default_memory_pool().release_unused()  # else a run keeps what encoding all its rows took
