"""The weight files of a model on this machine, and one hash over them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from probeshift.provenance import cache_root, publish, sha256_file, sha256_json

# (one file, index of several), in the order transformers prefers them
_LAYOUTS = (
    ("model.safetensors", "model.safetensors.index.json"),
    ("pytorch_model.bin", "pytorch_model.bin.index.json"),
)


def weight_files(folder: Path) -> list[Path]:
    """The files of a checkpoint that hold weights, in one format; empty when there are none or a shard is missing."""
    for whole, index in _LAYOUTS:
        if (folder / whole).is_file():
            return [folder / whole]
        if (folder / index).is_file():
            named = json.loads((folder / index).read_text())["weight_map"].values()
            shards = sorted({folder / shard for shard in named})
            return shards if all(shard.is_file() for shard in shards) else []
    return []


def cached_snapshot(hub_id: str, revision: str | None = None) -> Path | None:
    """The folder in the hub cache that holds a model's config; None when there is none. Never asks the network."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(hub_id, "config.json", revision=revision)
    return Path(found).parent if isinstance(found, str) else None


def hash_files(files: list[Path]) -> str:
    """One sha256 over the names and contents of files."""
    return sha256_json({file.name: remembered_hash(file) for file in files})


def remembered_hash(path: Path) -> str:
    """Hex sha256 of a file, computed once per (path, size, time of change).

    Free in a hub cache, whose files are links to `blobs/<sha256>`.
    """
    target = path.resolve()
    if target.parent.name == "blobs" and re.fullmatch(r"[0-9a-f]{64}", target.name):
        return target.name
    status = target.stat()
    key = sha256_json([str(target), status.st_size, status.st_mtime_ns])
    memory = cache_root() / "hashes" / key
    if memory.is_file():
        return memory.read_text()
    value = sha256_file(target)
    publish(memory, value)
    return value
