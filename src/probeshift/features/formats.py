"""Encoders by the format of their files, whoever made them.

    SAELens folder           cfg.json and sae_weights.safetensors: W_enc, b_enc, W_dec, b_dec, threshold
    Gemma Scope              params.npz: W_enc, b_enc, W_dec, b_dec, threshold; the average L0 is in the folder's name
    Gemma Scope 2            params.safetensors: w_enc, b_enc, w_dec, b_dec, threshold; config.json beside it

Arrays are never unpickled.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probeshift.errors import MissingError, StoreError, UsageError, nearest
from probeshift.features.encoder import KINDS, NORMALISATIONS, Kind, SparseEncoder
from probeshift.provenance import sha256_file

_ARCHITECTURES: Mapping[str, Kind] = {
    "standard": "relu", "relu": "relu", "jumprelu": "jumprelu", "jump_relu": "jumprelu", "topk": "topk", "batchtopk": "batchtopk",
    "batch_topk": "batchtopk",
}  # fmt: skip


def load_encoder(folder: Path) -> SparseEncoder:
    """The encoder in a folder.

    Raises:
        MissingError: there is no such folder.
        UsageError: the folder holds no known format, or an encoder this version cannot run exactly.
        StoreError: a damaged file.
    """
    folder = folder.parent if folder.is_file() else folder
    if not folder.exists():
        raise MissingError(
            f"SAE folder {folder} does not exist. Download the SAE there, or train one with examples/train_small_sae.py."
        )
    readers = {"sae_weights.safetensors": _saelens, "params.npz": _gemma_scope, "params.safetensors": _gemma_scope_2}
    for name, read in readers.items():
        if (folder / name).exists():
            return read(folder, folder / name)
    found = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
    raise UsageError(f"{folder} holds no SAE in a known format (found: {found}). Needed: {', '.join(readers)}.")


def _saelens(folder: Path, path: Path) -> SparseEncoder:
    about = _json(folder / "cfg.json")
    tensors = _tensors(path)
    name = str(about.get("architecture") or "standard").lower()
    if name not in _ARCHITECTURES:
        raise UsageError(f"{folder}: SAEs of architecture `{name}` are not read. {nearest(name, _ARCHITECTURES)}")
    kind, arguments = _ARCHITECTURES[name], about.get("activation_fn_kwargs") or {}
    if name == "standard" and about.get("activation_fn_str", about.get("activation_fn")) == "topk":
        kind = "topk"
    if name == "standard" and "threshold" in tensors:
        kind = "jumprelu"
    if about.get("reshape_activations", "none") != "none":
        raise UsageError(
            f"{folder}: this SAE reads reshaped attention heads, not the residual stream. Choose a resid_post SAE."
        )
    metadata = about.get("metadata") or {}
    trained = metadata.get("training_architecture_details") or {}
    return _build(
        folder, path, tensors, kind,
        k=about.get("k") or arguments.get("k"),
        subtract=bool(about.get("apply_b_dec_to_input", True)),
        normalisation=str(about.get("normalize_activations") or "none"),
        rescale=bool(about.get("rescale_acts_by_decoder_norm", False)),
        l0=about.get("l0") or metadata.get("l0") or trained.get("k"),
        layer=_layer_of(folder, str(about.get("hook_name") or metadata.get("hook_name") or "")),
    )  # fmt: skip


def _gemma_scope(folder: Path, path: Path) -> SparseEncoder:
    try:
        with np.load(path, allow_pickle=False) as data:
            tensors = {name: torch.from_numpy(data[name].astype(np.float32)) for name in data.files}
    except (ValueError, OSError) as error:
        raise StoreError(f"{path} is not a plain archive of arrays ({error}). Download it again.") from error
    stated = re.search(r"average_l0_(\d+(?:\.\d+)?)", str(folder))
    layer = re.search(r"layer_(\d+)", str(folder))
    return _build(
        folder,
        path,
        tensors,
        "jumprelu",
        l0=float(stated[1]) if stated else None,
        layer=int(layer[1]) if layer else None,
    )


def _gemma_scope_2(folder: Path, path: Path) -> SparseEncoder:
    about = _json(folder / "config.json") if (folder / "config.json").exists() else {}
    layer = re.search(r"layer_(\d+)", str(folder))
    tensors = {re.sub(r"^w_", "W_", name): values for name, values in _tensors(path).items()}
    stated = about.get("l0") or about.get("average_l0")
    return _build(folder, path, tensors, "jumprelu", l0=stated, layer=int(layer[1]) if layer else None)


def _build(
    folder: Path,
    path: Path,
    tensors: Mapping[str, Tensor],
    kind: Kind,
    *,
    k: int | None = None,
    subtract: bool = False,
    normalisation: str = "none",
    rescale: bool = False,
    l0: float | int | None = None,
    layer: int | None = None,
) -> SparseEncoder:
    """Turn what the formats fold differently into one encoder, after checking that nothing it needs is missing."""
    if kind == "batchtopk" and "threshold" in tensors:
        kind = "jumprelu"
    _check(folder, path, tensors, kind, k, normalisation)
    held = {name: values.to(torch.float32).contiguous() for name, values in tensors.items()}
    norms = held["W_dec"].norm(dim=-1) if rescale else torch.ones(())
    return SparseEncoder(
        name=folder.name,
        kind=kind,
        weights=held["W_enc"] * norms,
        biases=held["b_enc"] * norms,
        input_bias=held["b_dec"] if subtract else torch.zeros_like(held["b_dec"]),
        decoder=held["W_dec"] / norms[..., None] if rescale else held["W_dec"],
        output_bias=held["b_dec"],
        fingerprint=sha256_file(path),
        thresholds=held["threshold"].expand(held["W_enc"].shape[1]) if kind == "jumprelu" else None,
        k=None if k is None else int(k),
        normalisation=normalisation,
        l0=float(l0) if l0 else (float(k) if k else None),
        layer=layer,
    )


def _check(
    folder: Path, path: Path, tensors: Mapping[str, Tensor], kind: Kind, k: int | None, normalisation: str
) -> None:
    needed = ["W_enc", "b_enc", "W_dec", "b_dec", *(["threshold"] if kind == "jumprelu" else [])]
    missing = [name for name in needed if name not in tensors]
    if missing:
        raise UsageError(
            f"{path} has no `{missing[0]}` (found: {', '.join(sorted(tensors))}). It is no {kind} SAE of this format."
        )
    if kind in ("topk", "batchtopk") and not k:
        raise UsageError(f"{folder}: a {kind} SAE needs its `k` in cfg.json.")
    if normalisation not in NORMALISATIONS:
        raise UsageError(
            f"{folder}: inputs normalised by `{normalisation}` need a factor that is not in the file. Fold it into the weights "
            f"first. Read as they are: {', '.join(NORMALISATIONS)}."
        )


def _tensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise StoreError(f"{path} cannot be read ({error}). Download it again.") from error


def _json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path} is missing beside the weights: it says which kind of SAE they are.") from None
    except ValueError as error:
        raise StoreError(f"{path} is not valid JSON ({error}). Download it again.") from error


def _layer_of(folder: Path, hook: str) -> int | None:
    """The 0-based block whose output a hook reads: blocks.20.hook_resid_post, model.layers.20; None where no hook is named.

    Raises:
        UsageError: it reads something else, as the embeddings or an attention head.
    """
    found = re.search(r"blocks\.(\d+)\.hook_resid_post|layers\.(\d+)(?:\.output)?$", hook)
    before = re.search(r"blocks\.([1-9]\d*)\.hook_resid_pre", hook)
    if hook and not (found or before):
        raise UsageError(
            f"{folder}: this SAE reads `{hook}`, which is not the output of a block. Choose a resid_post SAE."
        )
    if before:
        return int(before[1]) - 1
    return int(found[1] or found[2]) if found else None


__all__ = ["KINDS", "load_encoder"]
