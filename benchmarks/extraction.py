"""How fast activations are read, and in how much memory: this engine, the bare forward pass, and the loop people write.

All contestants have the same loaded model, token ids, dtype, threads, layers (all) and position (last token). They take
turns in one process; parity comes first, and a wrong answer ends the run. benchmarks/README.md says what each number means.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import DynamicCache

from probeshift.datasets import FACTS_DATASETS, Statement, load_dataset
from probeshift.errors import ProbeshiftError
from probeshift.extraction import Batch, ExtractionOptions, Plan, cut_shards, extract, identify, make_plan, prepare
from probeshift.models import LanguageModel, choose_device, choose_dtype, describe, load_model
from probeshift.provenance import environment

# Facts in one text: median and spread of a log-normal, so that texts are about as long as in the named real sets.
FACTS_PER_TEXT = {"statements": (1, 0.5), "mixed": (4, 1.0), "two-option": (14, 0.6), "four-option": (34, 0.3)}
OPTIONS = {"statements": 1, "mixed": 1, "two-option": 2, "four-option": 4}
REAL = {"mixed": ("facts_cities", "arc_easy", "boolq", "imdb"), "two-option": ("boolq",), "four-option": ("race",)}
ROWS = {"mixed": 160, "two-option": 96, "four-option": 64}
# Facts longer than this would only lengthen the run: they are left out of real text.
MAX_CHARACTERS = 6000
MAX_DIFFERENCE, MIN_COSINE = 1e-4, 0.999


# --- text ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Workload:
    """Statements in the order of their dataset, and where the text came from."""

    name: str
    statements: tuple[Statement, ...]
    source: str


def make_workload(name: str, n_rows: int, data_dir: Path | None) -> Workload:
    """Real text where a data folder holds it, else joined facts; the same rows every time, all different."""
    texts, source = None, "facts bundled with the package"
    if name in REAL and (data_dir or os.environ.get("PROBESHIFT_DATA")):
        try:
            texts, source = _real_texts(name, data_dir), " + ".join(REAL[name])
        except ProbeshiftError as error:
            print(f"{name}: no real text ({error})", file=sys.stderr)
    distinct = dict.fromkeys(texts or _joined_facts(name))
    return Workload(name, tuple(_statement(name, i, text) for i, text in enumerate(islice(distinct, n_rows))), source)


def _statement(name: str, index: int, text: str) -> Statement:
    return Statement(name, str(index), text, index % 2 == 0, "train", str(index // OPTIONS[name]))


def _joined_facts(name: str) -> Iterator[str]:
    draw = random.Random(name)
    facts = [s.text for dataset in FACTS_DATASETS for s in load_dataset(dataset).statements]
    median, spread = FACTS_PER_TEXT[name]
    for _ in range(100_000):
        text = " ".join(draw.choices(facts, k=max(1, round(median * draw.lognormvariate(0, spread)))))
        if OPTIONS[name] == 1:
            yield text
        else:
            stem = f"Passage: {text}\n\nQuestion: Which of these is a true statement?\nAnswer:"
            yield from (f"{stem} {answer}" for answer in draw.sample(facts, OPTIONS[name]))


def _real_texts(name: str, data_dir: Path | None) -> list[str]:
    """All answers of each question, or in single-answer workloads the first, one dataset after the other in turn."""
    columns = []
    for dataset in REAL[name]:
        questions: dict[str, list[str]] = {}
        for s in load_dataset(dataset, data_dir=data_dir, source="local").statements:
            questions.setdefault(s.group or s.row_id, []).append(s.text)
        short = [texts for texts in questions.values() if max(map(len, texts)) <= MAX_CHARACTERS]
        columns.append([texts[: OPTIONS[name]] for texts in short if len(texts) >= OPTIONS[name]])
    return [text for turn in zip_longest(*columns, fillvalue=[]) for question in turn for text in question]


# --- contestants: each prepares, then hands back what is timed ----------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """What all contestants share."""

    model: LanguageModel
    statements: tuple[Statement, ...]
    options: ExtractionOptions
    identity: dict[str, Any]

    def plan(self, **changes: Any) -> Plan:
        m = self.model
        return make_plan(self.statements, m.info, m.tokenizer, replace(self.options, **changes), self.identity)


Run = Callable[[], object]
Contestant = Callable[[Setting, Path], Run]


def engine(setting: Setting, folder: Path, *, dataset_order: int | None = None, **changes: Any) -> Run:
    """This package's engine into a fresh folder; `dataset_order` takes unsorted batches of so many rows instead."""
    m, options = setting.model, replace(setting.options, **changes)
    job = prepare(setting.statements, m.info, m.tokenizer, options, label="bench", identity=setting.identity, root=folder)
    if dataset_order:
        rows = range(len(job.plan.sequences))
        batches = tuple(Batch(0, tuple((r,) for r in rows[i : i + dataset_order])) for i in rows[::dataset_order])
        lengths = [len(s) for s in job.plan.sequences]
        shards = cut_shards(batches, lengths, max_sequences=2000, max_tokens=1 << 16)
        job = replace(job, plan=replace(job.plan, batches=batches, shards=shards))
    return lambda: extract(job, lambda: m)


def bare(setting: Setting, _folder: Path, *, head: bool = False, **changes: Any) -> Run:
    """The model on exactly the plan's batches, tensors made beforehand: nothing is read, nothing written."""
    plan, m = setting.plan(**changes), setting.model
    batches = [_tensors(plan.sequences, batch, m.device) for batch in plan.batches]
    module = m.module if head else m.backbone

    @torch.inference_mode()
    def run() -> None:
        for heads, rows_of, tails in batches:
            if heads is None:
                module(input_ids=tails, position_ids=_positions(tails), use_cache=False)
                continue
            cache = DynamicCache(config=m.info.config)
            module(input_ids=heads, position_ids=_positions(heads), past_key_values=cache, use_cache=True)
            cache.batch_select_indices(rows_of)
            start = heads.shape[1]
            module(input_ids=tails, position_ids=_positions(tails, start), past_key_values=cache, use_cache=True)

    return run


def _tensors(sequences: Sequence[tuple[int, ...]], batch: Batch, device: torch.device) -> tuple[Tensor | None, Tensor, Tensor]:
    """Prefixes (None: nothing shared), the prefix of each row, and the rest of each row padded on the right."""
    rests = [torch.tensor(sequences[s][batch.prefix :]) for s in batch.sequences]
    tails = torch.nn.utils.rnn.pad_sequence(rests, batch_first=True).to(device)
    rows_of = torch.tensor([g for g, members in enumerate(batch.groups) for _ in members], device=device)
    heads = torch.tensor([sequences[members[0]][: batch.prefix] for members in batch.groups], device=device)
    return heads if batch.prefix else None, rows_of, tails


def _positions(ids: Tensor, start: int = 0) -> Tensor:
    return torch.arange(start, start + ids.shape[1], device=ids.device).expand(ids.shape[0], -1)


def loop(setting: Setting, folder: Path, *, rows: int) -> Run:
    """What people write: CausalLM, left padding, dataset order, all hidden states, the last token kept in float32."""
    m, plan = setting.model, setting.plan(reuse_prefixes=False)
    ids = [list(plan.sequences[row["sequence"]]) for row in plan.rows]
    m.tokenizer.pad_token = m.tokenizer.pad_token or m.tokenizer.eos_token

    @torch.no_grad()
    def run() -> None:
        kept = []
        for start in range(0, len(ids), rows):
            batch = m.tokenizer.pad({"input_ids": ids[start : start + rows]}, padding_side="left", return_tensors="pt")
            batch = batch.to(m.device)
            positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
            states = m.module(**batch, position_ids=positions, output_hidden_states=True).hidden_states
            kept.append(torch.stack([state[:, -1].float().cpu() for state in states[1:]]))
        _save(torch.cat(kept, dim=1), folder)

    return run


def _save(layers: Tensor, folder: Path) -> None:
    for number, layer in enumerate(layers):
        with open(folder / f"{number}.npy", "wb") as file:
            np.save(file, layer.numpy())
            file.flush()
            os.fsync(file.fileno())


def contestants(setting: Setting, ablations: bool) -> dict[str, Contestant]:
    """By name. With shared prefixes, engine and bare pass also run without reusing them."""
    found: dict[str, Contestant] = {"engine": engine, "bare": bare}
    if any(batch.prefix for batch in setting.plan().batches):
        found["engine, no reuse"] = lambda s, f: engine(s, f, reuse_prefixes=False)
        found["bare, no reuse"] = lambda s, f: bare(s, f, reuse_prefixes=False)
    found["loop, batch 16"] = lambda s, f: loop(s, f, rows=16)
    found["loop, batch 1"] = lambda s, f: loop(s, f, rows=1)
    if ablations:
        other = "float32" if setting.options.dtype != "float32" else "bfloat16"
        second = setting_of(setting.model.info.name, other, str(setting.model.device), setting.statements)
        found["engine, unsorted batches of 16"] = lambda s, f: engine(s, f, dataset_order=16)
        found["bare, with LM head"] = lambda s, f: bare(s, f, head=True)
        found[f"engine, {other}"] = lambda _, f: engine(second, f)
    return found
