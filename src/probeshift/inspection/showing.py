"""One run, probe or store told in full, from its own files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from probeshift.errors import UsageError
from probeshift.inspection.finding import recognise, size_of
from probeshift.layers import layer_name
from probeshift.saved_probes import CHOSEN, read_probe_file, sign_words, threshold_words


def show(path: Path) -> dict[str, Any]:
    """What a path holds.

    Raises:
        UsageError: it is no run, probe or store.
    """
    if path.is_file() and path.suffix == ".safetensors":
        return _probe(path)
    found = recognise(path, {p.name for p in path.iterdir()}) if path.is_dir() else None
    if found is None:
        raise UsageError(
            f"{path} is no run, probe file or activation store. `probeshift ls FOLDER` lists what there is."
        )
    about = {"kind": found.kind, "path": str(path), "bytes": found.n_bytes}
    if found.kind == "run":
        return about | _run(path)
    if found.kind == "model":
        return about | {"config": json.loads((path / "config.json").read_text())}
    return about | _store(path)


def _probe(path: Path) -> dict[str, Any]:
    import numpy as np

    probes = read_probe_file(path)
    card = probes.card
    layers = [
        {
            "layer": layer_name(at),
            "norm": float(np.linalg.norm(d)),
            "bias": float(b),
            "flipped": turned,
            "failure": failure,
        }
        for at, d, b, turned, failure in zip(
            card.layers, probes.directions, probes.biases, card.flipped, card.failures, strict=True
        )
    ]
    dropped = ("layers", "layer_seeds", "flipped", "failures", "sign", "threshold")
    told = {k: v for k, v in asdict(card).items() if k not in dropped}
    return {
        "kind": "probe", "path": str(path), "bytes": path.stat().st_size, **told, "larger": sign_words(card).removeprefix("larger: "),
        "sign": card.sign, "threshold": threshold_words(card), "d_model": int(probes.directions.shape[1]), "layers": layers,
    }  # fmt: skip


def _store(path: Path) -> dict[str, Any]:
    plan = json.loads((path / "plan.json").read_text())
    left_out = ("batches", "shards", "prompts")
    shards = sum(1 for _ in (path / "shards").glob("*.safetensors")) if (path / "shards").is_dir() else 0
    told = {k: v for k, v in plan.items() if k not in left_out}
    return told | {
        "prompts": (plan.get("prompts") or {}).get("kind", "raw"),
        "shards": f"{shards} of {plan['n_shards']}",
    }


def _run(path: Path) -> dict[str, Any]:
    told = json.loads((path / "manifest.json").read_text()) if (path / "manifest.json").is_file() else {}
    about: dict[str, Any] = {k: v for k, v in told.items() if k not in ("stores", "contexts", "datasets")}
    about["datasets"] = {name: d.get("content_hash") for name, d in told.get("datasets", {}).items()}
    if (path / CHOSEN).is_file():
        best = json.loads((path / CHOSEN).read_text())
        about["chosen"] = {k: v for k, v in best.items() if not isinstance(v, list)}
    about["rows"] = _rows(path / "results.parquet")
    about["probes"] = {p.name: len(list(p.glob("*.safetensors"))) for p in sorted(path.glob("probes/*"))}
    about["figures"] = sorted(p.name for p in path.glob("*.png"))
    about["largest"] = {p.name: size_of(p) for p in sorted(path.iterdir()) if p.is_dir()}
    return about


def _rows(file: Path) -> dict[str, Any]:
    """How many rows there are of what."""
    if not file.is_file():
        return {}
    import pandas as pd

    rows = pd.read_parquet(file)
    axes = [a for a in ("method", "train", "test", "split", "layer", "position", "metric", "protocol") if a in rows]
    return {"n": len(rows), "undefined": int(rows["value"].isna().sum()), **{a: int(rows[a].nunique()) for a in axes}}
