"""GGUF control vectors, as repeng writes and llama.cpp reads them: architecture `controlvector`, float32 tensors `direction.<layer>`.

`direction.<l>` is added to the output of block l, 0-based: repeng wraps block l, and llama.cpp keeps the tensors of layers 1
onwards and adds the l-th behind block l. Block 0 has no place in the format. The bias is not part of it; our card, in the key
`probeshift.card`, keeps it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from probeshift.errors import UsageError
from probeshift.exchange.cards import parsed
from probeshift.exchange.formats import Format, Found, Target, no_biases
from probeshift.provenance import cannot_write, discard, settle
from probeshift.results import ProbeFile

_CARD = "probeshift.card"


def write_gguf(probes: ProbeFile, target: Target) -> None:
    """One tensor per layer, and the card."""
    from gguf import GGUFWriter

    temporary = target.path.with_name(f".{target.path.name}.{os.getpid()}.tmp")
    try:
        target.path.parent.mkdir(parents=True, exist_ok=True)
        writer = GGUFWriter(temporary, "controlvector")
        writer.add_string("controlvector.model_hint", target.model_hint or probes.card.model)
        writer.add_uint32("controlvector.layer_count", len(probes.card.layers))
        writer.add_string(_CARD, target.card)
        for layer, direction in zip(probes.card.layers, probes.directions, strict=True):
            writer.add_tensor(f"direction.{layer}", np.ascontiguousarray(direction, dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        settle(temporary, target.path)
    except OSError as error:
        discard(temporary)
        raise cannot_write(target.path, error) from error


def read_gguf(path: Path) -> list[Found]:
    """The directions of a control vector, shallowest first.

    Raises:
        UsageError: not a GGUF file, or one without directions.
    """
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
    except (ValueError, OSError) as error:
        raise UsageError(
            f"{path} is not a GGUF file ({error}). Name a control vector of repeng or llama.cpp."
        ) from error
    tensors = {
        int(t.name.removeprefix("direction.")): t.data for t in reader.tensors if t.name.startswith("direction.")
    }
    if not tensors:
        raise UsageError(f"{path} holds no tensor `direction.<layer>`: it is no control vector.")
    layers = tuple(sorted(tensors))
    directions = np.stack([np.asarray(tensors[layer], dtype=np.float32) for layer in layers])
    told = {"model": _text(reader, "controlvector.model_hint")}
    return [Found(path.stem, layers, directions, no_biases(len(layers)), parsed(_text(reader, _CARD)), told)]


def _text(reader: Any, key: str) -> str | None:
    field = reader.get_field(key)
    return None if field is None else bytes(field.parts[field.data[0]]).decode("utf-8")


GGUF = Format(
    "gguf", ".gguf", "control vector of repeng and llama.cpp", write_gguf, read_gguf, blocks_from=1, needs="gguf"
)  # fmt: skip
