"""Which parts of the demo are done: a part is taken over only when the program, its settings and its files are the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from probeshift.experiments.inputs import Settings
from probeshift.models.names import resolve
from probeshift.provenance import environment, publish, sha256_json

STAMP = "finished.json"


def fingerprint(model: str, *settings: Settings) -> str:
    """A hash of everything a part depends on: its settings, the installed program and versions, the model's files."""
    asked = [one.model_dump(mode="json") for one in settings]
    return sha256_json([asked, environment()["versions"], _program(), _model(model)])


def is_finished(folder: Path, key: str) -> bool:
    """Whether the part in this folder was finished under the same fingerprint and no file of it is lost."""
    stamp = folder / STAMP
    if not stamp.exists():
        return False
    found = json.loads(stamp.read_text())
    return bool(found["key"] == key) and all(Path(path).exists() for path in found["files"])


def mark_finished(folder: Path, key: str, made: Sequence[Path]) -> None:
    """Write the stamp, last of all, with the files that must be there."""
    publish(folder / STAMP, json.dumps({"key": key, "files": [str(path) for path in made]}, indent=1))


def _program() -> list[Any]:
    """Size and time of every source file, so that a changed program does its work again."""
    root = Path(str(files("probeshift")))
    return [
        [str(p.relative_to(root)), *_stat(p)] for p in sorted(root.rglob("*")) if p.suffix != ".pyc" and p.is_file()
    ]


def _model(name: str) -> list[Any]:
    source = resolve(name)
    place = source.gguf or Path(source.location)
    held = sorted(p for p in place.iterdir() if p.is_file()) if place.is_dir() else [place]
    return [source.name, *([str(p), *_stat(p)] for p in held if p.exists())]


def _stat(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
