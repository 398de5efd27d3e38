"""Is this machine ready? Versions, torch build, GPU, caches, disk; with a model named, its residual stream against its hidden states."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from probeshift.errors import ProbeshiftError
from probeshift.provenance import cache_root, environment

Level = Literal["ok", "warning", "problem"]
FREE_AT_LEAST = 5 << 30
OPTIONAL = {
    "gguf": "gguf",
    "hub data sets": "datasets",
    "scikit-learn files": "skops",
    "judges": "openai",
    "large models": "accelerate",
}


@dataclass(frozen=True)
class Finding:
    """One line of the report; `remedy` is the command that mends it."""

    name: str
    level: Level
    told: str
    remedy: str | None = None


def examine(model: str | None = None) -> list[Finding]:
    """All findings, in order. Loads weights only where a model is named."""
    found = [*_software(), *_torch(), *_disk(), *_models()]
    return [*found, *(_parity(model) if model else ())]


def _software() -> Iterator[Finding]:
    made = environment()
    yield Finding("python", "ok", f"{made['python']} on {made['platform']}")
    missing = [name for name, version in made["versions"].items() if version is None]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items() if version)
    yield Finding("packages", "problem" if missing else "ok", versions + (f"; missing: {', '.join(missing)}" if missing else ""),
                  f"pip install {' '.join(missing)}" if missing else None)  # fmt: skip
    absent = [f"{what} ({package})" for what, package in OPTIONAL.items() if importlib.util.find_spec(package) is None]
    yield Finding("optional", "ok", f"not installed: {', '.join(absent)}" if absent else "all installed")


def _torch() -> Iterator[Finding]:
    import torch

    build = f"torch {torch.__version__}, " + (f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU build")
    yield Finding("torch", "ok", f"{build}, {torch.get_num_threads()} threads on {os.cpu_count()} cores")
    yield gpu(driver_gpus(), _cuda_devices(torch), bool(torch.version.cuda or torch.version.hip))


def gpu(seen_by_driver: list[str], seen_by_torch: list[str], cuda_build: bool) -> Finding:
    """What the driver sees against what torch can use."""
    if seen_by_torch:
        return Finding("gpu", "ok", "; ".join(seen_by_torch))
    if seen_by_driver and not cuda_build:
        remedy = (
            "pip install --force-reinstall torch (the plain wheel of your package index has CUDA; a +cpu wheel has not)"
        )
        return Finding(
            "gpu",
            "warning",
            f"GPU present but CPU wheel: the driver sees {', '.join(seen_by_driver)}, torch cannot use it",
            remedy,
        )
    if seen_by_driver:
        told = f"the driver sees {', '.join(seen_by_driver)}, torch none: the driver may be too old, or CUDA_VISIBLE_DEVICES hides it"
        return Finding("gpu", "warning", told, "nvidia-smi")
    return Finding("gpu", "ok", "none seen; models run on the CPU")


def driver_gpus() -> list[str]:
    """Names of the GPUs that nvidia-smi sees; none where there is no driver."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        told = subprocess.run(
            [tool, "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=20, check=True
        )
    except (subprocess.SubprocessError, OSError):
        return []
    return [line.strip() for line in told.stdout.splitlines() if line.strip()]


def _cuda_devices(torch: Any) -> list[str]:
    found = []
    for index in range(torch.cuda.device_count()):
        free, total = torch.cuda.mem_get_info(index)
        found.append(f"{torch.cuda.get_device_name(index)}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free")
    if torch.backends.mps.is_available():
        found.append("Apple GPU (mps)")
    return found


def _disk() -> Iterator[Finding]:
    root = cache_root()
    place = next(p for p in (root, *root.parents) if p.exists())
    free = shutil.disk_usage(place).free
    writable = os.access(place, os.W_OK)
    told = f"{root}, {free / 1e9:.0f} GB free" + ("" if writable else ", not writable")
    low = free < FREE_AT_LEAST
    level: Level = "problem" if not writable else "warning" if low else "ok"
    yield Finding("cache", level, told, "export PROBESHIFT_CACHE=/a/larger/disk" if low or not writable else None)
    for name, each in (("activations", "*/*/"), ("models", "*/")):
        folder = root / name
        if folder.is_dir():
            from probeshift.inspection.finding import size_of

            yield Finding(
                f"cache/{name}", "ok", f"{size_of(folder) / 1e9:.2f} GB in {sum(1 for _ in folder.glob(each))} folders"
            )


def _models() -> Iterator[Finding]:
    from huggingface_hub.constants import HF_HUB_CACHE

    from probeshift.models.names import SHORT_NAMES, is_here

    here = [name for name in SHORT_NAMES if is_here(name)]
    yield Finding(
        "models", "ok", f"on this machine: {', '.join(here) or 'none of the short names'} (see `probeshift models`)"
    )
    hub = Path(HF_HUB_CACHE)
    count = sum(1 for _ in hub.glob("models--*")) if hub.is_dir() else 0
    offline = ", offline" if os.environ.get("HF_HUB_OFFLINE") == "1" else ""
    yield Finding("hub cache", "ok", f"{hub}, {count} models{offline}")


def _parity(name: str) -> Iterator[Finding]:
    from probeshift.models import check_parity, load_model

    try:
        model = load_model(name, check=False)
        parity = check_parity(model)
    except ProbeshiftError as error:
        yield Finding("parity", "problem", str(error), f"probeshift models check {name}")
        return
    told = f"{name}: hooks equal hidden states at {parity.layers_compared} layers, largest difference {parity.max_abs:.2g} "
    dtype = str(model.dtype).removeprefix("torch.")
    yield Finding("parity", "ok", f"{told}({dtype} on {model.device}; last block compared {parity.last_block})")
