"""AxBench weights: `<Method>_weight.pt` [concept, d_model] and `<Method>_bias.pt` [concept], with `metadata.jsonl` for the concepts.

All rows of a file are of one layer, which it does not say. The weights are `activation . weight + bias`, as ours.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from probeshift.datasets.reading import read_rows
from probeshift.errors import UsageError
from probeshift.exchange.cards import parsed
from probeshift.exchange.formats import Format, Found, Target, no_biases
from probeshift.exchange.tensors import load_tensors, save_tensors
from probeshift.provenance import publish
from probeshift.results import ProbeFile

_WEIGHT = "_weight.pt"


def write_axbench(probes: ProbeFile, target: Target) -> None:
    """`path` is the weight file; bias, metadata and card go beside it."""
    if not target.path.name.endswith(_WEIGHT):
        raise UsageError(f"--output {target.path.name} must end in {_WEIGHT}, as in DiffMean{_WEIGHT}.")
    save_tensors(target.path, torch.from_numpy(probes.directions.copy()))
    save_tensors(_beside(target.path, "_bias.pt"), torch.from_numpy(probes.biases.astype(np.float32)))
    publish(_beside(target.path, "_card.json"), target.card)
    concept = {"concept_id": 0, "concept": probes.card.train, "ref": probes.card.model}
    publish(target.path.parent / "metadata.jsonl", json.dumps(concept, ensure_ascii=False) + "\n")


def read_axbench(path: Path) -> list[Found]:
    """One probe per row, called by its concept where `metadata.jsonl` tells them.

    Raises:
        UsageError: not a matrix of weights.
    """
    weights = load_tensors(path)
    if not isinstance(weights, torch.Tensor) or weights.ndim != 2:
        raise UsageError(f"{path} holds no matrix [concept, d_model], so it is no weight file of AxBench.")
    values, bias_file = weights.to(torch.float32).numpy(), _beside(path, "_bias.pt")
    biases = (
        load_tensors(bias_file).to(torch.float64).flatten().numpy() if bias_file.is_file() else no_biases(len(values))
    )
    if len(biases) != len(values):
        raise UsageError(
            f"{bias_file} has {len(biases)} entries, {path.name} {len(values)} rows. They belong to different runs."
        )
    names, method = _concepts(path, len(values)), path.name.removesuffix(_WEIGHT).lower()
    if (card := _card(path)) is not None and len(values) == 1:
        layer = card["layers"][0]["layer"]
        return [Found(names[0], (layer,), values, no_biases(1), card)]  # the card's bias is the exact one
    return [
        Found(name, (None,), values[i : i + 1], biases[i : i + 1], told={"method": method, "train": name})
        for i, name in enumerate(names)
    ]


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name.removesuffix(_WEIGHT) + end)


def _card(path: Path) -> Mapping[str, Any] | None:
    file = _beside(path, "_card.json")
    return parsed(file.read_text(encoding="utf-8")) if file.is_file() else None


def _concepts(path: Path, n: int) -> list[str]:
    """Names by concept id; numbers where the metadata has another number of concepts, since rows would be joined by guess."""
    file = path.parent / "metadata.jsonl"
    told = (
        {int(row["concept_id"]): str(row["concept"]) for row in read_rows(file) if "concept" in row}
        if file.is_file()
        else {}
    )
    numbers = [f"concept-{i}" for i in range(n)]
    return [f"{i}-{_safe(told[i])}" for i in range(n)] if sorted(told) == list(range(n)) else numbers


def _safe(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text)[:60].strip("-").lower()


AXBENCH = Format("axbench", _WEIGHT, "weights of AxBench", write_axbench, read_axbench, one_layer=True)
