"""Who made a file: versions, hashes, time. Also the two file habits every waist shares: stable hashes and whole-or-not writes."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from probeshift.errors import StoreError

_RECORDED = (
    "probeshift",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "numpy",
    "scipy",
    "scikit-learn",
    "pandas",
    "pyarrow",
    "py3langid",
    "openai",
)


def sha256_text(text: str) -> str:
    """Hex sha256 of a text in UTF-8."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def sha256_json(value: Any) -> str:
    """Hex sha256 of a JSON value, independent of key order."""
    return sha256_text(json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False))


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes, read in blocks."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cache_root() -> Path:
    """The folder for everything that can be made again: `PROBESHIFT_CACHE`, else `~/.cache/probeshift`."""
    return Path(os.environ.get("PROBESHIFT_CACHE") or Path.home() / ".cache" / "probeshift")


def publish(path: Path, data: bytes | str) -> None:
    """Write a file so that readers, and a machine that dies, see either the old file or the whole new one.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data.encode("utf-8") if isinstance(data, str) else data)
            file.flush()
            os.fsync(file.fileno())
        settle(temporary, path)
    except OSError as error:
        discard(temporary)
        raise cannot_write(path, error) from error


def discard(temporary: Path) -> None:
    """Remove a temporary file, if there is one and its folder is one."""
    with suppress(OSError):
        temporary.unlink()


def settle(temporary: Path, path: Path) -> None:
    """Rename a finished temporary file into place and make the rename itself durable."""
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The error a user sees when a file cannot be written."""
    return StoreError(
        f"cannot write {path}: {error.strerror}. Free some space or choose another place "
        "(PROBESHIFT_CACHE for activations, --output-dir for results); what is finished is kept, the same command continues."
    )


def environment() -> dict[str, Any]:
    """What was installed and where it ran, for a manifest. Volatile: never part of a content hash."""
    versions: dict[str, str | None] = {}
    for name in _RECORDED:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        "versions": versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "command": sys.argv,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
