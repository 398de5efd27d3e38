"""Vectors that AxBench has written: `<Method>_weight.pt`, a row per concept. Read as tensors only; nothing is unpickled.

A row is a concept by its number in the file. Saving again appends to such files, so rows that occur twice are refused.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from pathlib import Path

import torch

from probeshift.errors import MissingError, StoreError, UsageError
from probeshift.models import LanguageModel, weight_hash
from probeshift.provenance import sha256_file
from probeshift.steering.vectors import SteeringVector, VectorCard, normalised, require_width


def axbench_vectors(
    path: Path, model: LanguageModel, *, layer: int, concepts: Sequence[str] | None = None
) -> dict[str, SteeringVector]:
    """The vectors of an AxBench file as vectors of `model`, by concept id (`axbench-<row>` unless ids are given).

    Raises:
        MissingError: no such file.
        StoreError: the file holds anything but one matrix of numbers.
        UsageError: another width than the model's, other many rows than ids, repeated rows, or values that are not finite.
    """
    weight = _read(path)
    ids = list(concepts) if concepts is not None else [f"axbench-{row}" for row in range(len(weight))]
    if len(ids) != len(weight) or len(set(ids)) < len(ids):
        raise UsageError(
            f"{path.name} has {len(weight)} rows for {len(set(ids))} different concept ids. Give one id a row."
        )
    if len(torch.unique(weight, dim=0)) < len(weight):
        raise UsageError(f"{path.name} holds some rows twice: it was written more than once. Take the rows of one run.")
    card = VectorCard(
        concept="", method="diffmean, imported from AxBench", model=model.info.name, weights=weight_hash(model.info),
        revision=model.info.revision, dtype=str(weight.dtype).removeprefix("torch."), layer=layer, tokens="all", pooling="token",
        norm=1.0, n_positive=None, n_negative=None, data=sha256_file(path), details={"file": path.name},
    )  # fmt: skip
    found = {c: normalised(row.double().numpy(), _named(card, c)) for c, row in zip(ids, weight, strict=True)}
    for vector in found.values():
        require_width(vector, model)
    return found


def _named(card: VectorCard, concept: str) -> VectorCard:
    from dataclasses import replace

    return replace(card, concept=concept)


def _read(path: Path) -> torch.Tensor:
    if not path.is_file():
        raise MissingError(f"there is no file {path}. AxBench writes its vectors to <Method>_weight.pt.")
    try:
        weight = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise StoreError(
            f"{path} is not a file of tensors ({str(error).splitlines()[0]}). Nothing else is read from it."
        ) from error
    if not isinstance(weight, torch.Tensor) or weight.ndim != 2:
        raise StoreError(f"{path} holds no matrix of vectors. Take <Method>_weight.pt of AxBench.")
    return weight
