"""What `probeshift score` costs beside plain extraction: the same texts, model, layer and position, from text to file.

Both tokenise, plan, read and write: extraction a store of activations, scoring a JSON line per text. They take turns in one process;
first the scores must be those of the stored activations, or the run ends without times. benchmarks/README.md says what each figure means.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from extraction import Run, Setting, Times, load_setting, machine, make_rows, measure

import probeshift as ps
from probeshift.extraction import extract, prepare
from probeshift.models import choose_device, choose_dtype
from probeshift.probes import find_method
from probeshift.results import ResultFolder
from probeshift.saved_probes import SavedProbe
from probeshift.shift import SliceData, fit_probes

TARGET = 1.05
# Of the spread of the scores: activations are stored in the model's dtype, scores are made from them as they come.
MAX_DIFFERENCE = {"float32": 1e-4, "bfloat16": 0.05, "float16": 0.01}


@dataclass(frozen=True)
class Job:
    """A probe at one layer, and the setting whose texts it scores."""

    setting: Setting
    saved: SavedProbe


def make_job(args: argparse.Namespace, folder: Path) -> tuple[Job, str]:
    """The model, its texts, and a probe fitted on bundled facts; and where the texts come from."""
    rows, source = make_rows(args.workload, args.texts, args.data_dir)
    setting = load_setting(args, rows, args.dtype)
    layer = int(setting.model.info.n_layers * 0.5) if args.layer is None else args.layer
    setting = replace(setting, options=replace(setting.options, layers=(layer,)))
    facts = ps.load_dataset("facts_cities_affirmed").split("train", 40)
    train = ps.read_activations(setting.model, facts, layers=[layer], root=folder / "facts")
    fit_probes(SliceData("facts", "train", train), [find_method("dim")], (layer,), ResultFolder(folder))
    return Job(setting, ps.open_probe(folder / "probes" / "dim" / "facts.safetensors", layer)), source


def extracting(job: Job, folder: Path) -> Run:
    """Plain extraction of the probe's layer into a fresh store."""
    setting, model = job.setting, job.setting.model

    def run() -> Any:
        # no identity given: scoring looks up the hash of the weights in its own time, too
        ready = prepare(setting.statements, model.info, model.tokenizer, setting.options, label="bench", root=folder)
        return extract(ready, lambda: model)

    return run


def scoring(job: Job, folder: Path) -> Run:
    """The same texts scored, a JSON line each."""

    def run() -> list[float]:
        with (folder / "scores.jsonl").open("w") as file:
            scores = []
            for found in ps.score_texts(job.saved, job.setting.model, (s.text for s in job.setting.statements)):
                file.write(json.dumps({"score": found.score, "decision": found.decision}) + "\n")
                scores.append(found.score)
        return scores

    return run


def check_scores(job: Job) -> float:
    """The largest difference from the scores of stored activations, in standard deviations of the scores."""
    with tempfile.TemporaryDirectory() as folder:
        stored = job.saved.probe.score(extracting(job, Path(folder))().read(job.saved.probe.layer))
        found = np.array(scoring(job, Path(folder))(), dtype=float)
    difference = float(np.abs(found - stored).max() / stored.std())
    if not difference <= MAX_DIFFERENCE[job.setting.options.dtype]:
        sys.exit(
            f"scores differ from those of stored activations by {difference:.2g} of their spread. No times are shown."
        )
    return difference


def compare(times: Times, clock: str) -> dict[str, Any]:
    """Scoring against extraction within each round; the median counts."""
    rounds = [s[clock] / e[clock] for s, e in zip(times["scoring"], times["extraction"], strict=True)]
    return {"median": statistics.median(rounds), "low": min(rounds), "high": max(rounds), "target": TARGET}


def show(times: Times, ratio: dict[str, Any]) -> None:
    """One line per contestant, then the ratio."""
    for name, rounds in times.items():
        wall, cores = (statistics.median(r[key] for r in rounds) for key in ("wall", "cores"))
        print(f"  {name:12}{wall:9.2f} s by the clock{cores:9.2f} s of all cores")
    told = "met" if ratio["median"] <= TARGET else "MISSED"
    unsure = ", its distance from the target is below the spread" if ratio["low"] < TARGET < ratio["high"] else ""
    print(
        f"  scoring / extraction {ratio['median']:.3f}, rounds {ratio['low']:.3f} to {ratio['high']:.3f}: target {TARGET} {told}{unsure}"
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", default="smollm2-135m")
    add("--layer", type=int, help="the probe's layer (default: half the depth)")
    add("--workload", choices=("statements", "mixed", "two-option", "four-option"), default="statements")
    add("--texts", type=int, default=1000)
    add("--rounds", type=int, default=7, help="rounds that count; one more runs first and is dropped")
    add("--device", default="auto")
    add("--dtype", default="auto", help="auto is bfloat16 where the device computes in it, else float32")
    add("--threads", type=int, default=torch.get_num_threads(), help="threads of torch (default: its own choice)")
    add(
        "--clock",
        choices=("wall", "cores"),
        default="wall",
        help="the ratio is of seconds on the wall, or of all cores",
    )
    add(
        "--data-dir",
        type=Path,
        help="folder with ARC-Easy, BoolQ, IMDB, RACE; else PROBESHIFT_DATA, else bundled facts",
    )
    add("--out", type=Path, help="write everything as JSON")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    args.dtype = str(choose_dtype(choose_device(args.device), args.dtype)).removeprefix("torch.")
    where = machine()
    print(args.model, args.dtype, "on", *(f"{key} {value}" for key, value in where.items() if key != "made"))
    with tempfile.TemporaryDirectory() as folder:
        job, source = make_job(args, Path(folder))
        difference = check_scores(job)
        layer = job.saved.probe.layer
        print(
            f"{len(job.setting.statements)} texts from {source}, layer {layer}; scores differ by {difference:.2g} of their spread"
        )
        both = {
            name: lambda _, place, run=run: run(job, place)
            for name, run in (("extraction", extracting), ("scoring", scoring))
        }
        times = measure(job.setting, both, args.rounds)
    ratio = compare(times, args.clock)
    show(times, ratio)
    if args.out:
        found = {"machine": where, "clock": args.clock, "texts": args.texts, "layer": layer, "difference": difference}
        args.out.write_text(json.dumps({**found, "times": times, "ratio": ratio}, indent=1))


if __name__ == "__main__":
    main()
