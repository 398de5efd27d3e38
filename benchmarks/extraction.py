"""How fast activations are read, and in how much memory: this engine, the bare forward pass, and the loop people write.

All contestants have the same loaded model, token ids, dtype, threads, layers (all) and position (last token). They take
turns in one process; parity comes first, and wrong numbers end the run. benchmarks/README.md says what each figure means.
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
from contextlib import suppress
from dataclasses import dataclass, replace
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
from probeshift.extraction import Batch, BatchReader, ExtractionOptions, Plan, extract, identify, make_plan, prepare
from probeshift.models import LanguageModel, cache_argument, choose_device, choose_dtype, describe, load_model
from probeshift.provenance import environment

OPTIONS = {"statements": 1, "mixed": 1, "two-option": 2, "four-option": 4}
REAL = {"mixed": ("facts_cities", "arc_easy", "boolq", "imdb"), "two-option": ("boolq",), "four-option": ("race",)}
# Bundled facts joined into one text: median and spread of a log-normal number of them.
FACTS_PER_TEXT = {"statements": (2, 0.5), "mixed": (4, 1.0), "two-option": (14, 0.5), "four-option": (25, 0.3)}
# Real questions longer than this are left out: they lengthen the run, not the comparison.
MAX_CHARACTERS = {"mixed": 4000, "two-option": 1200, "four-option": 1400}
MAX_DIFFERENCE, MIN_COSINE = 1e-4, 0.999
TARGETS = {
    "mixed": {"engine vs loop, batch 16": 2.5},
    "two-option": {"prefix reuse on vs off": 1.6},
    "four-option": {"prefix reuse on vs off": 3.0},
}

Times = dict[str, list[dict[str, float]]]  # by contestant, one entry per round


def make_rows(name: str, n_rows: int, data_dir: Path | None) -> tuple[tuple[Statement, ...], str]:
    """Different texts, the same every time, and where they come from: a data folder that holds them, else joined facts."""
    texts, source = _joined_facts(name), "facts bundled with the package"
    if name in REAL and (data_dir or os.environ.get("PROBESHIFT_DATA")):
        try:
            texts, source = _real_texts(name, data_dir), " + ".join(REAL[name])
        except ProbeshiftError as error:
            print(f"{name}: no real text ({error})", file=sys.stderr)
    seen: set[str] = set()
    new = (text for text in texts if not (text in seen or seen.add(text)))
    return tuple(Statement(name, str(i), text, True, "train") for i, text in enumerate(islice(new, n_rows))), source


def _joined_facts(name: str) -> Iterator[str]:
    draw = random.Random(name)
    facts = [s.text for dataset in FACTS_DATASETS for s in load_dataset(dataset).statements]
    median, spread = FACTS_PER_TEXT[name]
    while True:
        text = " ".join(draw.choices(facts, k=max(1, round(median * draw.lognormvariate(0, spread)))))
        if OPTIONS[name] == 1:
            yield text
        else:
            stem = f"Passage: {text}\n\nQuestion: Which of these is a true statement?\nAnswer:"
            yield from (f"{stem} {answer}" for answer in draw.sample(facts, OPTIONS[name]))


def _real_texts(name: str, data_dir: Path | None) -> Iterator[str]:
    """All answers of each question, or only the first where answers do not matter; the datasets take turns."""
    columns = []
    for dataset in REAL[name]:
        questions: dict[str, list[str]] = {}
        for s in load_dataset(dataset, data_dir=data_dir, source="local").statements:
            questions.setdefault(s.group or s.row_id, []).append(s.text)
        fitting = (t[: OPTIONS[name]] for t in questions.values() if max(map(len, t)) <= MAX_CHARACTERS[name])
        columns.append([t for t in fitting if len(t) == OPTIONS[name]])
    return (text for turn in zip_longest(*columns, fillvalue=[]) for question in turn for text in question)


@dataclass(frozen=True)
class Setting:
    """What all contestants share."""

    model: LanguageModel
    statements: tuple[Statement, ...]
    options: ExtractionOptions
    identity: dict[str, Any]

    def plan(self, **changes: Any) -> Plan:
        """The engine's plan, also for the contestants that need its token ids or batches."""
        options = replace(self.options, **changes)
        return make_plan(self.statements, self.model.info, self.model.tokenizer, options, self.identity)


# A contestant prepares, then hands back what is timed.
Run = Callable[[], Any]
Contestant = Callable[[Setting, Path], Run]


def load_setting(args: argparse.Namespace, statements: tuple[Statement, ...], dtype: str) -> Setting:
    """The model, and the options of its plans: all layers, last token."""
    model = load_model(describe(args.model), dtype=dtype, device=args.device)
    options = ExtractionOptions(tuple(range(model.info.n_layers)), dtype, model.device.type)
    return Setting(model, statements, options, identify(model.info, model.tokenizer))


def engine(setting: Setting, folder: Path, *, unsorted: int | None = None, **changes: Any) -> Run:
    """This package's engine into a fresh store; `unsorted` takes batches of so many rows in dataset order instead."""
    m, options = setting.model, replace(setting.options, **changes)
    job = prepare(
        setting.statements, m.info, m.tokenizer, options, label="bench", identity=setting.identity, root=folder
    )
    if unsorted:
        rows = range(len(job.plan.sequences))
        batches = tuple(Batch(0, tuple((r,) for r in rows[i : i + unsorted])) for i in rows[::unsorted])
        job = replace(job, plan=replace(job.plan, batches=batches, shards=(tuple(range(len(batches))),)))
    return lambda: extract(job, lambda: m)


def prefix_check(setting: Setting, _folder: Path) -> Run:
    """What a loaded model pays once, in the round that is dropped: a group computed both ways before prefixes are reused."""
    plan = setting.plan()
    reader = BatchReader(setting.model, setting.options.layers, plan.sequences, plan.positions)
    groups = [Batch(b.prefix, (group,)) for b in plan.batches if b.prefix for group in b.groups if len(group) > 1]
    return partial(reader.prefix_difference, min(groups, key=lambda group: group.tokens(plan.lengths)))


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
            cached = {cache_argument(module): cache, "use_cache": True}
            module(input_ids=heads, position_ids=_positions(heads), **cached)
            cache.batch_select_indices(rows_of)
            module(input_ids=tails, position_ids=_positions(tails, heads.shape[1]), **cached)

    return run


def _tensors(
    sequences: Sequence[tuple[int, ...]], batch: Batch, device: torch.device
) -> tuple[Tensor | None, Tensor, Tensor]:
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
            batch = m.tokenizer.pad(
                {"input_ids": ids[start : start + rows]}, padding_side="left", return_tensors="pt"
            ).to(m.device)
            positions = (batch["attention_mask"].cumsum(-1) - 1).clamp(min=0)
            states = m.module(**batch, position_ids=positions, output_hidden_states=True).hidden_states
            kept.append(torch.stack([state[:, -1].float().cpu() for state in states[1:]]))
        for number, layer in enumerate(torch.cat(kept, dim=1)):
            with open(folder / f"{number}.npy", "wb", buffering=0) as file:
                np.save(file, layer.numpy())
                os.fsync(file.fileno())

    return run


def contestants(setting: Setting, other: Setting | None = None) -> dict[str, Contestant]:
    """By name. Shared prefixes bring the runs without reuse; `other`, the same in another dtype, brings the ablations."""
    found: dict[str, Contestant] = {"engine": engine, "bare": bare}
    if any(batch.prefix for batch in setting.plan().batches):
        found |= {f"{run.__name__}, no reuse": partial(run, reuse_prefixes=False) for run in (engine, bare)}
        found["prefix check"] = prefix_check
    found["loop, batch 16"], found["loop, batch 1"] = partial(loop, rows=16), partial(loop, rows=1)
    if other:
        found["engine, unsorted batches of 16"] = partial(engine, unsorted=16)
        found[f"engine, {other.options.dtype}"] = lambda _, folder: engine(other, folder)
        found["bare, with LM head"] = partial(bare, head=True)
    return found


def check_parity(setting: Setting) -> dict[str, float]:
    """The engine's activations against one text at a time; wrong ones end the run.

    Differences are absolute up to values of one and relative above. The last layer is left out: transformers gives it
    after the final norm (loading the model compared it).
    """
    by_length = sorted(setting.statements, key=lambda s: len(s.text))
    few = replace(setting, statements=tuple(dict.fromkeys([*setting.statements[:4], *by_length[:2], *by_length[-1:]])))
    with tempfile.TemporaryDirectory() as folder:
        store = engine(few, Path(folder))()
        ours = np.stack([store.read(layer) for layer in store.layers[:-1]])
    plan = few.plan()
    theirs = np.stack([_one_text(few.model, plan.sequences[row["sequence"]]) for row in plan.rows], axis=1)
    cosines = (ours * theirs).sum(-1) / np.linalg.norm(ours, axis=-1) / np.linalg.norm(theirs, axis=-1)
    difference = float((np.abs(ours - theirs) / np.maximum(1, np.abs(theirs))).max())
    right = difference <= MAX_DIFFERENCE if setting.options.dtype == "float32" else cosines.min() >= MIN_COSINE
    found = {"max_difference": difference, "min_cosine": float(cosines.min())}
    if not right:
        sys.exit(f"parity failed in {setting.options.dtype}: {found}. Times of wrong numbers mean nothing.")
    return found


@torch.inference_mode()
def _one_text(model: LanguageModel, ids: tuple[int, ...]) -> np.ndarray:
    states = model.module(torch.tensor([ids], device=model.device), output_hidden_states=True).hidden_states
    return torch.stack([state[0, -1].float().cpu() for state in states[1:-1]]).numpy()


def measure(setting: Setting, found: dict[str, Contestant], rounds: int) -> Times:
    """Seconds of every contestant in every round. They take turns; one more round runs first and is dropped."""
    times: Times = {name: [] for name in found}
    for number in range(rounds + 1):
        turn = number % len(found)
        for name in [*found][turn:] + [*found][:turn]:
            taken = time_once(setting, found[name])
            times[name] += [taken] if number else []
            print(f"round {number}: {name} {taken['wall']:.2f} s", file=sys.stderr)
    return times


def time_once(setting: Setting, contestant: Contestant) -> dict[str, float]:
    """Seconds by the clock on the wall and of all cores together, and of preparing, into a folder that is then deleted."""
    wait = torch.cuda.synchronize if setting.model.device.type == "cuda" else lambda: None
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        run = contestant(setting, Path(folder))
        wait()
        start, cores = time.perf_counter(), time.process_time()
        run()
        wait()
        return {"wall": time.perf_counter() - start, "cores": time.process_time() - cores, "prepare": start - begin}


def ratios(workload: str, times: Times, clock: str) -> list[dict[str, Any]]:
    """What is compared, round by round, so that a slow moment of the machine hits both sides; the median counts."""
    t = {name: np.array([r[clock] for r in rounds]) for name, rounds in times.items()}
    plain = ", no reuse" if "engine, no reuse" in t else ""
    asked = {
        "engine vs bare forward of the same batches": (t[f"bare{plain}"], t[f"engine{plain}"]),
        "engine vs bare, both reusing": (t["bare"] if plain else None, t["engine"]),
        "prefix reuse on vs off": (t.get("engine, no reuse"), t["engine"]),
        **{
            f"engine vs {name}": (t[name], t["engine"])
            for name in t
            if name.startswith(("loop", "engine, un", "engine, fl"))
        },
        "bare vs bare with LM head": (t.get("bare, with LM head"), t["bare"]),
    }
    targets = {"engine vs bare forward of the same batches": 0.97, **TARGETS[workload]}
    return [_ratio(name, slow / fast, targets.get(name)) for name, (slow, fast) in asked.items() if slow is not None]


def _ratio(name: str, rounds: np.ndarray, target: float | None) -> dict[str, Any]:
    median, low, high = float(np.median(rounds)), float(rounds.min()), float(rounds.max())
    verdict = "" if target is None else f"target {target} {'met' if median >= target else 'MISSED'}"
    unsure = f"its distance from {target or 1} is below the spread" if low < (target or 1) < high else ""
    return {
        "name": name,
        "median": median,
        "low": low,
        "high": high,
        "verdict": ", ".join(filter(None, (verdict, unsure))),
    }


def run_workload(args: argparse.Namespace, name: str) -> dict[str, Any]:
    """Parity, then times and ratios of one workload; printed, and returned for the file."""
    statements, source = make_rows(name, args.texts, args.data_dir)
    setting = load_setting(args, statements, args.dtype)
    exact = setting if setting.options.dtype == "float32" else load_setting(args, statements, "float32")
    parity = {s.options.dtype: check_parity(s) for s in (exact, setting)}
    other = exact if args.ablations and exact is not setting else None
    del exact
    print(f"\n{name}: {len(statements)} rows from {source}, {setting.options.dtype}")
    tokens = print_plans(setting)
    for dtype, found in parity.items():
        print(
            f"  parity {dtype}: largest difference {found['max_difference']:.2g}, lowest cosine {found['min_cosine']:.6f}"
        )
    times = measure(setting, contestants(setting, other), args.rounds)
    compared = ratios(name, times, args.clock)
    print_times(times, compared, tokens["text"])
    return {"workload": name, "source": source, "parity": parity, "tokens": tokens, "times": times, "ratios": compared}


def print_plans(setting: Setting) -> dict[str, int]:
    """Tokens of the text, and those computed by the engine with and without reuse and by the loop at batch 16."""
    reuse, plain = setting.plan(), setting.plan(reuse_prefixes=False)
    lengths = [row["n_tokens"] for row in plain.rows]
    looped = sum(max(part) * len(part) for part in (lengths[i : i + 16] for i in range(0, len(lengths), 16)))
    computed = {"engine": reuse.computed_tokens, "no reuse": plain.computed_tokens, "loop, batch 16": looped}
    needed = (reuse.needed_tokens, plain.needed_tokens, sum(lengths))
    print(f"  {sum(lengths)} tokens, {min(lengths)} to {max(lengths)} a row, median {statistics.median(lengths):.0f}")
    for (who, tokens), used in zip(computed.items(), needed, strict=True):
        print(f"  {who} computes {tokens} tokens, {1 - used / tokens:.1%} of them padding")
    return {"text": sum(lengths), **computed}


def print_times(times: Times, compared: list[dict[str, Any]], text_tokens: int) -> None:
    """One line per contestant, one line per ratio."""
    print(f"  {'':32}{'median s':>10}{'min s':>9}{'core s':>9}{'prepare s':>11}{'text tokens/s':>15}")
    for name, rounds in times.items():
        wall, cores, made = (statistics.median(r[key] for r in rounds) for key in ("wall", "cores", "prepare"))
        best = min(r["wall"] for r in rounds)
        rate = "" if name == "prefix check" else f"{text_tokens / wall:.0f}"
        print(f"  {name:32}{wall:10.2f}{best:9.2f}{cores:9.2f}{made:11.2f}{rate:>15}")
    for r in compared:
        print(f"  {r['name']:46}{r['median']:7.3f}   rounds {r['low']:.3f} to {r['high']:.3f}   {r['verdict']}")


def peak_of(args: argparse.Namespace) -> dict[str, float]:
    """Highest resident and device memory in MB of this process, which runs one contestant only.

    On Linux the peak of loading the model, which is the same for all, is wiped first: it would hide the contestant's.
    """
    setting = load_setting(args, make_rows("statements", args.texts, None)[0], args.dtype)
    if args.peak_of != "loading":
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
        time_once(setting, contestants(setting)[args.peak_of])
    status = Path("/proc/self/status")  # not ru_maxrss: on Linux it starts from that of the process it was started by
    if status.exists():
        resident = (
            next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) * 1024
        )
    else:
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    device = torch.cuda.max_memory_allocated() if setting.model.device.type == "cuda" else 0
    return {"resident": resident / 1e6, "device": device / 1e6}


def run_memory(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Peak of each contestant on short statements, each in a process of its own, and again with ten times the rows."""
    rows, found = args.memory_rows, []
    same = ["--model", args.model, "--device", args.device, "--dtype", args.dtype, "--threads", args.threads]
    print(f"\npeak memory, MB resident, short statements\n  {'':20}{rows:>9} rows{rows * 10:>9} rows    ratio")
    for name in ("loading", "engine", "bare", "loop, batch 16"):
        commands = [[sys.executable, __file__, "--peak-of", name, "--texts", n, *same] for n in (rows, rows * 10)]
        done = [subprocess.run([*map(str, c)], stdout=subprocess.PIPE, text=True, check=True) for c in commands]
        small, large = (json.loads(d.stdout.splitlines()[-1]) for d in done)
        ratio = large["resident"] / small["resident"]
        print(f"  {name:20}{small['resident']:14.0f}{large['resident']:14.0f}{ratio:9.2f}", flush=True)
        found.append({"contestant": name, "rows": rows, "peak": small, "peak_of_ten_times": large, "ratio": ratio})
    return found


def machine() -> dict[str, Any]:
    """Where this runs."""
    info = Path("/proc/cpuinfo")
    named = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return {
        "cpu": named[0].split(":")[1].strip() if named else platform.processor(), "cores": os.cpu_count(),
        "threads": torch.get_num_threads(), "load": os.getloadavg()[0],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none", "made": environment(),
    }  # fmt: skip


def main(argv: Sequence[str] | None = None) -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", default="smollm2-135m")
    add("--workload", choices=("all", *TARGETS), default="all")
    add("--texts", type=int, default=96, help="rows of each workload")
    add("--rounds", type=int, default=5, help="rounds that count; one more runs first and is dropped")
    add("--device", default="auto")
    add("--dtype", default="auto", help="auto is bfloat16 where the device computes in it, else float32")
    add("--threads", type=int, default=torch.get_num_threads(), help="threads of torch (default: its own choice)")
    add(
        "--clock",
        choices=("wall", "cores"),
        default="wall",
        help="ratios of seconds on the wall, or of all cores together",
    )
    add(
        "--data-dir",
        type=Path,
        help="folder with ARC-Easy, BoolQ, IMDB, RACE; else PROBESHIFT_DATA, else bundled facts",
    )
    add("--ablations", action="store_true", help="also run with one lever off at a time")
    add("--memory", action="store_true", help="measure peak memory instead of time")
    add("--memory-rows", type=int, default=2000, help="rows of the smaller memory run")
    add("--peak-of", help=argparse.SUPPRESS)
    add("--out", type=Path, help="write everything as JSON")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    args.dtype = str(choose_dtype(choose_device(args.device), args.dtype)).removeprefix("torch.")
    if args.peak_of:
        print(json.dumps(peak_of(args)))
        return
    where = machine()
    print(args.model, args.dtype, "on", *(f"{key} {value}" for key, value in where.items() if key != "made"))
    names = [*TARGETS] if args.workload == "all" else [args.workload]
    results = (
        {"memory": run_memory(args)} if args.memory else {"workloads": [run_workload(args, name) for name in names]}
    )
    if args.out:
        args.out.write_text(json.dumps({"machine": where, "clock": args.clock, **results}, indent=1))


if __name__ == "__main__":
    main()
