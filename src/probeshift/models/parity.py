"""Is what the hooks read the model's own residual stream? Proved on two short texts whenever a model is loaded."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from probeshift.errors import ProbeshiftError
from probeshift.models.hooks import record_residuals
from probeshift.models.language_model import LanguageModel

TEXTS = ("The city of Paris is in France.", "Two plus three equals five, and water is wet.")

# Share of a token's largest value that may differ where something is computed twice: the final norm applied once more, or the
# same tokens before another last one. What hooks read in one pass is the very tensor the model reports, so there it is zero.
_TOLERANCE = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 2e-2}


class ParityError(ProbeshiftError):
    """The residual stream read by hooks is not the model's own: nothing read from this model could be trusted."""


@dataclass(frozen=True)
class Parity:
    """How far hooks and hidden states are apart: absolutely, and as a share of the token's largest value.

    `layers_compared` counts layer -1 (embeddings) too. `last_block` says how the last block was compared: its hidden
    state is given by transformers after the final norm; "not compared" when that norm could not be identified.
    """

    max_abs: float
    max_rel: float
    layers_compared: int
    last_block: Literal["after norm", "as is", "not compared"]
    ok: bool = True


def check_parity(model: LanguageModel) -> Parity:
    """Compare every layer read by hooks with the model's own hidden states, and prove that a causal model is causal.

    Raises:
        ParityError: they differ, or a later token changes an earlier activation of a model taken for causal.
    """
    worst_abs, worst_rel, compared, last = 0.0, 0.0, 0, "not compared"
    for ids in _inputs(model):
        read, own = residuals_and_hidden_states(model, ids)
        pairs = {layer: (read[layer], own[layer + 1]) for layer in range(-1, len(model.blocks) - 1)}
        last, end = _last_pair(model, read[len(model.blocks) - 1], own[-1])
        if end is not None:
            pairs[len(model.blocks) - 1] = end
        for layer, (ours, theirs) in pairs.items():
            gap, share = _gap(ours, theirs)
            if not share <= (_TOLERANCE.get(model.dtype, 2e-2) if layer == len(model.blocks) - 1 else 0):
                raise _mismatch(model, layer, gap, share)
            worst_abs, worst_rel = max(worst_abs, gap), max(worst_rel, share)
        compared = len(pairs)
        if model.info.causal:
            _prove_causal(model, ids, read)
    return Parity(worst_abs, worst_rel, compared, last)  # type: ignore[arg-type]


def residuals_and_hidden_states(model: LanguageModel, ids: Tensor) -> tuple[dict[int, Tensor], tuple[Tensor, ...]]:
    """One forward pass, read twice: by hooks (layer -> `[1, token, d_model]`) and as the model's `hidden_states`."""
    read: dict[int, Tensor] = {}
    layers = range(-1, len(model.blocks))
    with torch.inference_mode(), record_residuals(model.blocks, layers, read.__setitem__, stop=False):
        out = model.backbone(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True, return_dict=True)
    if len(out.hidden_states) != len(model.blocks) + 1:
        raise ParityError(
            f"`{model.info.name}` gives {len(out.hidden_states)} hidden states for {len(model.blocks)} blocks found; "
            f"{len(model.blocks) + 1} were expected. Its layers cannot be read."
        )
    return read, out.hidden_states


def _inputs(model: LanguageModel) -> Iterable[Tensor]:
    for text in TEXTS:
        yield model.tokenizer(text, return_tensors="pt").input_ids.to(model.device)


def _last_pair(model: LanguageModel, raw: Tensor, own: Tensor) -> tuple[str, tuple[Tensor, Tensor] | None]:
    """The last block's output made comparable with the last hidden state, which most families give after a norm."""
    if _gap(raw, own)[1] == 0:
        return "as is", (raw, own)
    norms = [part for part in _outside_blocks(model) if _looks_like_norm(part, model.info.d_model)]
    if not norms:
        return "not compared", None
    with torch.inference_mode():
        candidates = [norm(raw.to(_device_of(norm))) for norm in norms]
    return "after norm", (min(candidates, key=lambda candidate: _gap(candidate, own)[1]), own)


def _outside_blocks(model: LanguageModel) -> list[nn.Module]:
    inside = {id(part) for block in model.blocks for part in block.modules()}
    return [part for part in model.backbone.modules() if id(part) not in inside]


def _looks_like_norm(part: nn.Module, d_model: int) -> bool:
    """A leaf whose every parameter is one vector of the residual width (LayerNorm, RMSNorm of any family)."""
    weights = list(part.parameters())
    return bool(weights) and not list(part.children()) and all(weight.shape == (d_model,) for weight in weights)


def _device_of(part: nn.Module) -> torch.device:
    return next(part.parameters()).device


def _gap(ours: Tensor, theirs: Tensor) -> tuple[float, float]:
    """Largest absolute difference, and the largest as a share of its token's largest value; infinite for other shapes.

    By token, because a few massive activations of the first token would hide everything behind them.
    """
    if ours.shape != theirs.shape:
        return float("inf"), float("inf")
    ours, theirs = ours.float().cpu(), theirs.float().cpu()
    gaps = (ours - theirs).abs().amax(dim=-1)
    return gaps.max().item(), (gaps / theirs.abs().amax(dim=-1).clamp(min=1e-30)).max().item()


def _prove_causal(model: LanguageModel, ids: Tensor, read: dict[int, Tensor]) -> None:
    """Change the last token: nothing before it may move."""
    other = ids.clone()
    other[0, -1] = ids[0, 0] if ids[0, 0] != ids[0, -1] else ids[0, 1]
    changed, _ = residuals_and_hidden_states(model, other)
    deepest = len(model.blocks) - 1
    gap, share = _gap(changed[deepest][:, :-1], read[deepest][:, :-1])
    if not share <= _TOLERANCE.get(model.dtype, 2e-2):
        raise ParityError(
            f"`{model.info.name}` was taken for a causal model, but a later token changes earlier activations "
            f"(by {gap:.3g}): it attends in both directions without its config saying so, and cannot be read reliably."
        )


def _mismatch(model: LanguageModel, layer: int, gap: float, share: float) -> ParityError:
    where = "the embeddings (layer -1)" if layer < 0 else f"layer {layer}"
    return ParityError(
        f"`{model.info.name}` ({model.info.model_type}): at {where} the residual stream read by hooks differs from the "
        f"model's own hidden states by {gap:.3g} ({share:.2%} of the token's largest value). Its blocks were not found "
        "correctly, or its residual stream is not what the blocks return; this family is not supported."
    )
