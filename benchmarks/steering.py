"""How fast a steering sweep is written: large mixed batches against loops over concepts and strengths.

All contestants have the same loaded model, vectors, prompts and number of tokens, and take the likeliest token. Parity comes
first: in float32 every contestant must write the same texts, or the run ends without times. Loops are timed on some of the
(concept, strength) pairs and extrapolated. benchmarks/README.md says what each figure means.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from probeshift.datasets import FACTS_DATASETS, load_dataset
from probeshift.models import LanguageModel, load_model
from probeshift.provenance import environment
from probeshift.steering.contrasts import Contrast, make_encoder
from probeshift.steering.diffmean import diffmean
from probeshift.steering.generation import Decoding
from probeshift.steering.interventions import Intervention
from probeshift.steering.sweep import Sweep, SweepSettings, Task

PROMPTS = (
    "Tell me about tea.",
    "How do I keep a plant alive in winter?",
    "Write two sentences about the sea, and one about the mountains behind it.",
    "What is a prime number?",
    "Give me a recipe that needs only eggs, flour and milk, and say how long each step takes.",
    "Why is the sky blue?",
    "Describe a morning in a small town to somebody who has never left a big city.",
    "Name three instruments.",
    "How can I learn to play chess well if I have half an hour a day?",
    "Explain what a bank does.",
)
STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0)
LAYER_SHARE = 0.5
ROWS_PER_CONCEPT = 40
TARGET = 4.0

Pair = tuple[int, int]  # concept, strength


@dataclass(frozen=True)
class Setting:
    """What all contestants share: a model, prompts as token ids, and the interventions of every (concept, strength)."""

    model: LanguageModel
    prompts: tuple[tuple[int, ...], ...]
    interventions: dict[Pair, Intervention]
    n_tokens: int
    batch_rows: int


def contrast_rows(n_concepts: int) -> list[Contrast]:
    """Real directions from bundled statements: true against false within a dataset, then one dataset against the next."""
    texts = {name: load_dataset(name).statements for name in FACTS_DATASETS}
    rows = []
    for concept in range(n_concepts):
        name, following = (FACTS_DATASETS[(concept + step) % len(FACTS_DATASETS)] for step in (0, 1))
        within = concept < len(FACTS_DATASETS)
        sides = {
            True: [s.text for s in texts[name] if s.label or not within],
            False: [s.text for s in texts[name if within else following] if not (s.label and within)],
        }
        rows += [
            Contrast(f"{concept}-{name}", "", text, kind)
            for kind, found in sides.items()
            for text in found[: ROWS_PER_CONCEPT // 2]
        ]
    return rows


def load_setting(args: argparse.Namespace, dtype: str) -> Setting:
    """The model, and a vector per concept from its middle layer; strengths count differences of the class means."""
    model = load_model(args.model, dtype=dtype, device=args.device, check=False)
    layer = int(model.info.n_layers * LAYER_SHARE)
    encoder = make_encoder(model.tokenizer, chat=False)
    found = diffmean(model, contrast_rows(args.concepts), [layer], encoder=encoder)[layer].values()
    vectors = [v.measured(v.card.norm, ROWS_PER_CONCEPT) for v in found]
    chat = make_encoder(model.tokenizer)
    pairs = {(c, s): Intervention(v, STRENGTHS[s]) for c, v in enumerate(vectors) for s in range(args.strengths)}
    return Setting(model, tuple(map(chat.prompt_ids, PROMPTS[: args.prompts])), pairs, args.tokens, args.batch_rows)


def engine(setting: Setting, pairs: Sequence[Pair]) -> list[str]:
    """This package: the whole sweep in mixed batches, written to disk as they are done."""
    tasks = [Task(str(i), p, setting.interventions[pair]) for pair in pairs for i, p in enumerate(setting.prompts)]
    settings = SweepSettings(Decoding(setting.n_tokens), batch_rows=setting.batch_rows)
    with tempfile.TemporaryDirectory() as folder:
        return [g.text for g in Sweep(setting.model, tasks, settings, Path(folder)).run()]


def loop(setting: Setting, pairs: Sequence[Pair], *, at_once: int) -> list[str]:
    """What people write: a hook that adds one vector, and `generate` over that pair's prompts, so many at once."""
    texts = []
    for pair in pairs:
        for start in range(0, len(setting.prompts), at_once):
            texts += _plain_generate(setting, setting.prompts[start : start + at_once], setting.interventions[pair])
    return texts


def _plain_generate(setting: Setting, prompts: Sequence[tuple[int, ...]], one: Intervention) -> list[str]:
    model, tokenizer = setting.model, setting.model.tokenizer
    delta = torch.from_numpy(one.vector.direction).to(model.device) * one.shift

    def add(_module, _args, output):
        hidden = output[0] if isinstance(output, tuple) else output
        steered = (hidden.float() + delta).to(hidden.dtype)
        return (steered, *output[1:]) if isinstance(output, tuple) else steered

    longest = max(map(len, prompts))
    ids = torch.tensor([[*([tokenizer.pad_token_id] * (longest - len(p))), *p] for p in prompts])
    mask = torch.tensor([[*([0] * (longest - len(p))), *([1] * len(p))] for p in prompts])
    hook = model.blocks[one.vector.layer].register_forward_hook(add)
    try:
        with torch.inference_mode():
            out = model.module.generate(
                ids.to(model.device),
                attention_mask=mask.to(model.device),
                max_new_tokens=setting.n_tokens,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
            )
    finally:
        hook.remove()
    return [tokenizer.decode(row[longest:], skip_special_tokens=True) for row in out]


def contestants(n_prompts: int) -> dict[str, Callable[[Setting, Sequence[Pair]], list[str]]]:
    return {
        "engine, mixed batches": engine,
        f"loop, {n_prompts} prompts at once": lambda s, pairs: loop(s, pairs, at_once=n_prompts),
        "loop, prompt by prompt": lambda s, pairs: loop(s, pairs, at_once=1),
    }


def spread(pairs: Sequence[Pair], n: int) -> list[Pair]:
    """So many of the pairs, evenly over all."""
    return [pairs[i * len(pairs) // n] for i in range(min(n, len(pairs)))]


def same_texts(args: argparse.Namespace, dtype: str) -> dict[str, float]:
    """Share of texts of some pairs that each loop writes exactly as the engine does."""
    setting = load_setting(args, dtype)
    pairs = spread(list(setting.interventions), args.sample)
    found = {name: run(setting, pairs) for name, run in contestants(len(setting.prompts)).items()}
    ours, *_ = found.values()
    return {n: sum(a == b for a, b in zip(ours, texts, strict=True)) / len(ours) for n, texts in found.items()}


def measure(setting: Setting, args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Seconds of a whole sweep per contestant and round; loops extrapolated from some pairs."""
    pairs = list(setting.interventions)
    times: dict[str, list[dict[str, float]]] = {}
    for _ in range(args.rounds):
        for name, run in contestants(len(setting.prompts)).items():
            timed = pairs if name.startswith("engine") else spread(pairs, args.sample)
            wall, cores = time.perf_counter(), time.process_time()
            run(setting, timed)
            factor = len(pairs) / len(timed)
            took = {"wall": (time.perf_counter() - wall) * factor, "cores": (time.process_time() - cores) * factor}
            times.setdefault(name, []).append(took)
            print(f"  {name}: {took['wall']:.1f} s, {took['cores']:.1f} s of processor time", flush=True)
    return times


def main(words: Sequence[str] | None = None) -> None:
    args = _parse(words)
    if args.threads:
        torch.set_num_threads(args.threads)
    parity = same_texts(args, "float32")
    if min(parity.values()) < 1:
        raise SystemExit(f"contestants write different texts in float32: {parity}; no times are shown.")
    setting = load_setting(args, args.dtype)
    n_texts = len(setting.interventions) * len(setting.prompts)
    print(f"{args.model}, {args.dtype}: {n_texts} texts of up to {args.tokens} tokens; the same texts in float32")
    times = measure(setting, args)
    ours = statistics.median(t[args.clock] for t in times["engine, mixed batches"])
    ratios = {n: statistics.median(t[args.clock] for t in rounds) / ours for n, rounds in times.items()}
    for name, ratio in ratios.items():
        print(f"{name:<32} {ratio:5.2f} times the engine's {args.clock} seconds")
    print(f"target: {TARGET:g} times")
    agreement = same_texts(args, args.dtype)
    print(f"texts as the engine's in {args.dtype}: " + ", ".join(f"{n} {share:.0%}" for n, share in agreement.items()))
    if args.out:
        found = {"times": times, "ratios": ratios, "parity": {"float32": parity, args.dtype: agreement}}
        args.out.write_text(json.dumps({**found, "texts": n_texts, "made": environment()}, indent=1))


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--concepts", type=int, default=10)
    parser.add_argument("--strengths", type=int, default=len(STRENGTHS))
    parser.add_argument("--prompts", type=int, default=len(PROMPTS))
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--batch-rows", type=int, default=256)
    parser.add_argument("--sample", type=int, default=4, help="pairs the loops are timed and compared on")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--clock", choices=("wall", "cores"), default="wall")
    parser.add_argument("--out", type=Path)
    return parser.parse_args(words)


if __name__ == "__main__":
    main()
