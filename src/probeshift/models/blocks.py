"""Where the blocks are: found by structure, so a new family needs no line here. `parity` proves it on real text."""

from __future__ import annotations

from torch import nn

from probeshift.errors import UsageError


def find_backbone(module: nn.Module) -> nn.Module:
    """What to call for hidden states only: the text decoder of a wrapper, a model without its language-model head."""
    decoder = module.get_decoder() if hasattr(module, "get_decoder") else None  # type: ignore[operator]
    if decoder is not None and decoder is not module:
        return decoder
    return getattr(module, "base_model", module)


def find_blocks(module: nn.Module) -> list[nn.Module]:
    """The blocks in order: the `ModuleList` with the most parameters inside the backbone.

    Raises:
        UsageError: no list holds as many modules as the config has layers (ALBERT's share one).
    """
    backbone = find_backbone(module)
    lists = [part for part in backbone.modules() if isinstance(part, nn.ModuleList) and len(part)]
    n_layers = module.config.get_text_config(decoder=True).num_hidden_layers  # type: ignore[union-attr, operator]
    family = type(module).__name__
    if not lists:
        raise UsageError(f"{family} has no list of blocks, so its residual stream cannot be read layer by layer.")
    sizes = [sum(weight.numel() for weight in part.parameters()) for part in lists]
    blocks = list(lists[sizes.index(max(sizes))])
    if len(blocks) != n_layers or len(set(map(id, blocks))) != n_layers:
        raise UsageError(
            f"{family} says it has {n_layers} layers, but {len(set(map(id, blocks)))} separate blocks were found. "
            "Models whose layers share one block (ALBERT, Zamba) are not supported."
        )
    return blocks
