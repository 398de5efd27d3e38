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
from functools import partial
from itertools import islice, zip_longest
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


def contestants(setting: Setting, other: Setting | None) -> dict[str, Contestant]:
    """By name. With shared prefixes, engine and bare pass also run without reuse; `other` (another dtype) asks for ablations."""
    found: dict[str, Contestant] = {"engine": engine, "bare": bare}
    if any(batch.prefix for batch in setting.plan().batches):
        found["engine, no reuse"] = partial(engine, reuse_prefixes=False)
        found["bare, no reuse"] = partial(bare, reuse_prefixes=False)
    found |= {f"loop, batch {rows}": partial(loop, rows=rows) for rows in (16, 1)}
    if other:
        found["engine, unsorted batches of 16"] = partial(engine, dataset_order=16)
        found["bare, with LM head"] = partial(bare, head=True)
        found[f"engine, {other.options.dtype}"] = lambda _, folder: engine(other, folder)
    return found


def load_setting(args: argparse.Namespace, workload: Workload, dtype: str) -> Setting:
    """The model and what its plans need."""
    model = load_model(describe(args.model), dtype=dtype, device=args.device)
    options = ExtractionOptions(
        layers=tuple(range(model.info.n_layers)), dtype=dtype, device=model.device.type, max_tokens=args.max_tokens
    )
    return Setting(model, workload.statements, options, identify(model.info, model.tokenizer))


# --- parity -------------------------------------------------------------------------------------------------------------


def check_parity(setting: Setting) -> dict[str, float]:
    """The engine's activations against one text at a time; wrong ones end the run.

    The last layer is left out: transformers gives it after the final norm (loading the model compared it).
    """
    by_length = sorted(setting.statements, key=lambda s: len(s.text))
    chosen = dict.fromkeys([*setting.statements[:4], *by_length[:2], *by_length[-1:]])
    few = replace(setting, statements=tuple(chosen))
    with tempfile.TemporaryDirectory() as folder:
        store = engine(few, Path(folder))()
        ours = np.stack([store.read(layer) for layer in store.layers[:-1]])
    theirs = np.stack([_one_text(setting.model, s) for s in few.plan().sequences], axis=1)
    theirs = theirs[:, [row["sequence"] for row in few.plan().rows]]
    dots, norms = (ours * theirs).sum(-1), np.linalg.norm(ours, axis=-1) * np.linalg.norm(theirs, axis=-1)
    gap = np.abs(ours - theirs)
    found = {
        "max_difference": float((gap / np.maximum(1, np.abs(theirs))).max()),
        "max_absolute": float(gap.max()),
        "min_cosine": float((dots / norms).min()),
    }
    exact = setting.options.dtype == "float32"
    if not (found["max_difference"] <= MAX_DIFFERENCE if exact else found["min_cosine"] >= MIN_COSINE):
        sys.exit(f"parity failed in {setting.options.dtype}: {found}; times of wrong numbers mean nothing")
    return found


@torch.inference_mode()
def _one_text(model: LanguageModel, ids: tuple[int, ...]) -> np.ndarray:
    states = model.module(torch.tensor([ids], device=model.device), output_hidden_states=True).hidden_states
    return torch.stack([state[0, -1].float().cpu() for state in states[1:-1]]).numpy()


# --- time ---------------------------------------------------------------------------------------------------------------


def measure(setting: Setting, found: dict[str, Contestant], rounds: int) -> dict[str, list[dict[str, float]]]:
    """Seconds of every contestant in every round; they take turns, and the first round is dropped."""
    times: dict[str, list[dict[str, float]]] = {name: [] for name in found}
    for number in range(rounds + 1):
        for name in [*found][number % len(found) :] + [*found][: number % len(found)]:
            taken = time_once(setting, found[name])
            if number:
                times[name].append(taken)
            print(f"round {number}: {name} {taken['seconds']:.2f} s", file=sys.stderr)
    return times


def time_once(setting: Setting, contestant: Contestant) -> dict[str, float]:
    """Seconds by the wall clock and of all cores, and the seconds of preparing, in a folder that is then deleted."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        run = contestant(setting, Path(folder))
        _synchronise(setting)
        start, cores = time.perf_counter(), time.process_time()
        run()
        _synchronise(setting)
        end = time.perf_counter()
        return {"seconds": end - start, "core_seconds": time.process_time() - cores, "prepare": start - begin}


def _synchronise(setting: Setting) -> None:
    if setting.model.device.type == "cuda":
        torch.cuda.synchronize()


@dataclass(frozen=True)
class Ratio:
    """How many times faster `fast` is than `slow`: median of the rounds, with the lowest and the highest round."""

    name: str
    median: float
    low: float
    high: float
    target: float | None

    @property
    def verdict(self) -> str:
        if self.target is None:
            return "below the spread" if self.low <= 1 <= self.high else ""
        said = "met" if self.median >= self.target else "MISSED"
        return f"{said} (target {self.target}{', within the spread' if self.low < self.target <= self.high else ''})"


def ratios(workload: str, times: dict[str, list[dict[str, float]]]) -> list[Ratio]:
    """Everything that is compared, round by round, so that a slow moment of the machine hits both sides."""
    plain = ", no reuse" if "engine, no reuse" in times else ""
    asked = [
        ("engine / bare forward of the same batches", f"engine{plain}", f"bare{plain}", 0.97),
        ("engine / bare forward, prefixes reused by both", "engine", "bare" if plain else "", None),
        ("engine / loop, batch 16", "engine", "loop, batch 16", 2.5 if workload == "mixed" else None),
        ("engine / loop, batch 1", "engine", "loop, batch 1", None),
        ("prefix reuse on / off", "engine", "engine, no reuse", {"two-option": 1.6, "four-option": 3.0}.get(workload)),
        *((f"engine / {name}", "engine", name, None) for name in times if name.startswith("engine, ") and "no reuse" not in name),
        ("bare / bare with LM head", "bare", "bare, with LM head", None),
    ]
    return [_ratio(name, times[a], times[b], target) for name, a, b, target in asked if a in times and b in times]


def _ratio(name: str, fast: list[dict[str, float]], slow: list[dict[str, float]], target: float | None) -> Ratio:
    rounds = [b["seconds"] / a["seconds"] for a, b in zip(fast, slow, strict=True)]
    return Ratio(name, statistics.median(rounds), min(rounds), max(rounds), target)


def run_workload(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """Parity, then times and ratios of one workload; printed, and returned for the file."""
    workload = make_workload(name, args.texts or ROWS[name], args.data_dir)
    dtype = str(choose_dtype(choose_device(args.device), args.dtype)).removeprefix("torch.")
    setting = load_setting(args, workload, dtype)
    other = load_setting(args, workload, "float32") if dtype != "float32" else setting
    parity = {s.options.dtype: check_parity(s) for s in (other, setting)}
    times = measure(setting, contestants(setting, other if args.ablations and other is not setting else None), args.rounds)
    found = ratios(name, times)
    plans = {reuse: setting.plan(reuse_prefixes=reuse) for reuse in (True, False)}
    print_workload(workload, plans, parity, times, found)
    return {
        "workload": name, "source": workload.source, "rows": len(workload.statements), "dtype": dtype, "parity": parity,
        "tokens": {f"reuse {reuse}": [p.text_tokens, p.needed_tokens, p.computed_tokens] for reuse, p in plans.items()},
        "times": times, "ratios": [asdict(r) | {"verdict": r.verdict} for r in found],
    }  # fmt: skip


def print_workload(
    workload: Workload, plans: dict[bool, Plan], parity: dict[str, dict[str, float]],
    times: dict[str, list[dict[str, float]]], found: list[Ratio],
) -> None:  # fmt: skip
    """Two tables: seconds and tokens per second by contestant, then the ratios."""
    lengths = sorted(len(s) for s in plans[False].sequences)
    print(f"\n{workload.name}: {len(workload.statements)} rows from {workload.source}; tokens per row {lengths[0]} to {lengths[-1]}, median {lengths[len(lengths) // 2]}")
    for reuse, plan in plans.items():
        padding = 1 - plan.needed_tokens / plan.computed_tokens
        print(f"  prefix reuse {'on ' if reuse else 'off'}: {plan.text_tokens} tokens of text, {plan.computed_tokens} computed, of these {padding:.1%} padding")
    for dtype, numbers in parity.items():
        print(f"  parity {dtype}: largest difference {numbers['max_difference']:.2g}, lowest cosine {numbers['min_cosine']:.6f}")
    print(f"  {'':34}{'median s':>10}{'min s':>10}{'core s':>10}{'prepare s':>11}{'text tokens/s':>15}")
    for name, rows in times.items():
        median, cores, made = (statistics.median(r[k] for r in rows) for k in ("seconds", "core_seconds", "prepare"))
        best = min(r["seconds"] for r in rows)
        print(f"  {name:34}{median:10.2f}{best:10.2f}{cores:10.2f}{made:11.2f}{plans[False].text_tokens / median:15.0f}")
    for r in found:
        print(f"  {r.name:48}{r.median:7.3f}   rounds {r.low:.3f} to {r.high:.3f}   {r.verdict}")


# --- memory -------------------------------------------------------------------------------------------------------------


def peak_of(args: argparse.Namespace) -> dict[str, float]:
    """In this process, which runs one contestant only: highest resident (and device) memory in MB."""
    workload = make_workload("statements", args.texts, None)
    setting = load_setting(args, workload, str(choose_dtype(choose_device(args.device), args.dtype)).removeprefix("torch."))
    if args.peak_of != "model alone":
        time_once(setting, contestants(setting, None)[args.peak_of])
    device = torch.cuda.max_memory_allocated() / 1e6 if torch.cuda.is_available() else 0.0
    return {"resident": _resident_peak() / 1e6, "device": device}


def _resident_peak() -> int:
    """Of this program alone: Linux's ru_maxrss starts from the process that started it."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def run_memory(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Peak of each contestant on short statements, each in a process of its own, and with ten times the rows."""
    print(f"\nmemory: short statements, MB resident{'':10}{args.memory_rows:>12} rows{args.memory_rows * 10:>12} rows   ratio")
    found = []
    for name in ("model alone", "engine", "bare", "loop, batch 16"):
        small, large = (_peak_in_subprocess(args, name, rows) for rows in (args.memory_rows, args.memory_rows * 10))
        ratio = large["resident"] / small["resident"]
        print(f"  {name:45}{small['resident']:12.0f}     {large['resident']:12.0f}     {ratio:8.2f}")
        found.append({"contestant": name, "rows": args.memory_rows, "peak": small, "peak_of_ten_times": large, "ratio": ratio})
    return found


def _peak_in_subprocess(args: argparse.Namespace, name: str, rows: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--peak-of", name, "--texts", rows, "--model", args.model, "--device", args.device, "--dtype", args.dtype]
    done = subprocess.run([*map(str, command)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def machine() -> dict[str, Any]:
    """Where this ran."""
    info = Path("/proc/cpuinfo")
    names = [line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line] if info.exists() else []
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"cpu": names[0] if names else platform.processor(), "cores": os.cpu_count(), "threads": torch.get_num_threads(), "gpu": gpu, "load": load, **environment()}


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--workload", choices=("all", *ROWS), default="all")
    parser.add_argument("--texts", type=int, help="rows of each workload (default: a few seconds of a small CPU)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds counted; one more runs first and is dropped")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto", help="auto is bfloat16 where the device computes in it, else float32")
    parser.add_argument("--threads", type=int, help="threads of torch (default: its own choice)")
    parser.add_argument("--max-tokens", type=int, help="cut longer texts from the left")
    parser.add_argument("--data-dir", type=Path, help="folder with BoolQ, IMDB, RACE; else PROBESHIFT_DATA, else bundled facts")
    parser.add_argument("--ablations", action="store_true", help="also run with one lever off at a time")
    parser.add_argument("--memory", action="store_true", help="measure peak memory instead of time")
    parser.add_argument("--memory-rows", type=int, default=4000)
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="write everything as JSON")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    args = parse(argv)
    if args.threads:
        torch.set_num_threads(args.threads)
    if args.peak_of:
        print(json.dumps(peak_of(args)))
        return
    where = machine()
    versions = ", ".join(f"{k} {where['versions'][k]}" for k in ("torch", "transformers"))
    print(f"{args.model} on {where['gpu'] or where['cpu']}, {where['threads']} threads of {where['cores']} cores, load {where['load']:.1f}, {versions}")
    names = [*ROWS] if args.workload == "all" else [args.workload]
    results = {"memory": run_memory(args)} if args.memory else {"workloads": [run_workload(args, name) for name in names]}
    if args.out:
        args.out.write_text(json.dumps({"machine": where, **results}, indent=1))


if __name__ == "__main__":
    main()
