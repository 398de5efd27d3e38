"""Runs, activation stores and probes below a folder, recognised by their files, with their sizes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from probeshift.errors import UsageError, nearest
from probeshift.results import read_probes
from probeshift.saved_probes import CHOSEN

Kind = Literal["run", "store", "unfinished store", "probe", "model", "tensor file", "vectors"]
_SKIPPED = {".git", "node_modules", ".venv", "__pycache__", "shards", "parts"}


@dataclass(frozen=True)
class Item:
    """One thing found; `what` says what it holds in a few words."""

    kind: Kind
    path: Path
    n_bytes: int
    what: str


def find(folder: Path) -> Iterator[Item]:
    """What lies below a folder, in order of paths. A run's own probes are counted in it, not listed one by one.

    Raises:
        UsageError: there is no such folder.
    """
    if not folder.is_dir():
        beside = [p.name for p in folder.parent.iterdir()] if folder.parent.is_dir() else []
        raise UsageError(f"there is no folder {folder}. {nearest(folder.name, beside)}")
    for place, folders, files in os.walk(folder):
        found = recognise(Path(place), set(files))
        folders[:] = [] if found is not None else sorted(f for f in folders if f not in _SKIPPED)
        if found is not None:
            yield found
        else:
            yield from _files(Path(place), sorted(files))


def recognise(folder: Path, files: set[str]) -> Item | None:
    """The run, store or model that a folder is, or None."""
    if "plan.json" in files and "rows.parquet" in files:
        plan = json.loads((folder / "plan.json").read_text())
        shape = f"{plan['model']}, {plan['n_rows']:,} rows, {len(plan['layers'])} layers, {', '.join(plan['positions'])}, {plan['dtype']}"
        return Item("store" if "index.json" in files else "unfinished store", folder, size_of(folder), shape)
    if "results.parquet" in files or CHOSEN in files:
        return Item("run", folder, size_of(folder), _run(folder))
    if "config.json" in files and any(name.endswith(".safetensors") for name in files):
        return Item(
            "model", folder, size_of(folder), json.loads((folder / "config.json").read_text()).get("model_type", "?")
        )
    return None


def _run(folder: Path) -> str:
    import pyarrow.parquet as pq

    told = folder / "results.parquet"
    rows = f"{pq.read_metadata(told).num_rows:,} rows" if told.is_file() else "no rows"
    probes = sum(1 for _ in folder.glob("probes/*/*.safetensors"))
    return f"{_model(folder)}{rows}, {probes} probe files"


def _model(folder: Path) -> str:
    manifest = folder / "manifest.json"
    told = json.loads(manifest.read_text()) if manifest.is_file() else {}
    name = (told.get("model") or told.get("train") or {}).get("model")
    return f"{name}, " if name else ""


def _files(folder: Path, names: list[str]) -> Iterator[Item]:
    for name in names:
        path = folder / name
        if name.endswith(".safetensors") and f"{path.stem}.json" in names:
            item = _probe(path)
            if item is not None:
                yield item
        elif name.endswith(".safetensors") and (concepts := _concepts(path)):
            yield Item("vectors", path, path.stat().st_size, concepts)


def _probe(path: Path) -> Item | None:
    from probeshift.errors import StoreError

    try:
        card = read_probes(path).card
    except StoreError:
        return None  # a tensor file of something else with a JSON beside it
    what = f"{card.method} on {card.train}, {card.model}, {len(card.layers)} layers, {card.position}"
    return Item("probe", path, path.stat().st_size, what)


def _concepts(path: Path) -> str:
    """Steering vectors keep their cards in the header of their file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            header: dict[str, Any] = file.metadata() or {}
    except (SafetensorError, OSError):
        return ""
    concepts = [key.removeprefix("card:") for key in header if key.startswith("card:")]
    return (
        f"{len(concepts)} steering vectors ({', '.join(concepts[:3])})" if concepts and "probeshift" in header else ""
    )


def size_of(folder: Path) -> int:
    """Bytes of all files below a folder; links count once, where they lie."""
    return sum(p.lstat().st_size for p in folder.rglob("*") if p.is_file() or p.is_symlink())
