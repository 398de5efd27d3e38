"""One `.pt` file with the activations of all rows: [example, layer, position, d_model], for scripts that expect one tensor.

Written from a finished store without holding it in memory; read back with `weights_only`, so nothing in it is executed. Layers are
numbered there as in a model's list of hidden states (0 the embeddings, k the output of block k - 1), except that the last one is
the output of the last block before the final norm.
"""

from __future__ import annotations

import os
import pickle
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from probeshift.activations import ActivationStore, read_tensor, shard_paths, tensor_name
from probeshift.arrays import Activations, Groups, Targets
from probeshift.errors import StoreError, UsageError, nearest
from probeshift.layers import layer_name
from probeshift.provenance import cannot_write, discard, settle, sha256_json

_NEEDED = ("activations", "labels", "layer_indices", "positions")


def write_tensor_file(store: ActivationStore, path: Path) -> None:
    """The whole store as one tensor, in the dtype it is stored in.

    The tensor is laid out in a temporary file beside `path`, shard by shard, and streamed from there: memory holds one layer of one
    shard, the disk twice the tensor for a moment.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
    """
    laid_out, finished = (path.with_name(f".{path.name}.{os.getpid()}.{end}") for end in ("raw", "tmp"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"activations": _lay_out(store, laid_out), **_beside(store)}, finished)
        settle(finished, path)
    except (OSError, RuntimeError) as error:  # torch says that a file cannot be written by a RuntimeError
        discard(finished)
        raise cannot_write(
            path, error if isinstance(error, OSError) else OSError(0, str(error).splitlines()[0])
        ) from error
    finally:
        discard(laid_out)


def _lay_out(store: ActivationStore, path: Path) -> torch.Tensor:
    rows_of = _rows_by_sequence(store)
    shape = (len(store.rows), len(store.layers), len(store.positions), store.plan["d_model"])
    dtype = getattr(torch, store.plan["dtype"])
    whole: np.memmap | None = None
    for shard in range(store.plan["n_shards"]):
        file, _ = shard_paths(store.folder, shard)
        sequences = read_tensor(file, "sequence")
        for number, layer in enumerate(store.layers):
            values = read_tensor(file, tensor_name(layer))
            if whole is None:
                whole = np.memmap(path, values.dtype, mode="w+", shape=shape)
            for sequence, of_sequence in zip(sequences, values, strict=True):
                whole[rows_of[sequence], number] = of_sequence
    assert whole is not None
    tensor = torch.from_numpy(whole)
    return tensor.view(dtype) if dtype == torch.bfloat16 else tensor


def _rows_by_sequence(store: ActivationStore) -> list[list[int]]:
    rows: list[list[int]] = [[] for _ in range(store.plan["n_sequences"])]
    for row, sequence in enumerate(store.rows["sequence"]):
        rows[sequence].append(row)
    return rows


def _beside(store: ActivationStore) -> dict[str, Any]:
    """The document's fields, and what makes a later use honest: texts, groups, names of layers and positions, provenance."""
    plan, post = store.plan, store.plan.get("prompts", {}).get("ids", ())
    return {
        "labels": torch.from_numpy(store.targets.astype(np.float32)),
        "layer_indices": [layer + 1 for layer in store.layers],
        "positions": [token_index(name) for name in store.positions],
        "n_eoi_tokens": len(post),
        "d_model": plan["d_model"],
        "model_name": plan["model"],
        "layer_names": [layer_name(layer) for layer in store.layers],
        "position_names": list(store.positions),
        "final_norm_applied": False,
        "questions": store.rows["text"].tolist(),
        "groups": None if store.rows["group"].isna().any() else store.rows["group"].tolist(),
        "dataset": str(store.rows["dataset"].iloc[0]),
        "truncated": store.rows["truncated"].tolist(),
        "provenance": {
            key: plan[key] for key in ("content_id", "weights", "config", "tokenizer", "template", "dtype", "revision")
        }
        | {"prompts": plan.get("prompts")},
    }


def token_index(position: str) -> int | str:
    """A position counted from the end of the prompt where that is what it means, else its name."""
    text = position.removeprefix("post[").removesuffix("]")
    return -1 if position == "last" else int(text) if text.lstrip("-").isdigit() else position


@dataclass(frozen=True)
class TensorFile:
    """An opened `.pt` file; read layer by layer, position by position, as a store is."""

    path: Path
    content: dict[str, Any]

    @classmethod
    def open(cls, path: Path) -> TensorFile:
        """Map the file into memory.

        Raises:
            UsageError: no such file, or not a file of activations.
            StoreError: its parts do not fit together.
        """
        if not path.is_file():
            beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            raise UsageError(f"there is no file {path}. {nearest(path.name, beside)} `probeshift extract` makes one.")
        try:
            content = torch.load(path, weights_only=True, mmap=True, map_location="cpu")
        except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
            raise UsageError(
                f"{path} is not a .pt file of tensors ({str(error).splitlines()[0]}). Extract it again."
            ) from error
        missing = [name for name in _NEEDED if not isinstance(content, dict) or name not in content]
        if missing:
            raise UsageError(
                f"{path} lacks {', '.join(missing)}: it holds no activations. `probeshift extract` writes such files."
            )
        opened = cls(path, content)
        opened._check()
        return opened

    def _check(self) -> None:
        shape = tuple(self.content["activations"].shape)
        expected = (len(self.content["labels"]), len(self.layers), len(self.positions))
        if len(shape) != 4 or shape[:3] != expected:
            raise StoreError(
                f"{self.path} holds activations of shape {shape}, but {expected[0]} labels, {expected[1]} layers and {expected[2]} "
                "positions. Extract it again."
            )

    @property
    def layers(self) -> tuple[int, ...]:
        """Block numbers, -1 for the embeddings; below that, lists of hidden states counted from their end."""
        return tuple(int(i) - 1 for i in self.content["layer_indices"])

    @property
    def positions(self) -> tuple[str, ...]:
        return tuple(self.content.get("position_names") or map(str, self.content["positions"]))

    @property
    def targets(self) -> Targets:
        return self.content["labels"].to(torch.float64).numpy()

    @property
    def groups(self) -> Groups | None:
        names = self.content.get("groups")
        return None if names is None else np.unique(names, return_inverse=True)[1].astype(np.int64)

    @property
    def texts(self) -> list[str] | None:
        """The questions, or None in files of other programs."""
        return self.content.get("questions")

    @property
    def name(self) -> str:
        return str(self.content.get("dataset", self.path.stem))

    @cached_property
    def identity(self) -> str:
        """Names the content: the store it came from, else its labels and sizes and the file's own time and size."""
        made, about = self.content.get("provenance"), self.path.stat()
        known = [made["content_id"], made["dtype"]] if made else [about.st_size, about.st_mtime_ns]
        return sha256_json([str(self.content["activations"].shape), self.layers, self.positions, known])

    @property
    def space(self) -> dict[str, Any]:
        """What must be equal for a probe fitted on one file to mean anything on another."""
        made = self.content.get("provenance", {})
        return {
            "model": self.content.get("model_name"),
            "weights": made.get("weights"),
            "d_model": int(self.content["activations"].shape[3]),
            "prompts": made.get("prompts"),
        }

    @property
    def dtype(self) -> str:
        """What the model computed in; files of other programs say only what they store."""
        stored = str(self.content["activations"].dtype).removeprefix("torch.")
        return str(self.content.get("provenance", {}).get("dtype", stored))

    def read(self, layer: int, position: str) -> Activations:
        """Activations [example, d_model] at one layer and position, float32."""
        column = self.layers.index(layer), self.positions.index(position)
        return self.content["activations"][:, column[0], column[1]].to(torch.float32).numpy()
