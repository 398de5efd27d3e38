"""The activation store: residual-stream vectors on disk, safe to read years later.

A store is one folder for one frozen plan:

    plan.json              what was asked: model and tokenizer hashes, layers, position, dtype, batches, shards
    rows.parquet           one line per statement, in dataset order, with the index of its token sequence
    sequences.parquet      the distinct token sequences and the probed token indices
    shards/00000.safetensors   one tensor `layer.07` [sequence, position, d_model] per layer, and `sequence` (which ones)
    shards/00000.json      checksum of the shard and the machine that made it; a shard without it is unfinished
    index.json             written last, when every sequence is present exactly once

Nothing here needs torch: bfloat16 is read as the upper half of float32.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, runtime_checkable

import numpy as np

from probeshift.arrays import Activations, AnswerTypes, Groups, Labels, Targets
from probeshift.errors import StoreError, nearest
from probeshift.provenance import cannot_write, discard, environment, publish, settle, sha256_file, sha256_json

if TYPE_CHECKING:
    import pandas as pd

FORMAT_VERSION = 1


@runtime_checkable
class LabelledActivations(Protocol):
    """Rows with a label each and activations at several layers and positions: a store, or a file of another kind.

    `identity` names the content, `space` what must be equal before a probe is carried over, `dtype` what the model computed in,
    `groups` the question of each row and `texts` the questions themselves (None where they are not known).
    """

    @property
    def name(self) -> str: ...
    @property
    def identity(self) -> str: ...
    @property
    def space(self) -> dict[str, Any]: ...
    @property
    def dtype(self) -> str: ...
    @property
    def layers(self) -> tuple[int, ...]: ...
    @property
    def positions(self) -> tuple[str, ...]: ...
    @property
    def targets(self) -> Targets: ...
    @property
    def groups(self) -> Groups | None: ...
    @property
    def texts(self) -> list[str] | None: ...
    def read(self, layer: int, position: str) -> Activations: ...


ITEM_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_TAG_OF = {"float32": "F32", "bfloat16": "BF16", "float16": "F16", "int64": "I64"}
_TAGS: dict[str, np.dtype[Any]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "I64": np.dtype("<i8"),
}


def tensor_name(layer: int) -> str:
    """The name of a layer's tensor inside a shard; layer -1 is the input of the first block."""
    return "layer.embeddings" if layer == -1 else f"layer.{layer:02d}"


def shard_paths(folder: Path, shard: int) -> tuple[Path, Path]:
    """A shard's tensor file and its sidecar with the checksum."""
    return folder / "shards" / f"{shard:05d}.safetensors", folder / "shards" / f"{shard:05d}.json"


def write_shard(
    folder: Path,
    shard: int,
    layers: dict[int, np.ndarray],
    sequences: np.ndarray,
    *,
    dtype: str,
    record: dict[str, Any],
) -> None:
    """Publish one finished shard: the tensor file first, then the sidecar that makes it count.

    `layers` maps a layer to raw values [sequence, position, d_model] (bfloat16 as uint16 bits); `record` says where it ran.

    Raises:
        StoreError: the disk is full or the folder cannot be written.
    """
    path, sidecar = shard_paths(folder, shard)
    tensors = {tensor_name(layer): (dtype, values) for layer, values in sorted(layers.items())}
    tensors["sequence"] = ("int64", np.ascontiguousarray(sequences, dtype="<i8"))
    metadata = {"probeshift": json.dumps({"format_version": FORMAT_VERSION, "shard": shard})}
    temporary = path.with_name(f".{shard:05d}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            _write_safetensors(file, tensors, metadata)
            file.flush()
            os.fsync(file.fileno())
        checksum, size = sha256_file(temporary), temporary.stat().st_size
        settle(temporary, path)
    except OSError as error:
        discard(temporary)
        raise cannot_write(path, error) from error
    publish(sidecar, json.dumps({"sha256": checksum, "bytes": size, "sequences": len(sequences), **record}, indent=1))


def _write_safetensors(file: BinaryIO, tensors: dict[str, tuple[str, np.ndarray]], metadata: dict[str, str]) -> None:
    """The safetensors layout: header length, JSON header, raw values.

    Written here because the library's numpy side has no bfloat16, and because equal shards must be equal bytes: the header's
    order is fixed, which the library does not promise.
    """
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name, (dtype, values) in tensors.items():
        start, end = end, end + values.nbytes
        header[name] = {"dtype": _TAG_OF[dtype], "shape": list(values.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # values start aligned, so that they can be mapped
    file.write(len(text).to_bytes(8, "little") + text)
    for _, values in tensors.values():
        file.write(np.ascontiguousarray(values).data)


def shard_state(folder: Path, shard: int) -> str:
    """`done`, `missing`, or `damaged` (present, but not the bytes that were published)."""
    path, sidecar = shard_paths(folder, shard)
    if not path.exists() or not sidecar.exists():
        return "missing"
    try:
        record = json.loads(sidecar.read_text())
        intact = path.stat().st_size == record["bytes"] and sha256_file(path) == record["sha256"]
    except (ValueError, KeyError):
        intact = False
    return "done" if intact else "damaged"


def finish(folder: Path, n_shards: int, n_sequences: int) -> None:
    """Audit a complete store and write its index: every sequence exactly once, every shard with its checksum.

    Raises:
        StoreError: a sequence is missing or present twice.
    """
    seen = np.zeros(n_sequences, dtype=np.int64)
    shards = []
    for shard in range(n_shards):
        path, sidecar = shard_paths(folder, shard)
        np.add.at(seen, read_tensor(path, "sequence"), 1)
        record = json.loads(sidecar.read_text())
        shards.append(
            {"file": path.name, "sha256": record["sha256"], "bytes": record["bytes"], "sequences": record["sequences"]}
        )
    if not (seen == 1).all():
        raise StoreError(
            f"{folder}: {int((seen != 1).sum())} of {n_sequences} sequences are not stored exactly once. Delete the folder and run again."
        )
    publish(
        folder / "index.json",
        json.dumps({"format_version": FORMAT_VERSION, "shards": shards, "made": environment()}, indent=1),
    )


def read_tensor(path: Path, name: str) -> np.ndarray:
    """One tensor of a safetensors file as a read-only memory map; bfloat16 as its uint16 bits.

    Raises:
        StoreError: the file is not readable or holds no such tensor.
    """
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        entry = header[name]
        start = 8 + length + entry["data_offsets"][0]
        return np.memmap(path, _TAGS[entry["dtype"]], mode="r", offset=start, shape=tuple(entry["shape"]))
    except (OSError, ValueError, KeyError) as error:
        raise StoreError(
            f"{path} holds no readable tensor `{name}` ({error}). Run the same extraction again: it repairs the shard."
        ) from error


def to_float32(values: np.ndarray) -> np.ndarray:
    """Stored values as float32; exact for every stored dtype."""
    if values.dtype == np.dtype("<u2"):
        return (values.astype(np.uint32) << 16).view(np.float32)
    return np.asarray(values, dtype=np.float32)


@dataclass(frozen=True)
class ActivationStore:
    """A finished store, opened for reading. Arrays come back in dataset order, one row per statement."""

    folder: Path

    @classmethod
    def open(cls, folder: Path) -> ActivationStore:
        """Open a finished store.

        Raises:
            StoreError: the folder holds no finished store, or one written by another version of the format.
        """
        if not (folder / "index.json").exists():
            raise StoreError(
                f"{folder} holds no finished activation store. Run the extraction command again: it continues where it stopped."
            )
        store = cls(folder)
        if store.plan["format_version"] != FORMAT_VERSION:
            raise StoreError(
                f"{folder} has store format {store.plan['format_version']}, this version reads {FORMAT_VERSION}. Extract again."
            )
        return store

    @cached_property
    def plan(self) -> dict[str, Any]:
        return json.loads((self.folder / "plan.json").read_text())

    @cached_property
    def rows(self) -> pd.DataFrame:
        """One line per statement: dataset, row_id, text, label, split, group, answer_type, entity, n_tokens, truncated, sequence."""
        import pandas as pd

        return pd.read_parquet(self.folder / "rows.parquet")

    @property
    def name(self) -> str:
        """The dataset the rows are of."""
        return str(self.rows["dataset"].iloc[0])

    @property
    def texts(self) -> list[str]:
        return self.rows["text"].tolist()

    @property
    def identity(self) -> str:
        """Names the content: another one whenever a number in it may differ."""
        return str(self.plan["plan_id"])

    @property
    def space(self) -> dict[str, Any]:
        """What must be equal for a probe fitted on one store to mean anything on another."""
        return {
            **{name: self.plan[name] for name in ("model", "weights", "d_model")},
            "prompts": self.plan.get("prompts"),
        }

    @property
    def dtype(self) -> str:
        return str(self.plan["dtype"])

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(self.plan["layers"])

    @property
    def positions(self) -> tuple[str, ...]:
        return tuple(self.plan["positions"])

    @property
    def labels(self) -> Labels:
        """Which rows are true.

        Raises:
            StoreError: the labels are numbers.
        """
        if self.rows["label"].dtype != bool:
            raise StoreError(f"the labels in {self.folder} are numbers, not truth values. Use `targets`.")
        return self.rows["label"].to_numpy()

    @property
    def targets(self) -> Targets:
        """The labels as numbers; 1 is true."""
        return self.rows["label"].to_numpy(dtype=np.float64)

    @property
    def groups(self) -> Groups | None:
        """Dense question indices, or None when the dataset has no questions."""
        return _codes(self.rows["group"])

    @property
    def answer_types(self) -> AnswerTypes | None:
        return _codes(self.rows["answer_type"])

    def read(self, layer: int, position: str = "last") -> Activations:
        """The residual stream after block `layer` at `position`, float32.

        Raises:
            StoreError: the layer or position was not stored.
        """
        if layer not in self.layers:
            stored = ", ".join(map(str, self.layers))
            raise StoreError(
                f"layer {layer} is not in {self.folder.name} (stored: {stored}). Extract again with --layers naming it."
            )
        if position not in self.positions:
            raise StoreError(f"position `{position}` is not stored. {nearest(position, self.positions)}")
        column = self.positions.index(position)
        sequences = np.empty((self.plan["n_sequences"], self.plan["d_model"]), dtype=np.float32)
        for shard in range(self.plan["n_shards"]):
            path, _ = shard_paths(self.folder, shard)
            sequences[read_tensor(path, "sequence")] = to_float32(read_tensor(path, tensor_name(layer))[:, column])
        return sequences[self.rows["sequence"].to_numpy()]


def _codes(column: pd.Series) -> np.ndarray | None:
    """Dense integer codes in order of first appearance, or None when any row has no value."""
    if column.isna().any():
        return None
    return column.factorize()[0].astype(np.int64)


@dataclass(frozen=True)
class Part:
    """Some rows of a whole, under a name of their own; `chosen` says which."""

    whole: LabelledActivations
    name: str
    chosen: np.ndarray

    @property
    def identity(self) -> str:
        return sha256_json([self.whole.identity, np.flatnonzero(self.chosen).tolist()])

    @property
    def space(self) -> dict[str, Any]:
        return self.whole.space

    @property
    def dtype(self) -> str:
        return self.whole.dtype

    @property
    def layers(self) -> tuple[int, ...]:
        return self.whole.layers

    @property
    def positions(self) -> tuple[str, ...]:
        return self.whole.positions

    @property
    def targets(self) -> Targets:
        return self.whole.targets[self.chosen]

    @property
    def groups(self) -> Groups | None:
        return None if self.whole.groups is None else self.whole.groups[self.chosen]

    @property
    def texts(self) -> list[str] | None:
        texts = self.whole.texts
        return None if texts is None else [text for text, kept in zip(texts, self.chosen, strict=True) if kept]

    def read(self, layer: int, position: str) -> Activations:
        """Activations [example, d_model] of these rows."""
        return self.whole.read(layer, position)[self.chosen]
