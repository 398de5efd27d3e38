"""`.pt` files that hold plain tensors only: written whole, read with `weights_only`, so that nothing in them runs."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from probeshift.errors import UsageError
from probeshift.provenance import publish


def save_tensors(path: Path, content: Any) -> None:
    """Write a `.pt` file.

    Raises:
        StoreError: it cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    publish(path, buffer.getvalue())


def load_tensors(path: Path) -> Any:
    """What a `.pt` file holds.

    Raises:
        UsageError: there is no such file, or it holds more than tensors, numbers and words (which would have to be executed).
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}.")
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise UsageError(
            f"{path} is not a .pt file of plain tensors, and nothing else is read, since pickled objects can run code. "
            "Save its tensors in a dict."
        ) from error


def vector(value: Any, what: str) -> Any:
    """A tensor [d_model] as float32 numbers.

    Raises:
        UsageError: it is something else.
    """
    if not isinstance(value, torch.Tensor) or value.squeeze().ndim != 1:
        raise UsageError(f"{what} is no vector. Expected a tensor [d_model].")
    return value.squeeze().to(torch.float32).numpy()
