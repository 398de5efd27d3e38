"""A small finished comparison on planted activations, written as a real run writes it, with texts of the worst kind."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import planted

from probeshift.probes import find_method
from probeshift.results import ResultFolder
from probeshift.shift import Scoring, fit_probes, score_slice

LAYER = 1
EVIL_SCRIPT = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked=1'>"
EVIL_TEXTS = (
    EVIL_SCRIPT,
    '=HYPERLINK("http://example.org","x") \'single\' "double" `back` ${window.hacked=1} {{ 7*7 }}',
    "right to left: \u202egnp.exe\u202c, isolated \u2067abc\u2069, separators \u2028 and \u2029, null \x00, half \ud800",
    "x" * 1_000_000,
    "]]> <!-- --> &lt;b&gt; <style>body{display:none}</style> <base href='http://example.org/'>",
)
SETS = (
    planted.Recipe("home", planted.unit(1)),
    planted.Recipe("away", planted.unit(1), strength=1.5, seed=1),
    planted.Recipe("<b onmouseover=alert(1)>turned", planted.unit(1), strength=-3.0, seed=2),
    planted.Recipe("loose", planted.unit(9), grouped=False, seed=4),
)
METHODS = ("dim", "lr", "lr-g", "random")


def write_run(folder: Path, acts: Path, *, sets=SETS, methods=METHODS, strength=None, evil=True) -> Path:
    """Fit, score and collect; `strength` overrides that of the set `away` on its test split."""
    results, contexts, stores = ResultFolder(folder), [], []
    chosen = [find_method(name) for name in methods]
    slices = {split: [_slice(acts, r, split, strength, evil) for r in sets] for split in ("train", "selection", "test")}
    probes = [p for train in slices["train"] for p in fit_probes(train, chosen, planted.LAYERS, results)]
    for split in ("selection", "test"):
        for test in slices[split]:
            context = score_slice(test, probes, planted.LAYERS, results, Scoring(n_resamples=200))
            contexts.append((test.dataset, split, context))
            stores.append(
                {"dataset": test.dataset, "split": split, "store": str(test.store.folder), "rows": len(test.store.rows)}
            )
    results.collect(contexts)
    data = {
        r.name: {"content_hash": f"hash of {r.name}", "split_rule": "planted", "split_by": "question", "stand_in": None}
        for r in sets
    }
    made = {"command": ["probeshift", EVIL_SCRIPT], "versions": {"probeshift": "0"}, "python": "3"}
    manifest = {
        "step": "compare",
        "settings": {"seed": 0, "data": {"eval_limit": None}},
        "made": made,
        "datasets": data,
        "stores": stores,
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "reading.md").write_text(f"# Title\n\n- One `dim` sentence.\n- Another {EVIL_SCRIPT}\n")
    write_tables(folder)
    return folder


def write_tables(folder: Path) -> None:
    """Small tables as a sweep and a study write them."""
    steps = [
        {"step": step, "name": f"mix {step}", "n_training_samples": 100 * (step + 1), "set": name, "auroc": 0.5 + 0.1 * step,
         "ci_low": 0.4 + 0.1 * step, "ci_high": 0.6 + 0.1 * step, "reason": None}
        for step in range(4) for name in ("gold", "=cmd()")
    ]  # fmt: skip
    pd.DataFrame(steps).to_csv(folder / "auroc_by_step.csv", index=False)
    gains = [
        {"to": s, "set": "gold", "difference": 0.9, "p": 0.5, "per_1000": 0.1 * s, "ci_low": 0.0, "ci_high": 0.5}
        for s in (1, 2)
    ]
    pd.DataFrame(gains).to_csv(folder / "gain_per_row.csv", index=False)
    strengths = [
        {"strength": s, "kind": kind, "effect": s * (kind == "probe"), "ci_low": s - 1.0, "ci_high": s + 1.0}
        for s in (0.0, 1.0, 2.0)
        for kind in ("probe", "random")
    ]
    pd.DataFrame(strengths).to_csv(folder / "steering_by_strength.csv", index=False)
    maps = [
        {"source_model": "a", "target_model": "b", "map": name, "cosine": c, "ci_low": c - 0.1, "ci_high": c + 0.1}
        for name, c in (("ridge", 0.6), ("mean vector (null)", 0.5))
    ]
    pd.DataFrame(maps).to_csv(folder / "transfer_recovery.csv", index=False)
    nodes = [
        (0, "home", None, None),
        (1, "away", None, None),
        (2, "loose", None, None),
        (3, None, 2, 0),
        (4, None, 3, 1),
    ]
    pd.DataFrame(nodes, columns=["node", "dataset", "left", "right"]).to_csv(folder / "clusters.csv", index=False)


def _slice(acts, recipe, split, strength, evil):
    if strength is not None and recipe.name == "away" and split == "test":
        recipe = planted.replace(recipe, strength=strength)
    found = planted.write(acts, planted.replace(recipe, name=recipe.name), split)
    if evil:
        path = found.store.folder / "rows.parquet"
        rows = pd.read_parquet(path)
        # Arrow holds no lone surrogates; those are tested where texts are made safe.
        texts = [text.replace("\ud800", "") for text in EVIL_TEXTS]
        rows["text"] = [
            f"{texts[i % len(texts)]} row {i}" if i % len(texts) != 3 else texts[3] for i in range(len(rows))
        ]
        rows.to_parquet(path)
    return found
