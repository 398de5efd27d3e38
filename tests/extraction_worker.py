"""Runs one extraction in a process of its own, so that tests can kill it, limit it or watch its memory.

python extraction_worker.py MODEL_FOLDER N_STATEMENTS [kill_after=N] [file_limit=BYTES] [gate=PATH]
"""

import os
import resource
import sys
from pathlib import Path

import torch

from probeshift.datasets import Statement
from probeshift.errors import ProbeshiftError
from probeshift.extraction import ExtractionOptions, extract, plan, prepare
from probeshift.models import describe, load_model, load_tokenizer


def statements(n, dataset="toy"):
    """Question pairs of many lengths that share a stem, deterministic."""
    words = "the city of Paris is in France and Tokyo is in Japan but water is wet and fire is hot today".split()
    rows = []
    for q in range((n + 1) // 2):
        stem = " ".join(words[(q * 7 + i * (1 + q % 5)) % len(words)] for i in range(6 + (q * 13) % 30)) + f" {q}"
        for k, end in enumerate((" so the answer is yes it is", " so the answer is no it is not")):
            rows.append(Statement(dataset, f"{q}-{k}", stem + end, k == 0, "train", str(q), str(k)))
    return rows[:n]


def run(folder, rows, *, on_progress=None, layers=(0, 1, 2, 3), dtype="float32", **options):
    """Extract `rows` (statements, or how many of them) with the model in `folder`; returns the store."""
    info = describe(str(folder))
    options = ExtractionOptions(layers=layers, dtype=dtype, **options)
    rows = statements(rows) if isinstance(rows, int) else rows
    job = prepare(rows, info, load_tokenizer(info), options, label="toy-train")
    return extract(job, lambda: load_model(info, dtype=dtype, device="cpu"), on_progress=on_progress)


def main():
    folder, n, *rest = sys.argv[1:]
    flags = dict(item.split("=", 1) for item in rest)
    torch.set_num_threads(1)
    plan.SHARD_TOKENS["cpu"] = int(flags.get("shard_tokens", 1500))
    if "file_limit" in flags:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(flags["file_limit"]), resource.RLIM_INFINITY))

    def watch(_label, done, total):
        shards = list(Path(os.environ["PROBESHIFT_CACHE"]).glob("activations/*/*/shards/*.json"))
        if len(shards) >= int(flags.get("kill_after", 1 << 30)):
            os.kill(os.getpid(), 9)

    try:
        store = run(folder, int(n), on_progress=watch)
    except ProbeshiftError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    print(store.folder)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    main()
