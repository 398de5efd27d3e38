"""A copy of a model in a rotated basis: it says the same, and the right map to it is known.

With R orthogonal, every activation h of the residual stream becomes h R. That holds when what writes into the stream is
multiplied by R, what reads from it undoes R, and the weights of the norms, which are tied to the old axes, have first been
folded into what reads behind them. An RMS norm without weights does not notice a rotation.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probeshift.errors import UsageError
from probeshift.models.language_model import LanguageModel

# norm -> what reads behind it, inside a block; and what writes into the stream
_READS: dict[str, tuple[str, ...]] = {
    "input_layernorm": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "post_attention_layernorm": ("mlp.gate_proj", "mlp.up_proj"),
}
_ROWS = 4096
_WRITES = ("self_attn.o_proj", "mlp.down_proj")


def random_rotation(d_model: int, seed: int = 0) -> np.ndarray:
    """An orthogonal matrix [d_model, d_model] in float64, uniform over all of them."""
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(d_model, d_model)))
    return q * np.sign(np.diag(r))


def save_rotated(model: LanguageModel, folder: Path, rotation: np.ndarray, *, keep: bool = True) -> Path:
    """Write the model in the basis of `rotation` as a checkpoint, tokenizer included; returns the folder.

    Computed in float64, written in float32. With `keep` False the given model itself is turned, which spares a second one in
    memory. Llama, Mistral, Qwen 2 and 3 and models built alike.

    Raises:
        UsageError: the model is built in another way, or the rotation is not one of its width.
    """
    _check(model, rotation)
    module: Any = (copy.deepcopy(model.module) if keep else model.module).float()
    module.config.tie_word_embeddings = False
    backbone, head, embeddings = module.get_decoder(), module.get_output_embeddings(), module.get_input_embeddings()
    head.weight = nn.Parameter(head.weight.detach().clone())  # no longer the same weights as the embeddings
    turn = torch.from_numpy(rotation).to(head.weight.device)
    with torch.no_grad():
        _turn_rows(embeddings.weight, turn)
        _read(head, _fold(backbone.norm), turn)
        for block in backbone.layers:
            for norm, readers in _READS.items():
                scale = _fold(block.get_submodule(norm))
                for reader in readers:
                    _read(block.get_submodule(reader), scale, turn)
            for writer in _WRITES:
                _write(block.get_submodule(writer), turn)
    module.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return Path(folder)


def _fold(norm: Any) -> Tensor:
    """The norm's weights, which are set to one."""
    scale = norm.weight.double().clone()
    norm.weight.fill_(1)
    return scale


def _read(layer: Any, scale: Tensor, turn: Tensor) -> None:
    _turn_rows(layer.weight, scale[:, None] * turn)


def _turn_rows(weight: Tensor, turn: Tensor) -> None:
    """In place, some rows at a time: the whole in float64 would be twice the model."""
    for rows in weight.split(_ROWS):
        rows.copy_(rows.double() @ turn)


def _write(layer: Any, turn: Tensor) -> None:
    layer.weight.copy_(turn.T @ layer.weight.double())
    if layer.bias is not None:
        layer.bias.copy_(layer.bias.double() @ turn)


def _check(model: LanguageModel, rotation: np.ndarray) -> None:
    d = model.info.d_model
    if rotation.shape != (d, d) or not np.allclose(rotation @ rotation.T, np.eye(d), atol=1e-8):
        raise UsageError(f"the rotation must be an orthogonal matrix of {d} x {d}, the width of `{model.info.name}`.")
    names = {name for name, _ in model.blocks[0].named_modules()}
    norms = [name for name, part in model.blocks[0].named_modules() if type(part).__name__.endswith("RMSNorm")]
    outer = {name for name in norms if "self_attn" not in name}  # norms of single heads do not see the stream
    needed = {*_READS, *_WRITES, *(reader for readers in _READS.values() for reader in readers)}
    if not needed <= names or outer != set(_READS) or model.info.model_type.startswith("gemma"):
        raise UsageError(
            f"`{model.info.name}` ({model.info.model_type}) is not built like Llama; it cannot be rotated."
        )
