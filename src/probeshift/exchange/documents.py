"""The files of the studies this project began with: `probe_vectors.jsonl` and `best_probe_predictions.json`.

A line of the first is a probe at one layer (`point_name` h27: block 27, 0-based; `token_idx` -1: the last token). The second is the chosen
probe of a layer x position grid; without `best_layer_name` its `best_layer` counts into a list the file does not hold, so the layer must be
named then.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from probeshift.errors import UsageError
from probeshift.exchange.cards import parsed
from probeshift.exchange.formats import Format, Found, Target
from probeshift.layers import layer_name
from probeshift.provenance import publish
from probeshift.results import ProbeFile, vector_line

_FLOAT32_DIGITS = 9


def write_probe_vectors(probes: ProbeFile, target: Target) -> None:
    """A line per layer; the first carries the card."""
    lines = [json.loads(vector_line(probes, layer, _FLOAT32_DIGITS)) for layer in probes.card.layers]
    lines[0]["value"]["probeshift"] = json.loads(target.card)
    publish(target.path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def read_probe_vectors(path: Path) -> list[Found]:
    """One set of layers per (model, training set, method, token).

    Raises:
        UsageError: a line is no probe.
    """
    sets: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if line.strip():
            value = _value(path, number, line)
            key = tuple(value[name] for name in ("llm_id", "train_dataset", "probe_method", "token_idx"))
            sets.setdefault(key, []).append(value)
    return [_found(key, values) for key, values in sets.items()]


def _value(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)["value"]
        point = value["point_name"]
        if not (point.startswith("h") and point[1:].isdigit()):
            raise ValueError(f"point_name {point!r} is not h and a layer number")
        return {
            **value,
            "layer": int(point[1:]),
            "token_idx": value.get("token_idx", -1),
            "vector": [float(v) for v in value["vector"]],
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(
            f"{path}, line {number}: not a probe record ({what}). Expected key and value, value with vector, bias, ..."
        ) from error


def _found(key: tuple[Any, ...], values: list[dict[str, Any]]) -> Found:
    model, train, method, token = key
    ordered = sorted(values, key=lambda v: v["layer"])
    directions = np.array([v["vector"] for v in ordered], dtype=np.float32)
    biases = np.array([np.nan if v.get("bias") is None else float(v["bias"]) for v in ordered])
    card = next((parsed(v.get("probeshift")) for v in values if v.get("probeshift")), None)
    told = {"model": model, "train": train, "method": method, "position": "last" if token == -1 else str(token)}
    return Found(f"{method}-{train}", tuple(v["layer"] for v in ordered), directions, biases, card, told)


def write_best_probe(probes: ProbeFile, target: Target) -> None:
    """Direction and bias under the document's names; it holds no predictions."""
    (layer,), (direction,), (bias,) = probes.card.layers, probes.directions, probes.biases
    content = {
        "best_layer_name": layer_name(layer),
        "best_position_name": probes.card.position,
        "probe_weights": [float(f"{x:.{_FLOAT32_DIGITS}g}") for x in direction],
        "probe_bias": float(bias),
        "task_type": probes.card.task,
        "probeshift": json.loads(target.card),
    }
    publish(target.path, json.dumps(content, indent=1, ensure_ascii=False))


def read_best_probe(path: Path) -> list[Found]:
    """The chosen probe.

    Raises:
        UsageError: the file holds none.
    """
    try:
        content = json.loads(_text(path))
        direction = np.array(content["probe_weights"], dtype=np.float32).reshape(1, -1)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} holds no `probe_weights` ({error}), so it is no best_probe_predictions.json."
        ) from error
    bias, name = content.get("probe_bias"), str(content.get("best_layer_name", ""))
    layer = -1 if name == "embeddings" else int(name[1:]) if name[:1] == "h" and name[1:].isdigit() else None
    told = {"task": content.get("task_type", "classification"), "position": _position(content)}
    told["method"] = "ridge" if told["task"] == "regression" else "logistic"
    biases = np.array([np.nan if bias is None else float(np.ravel(bias)[0])])
    return [Found(path.stem, (layer,), direction, biases, parsed(content.get("probeshift")), told)]


def _position(content: dict[str, Any]) -> str:
    if "best_position_name" in content:
        return str(content["best_position_name"])
    index = content.get("best_position", -1)
    return "last" if index == -1 else str(index)


def _text(path: Path) -> str:
    if not path.is_file():
        raise UsageError(f"there is no file {path}.")
    return path.read_text(encoding="utf-8")


PROBE_VECTORS = Format(
    "probe-vectors", ".jsonl", "probe_vectors.jsonl of `crossdata extract`", write_probe_vectors, read_probe_vectors, blocks_from=0
)  # fmt: skip
BEST_PROBE = Format(
    "best-probe", ".json", "best_probe_predictions.json of `train`", write_best_probe, read_best_probe, one_layer=True
)  # fmt: skip
