"""Models of a study, loaded; or a copy of one in a random basis, made once and kept in the cache."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from probeshift.experiments.transfer.settings import ModelEntry
from probeshift.provenance import cache_root

if TYPE_CHECKING:
    from probeshift.models import LanguageModel


def open_model(entry: ModelEntry) -> LanguageModel:
    """The model with its weights.

    Raises:
        MissingError: it is not on this machine.
        UsageError: it cannot be loaded so, or not be rotated.
    """
    from probeshift.models import describe, load_model

    path = entry.path if entry.rotation_seed is None else str(rotated_copy(entry))
    return load_model(describe(path), dtype=entry.dtype, device=entry.device)


def rotated_copy(entry: ModelEntry) -> Path:
    """The folder of the model in the basis of `rotation_seed`."""
    from probeshift.models import describe, folder_name, load_model, weight_hash
    from probeshift.models.rotation import random_rotation, save_rotated

    info = describe(entry.path)
    name = f"{folder_name(info.name)}-rotated-{entry.rotation_seed}-{weight_hash(info)[:8]}"
    folder = cache_root() / "rotated" / name
    if not folder.exists():
        # In float64 and float32: a copy in bfloat16 would say something else.
        model = load_model(info, dtype="float32", device="cpu")
        making = folder.with_name(f".{name}.{os.getpid()}")
        save_rotated(model, making, random_rotation(info.d_model, entry.rotation_seed or 0), keep=False)
        os.replace(making, folder)
    return folder


def layer_of(entry: ModelEntry, n_layers: int) -> int:
    """The block of an entry that names one.

    Raises:
        UsageError: it lies outside the model.
    """
    from probeshift.layers import parse_layers

    (layer,) = parse_layers(str(entry.layer), n_layers)
    return layer
