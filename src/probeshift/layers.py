"""Layers as people write them. A layer is a 0-based block index; layer l is the residual stream after block l."""

from __future__ import annotations

from probeshift.errors import UsageError

REFERENCE_DEPTH = 0.75
EMBEDDINGS = -1


def layer_at_depth(n_layers: int, depth: float) -> int:
    """The block at a fraction of the depth: `int(n_layers * depth)`, so 36 blocks at 0.75 give 27 and 40 give 30.

    Raises:
        UsageError: `depth` is not in [0, 1].
    """
    if not 0 <= depth <= 1:
        raise UsageError(
            f"layer depth {depth} is not a fraction between 0 and 1. Use e.g. --layer-depth 0.75, or --layers for block numbers."
        )
    return min(n_layers - 1, int(round(n_layers * depth, 9)))  # rounded first: 100 * 0.29 is 28.999...


def sampled_layers(n_layers: int, skip: int) -> tuple[int, ...]:
    """Every `skip`-th layer, in the phase that contains the layer at three quarters of the depth.

    A fixed phase would miss it on half of the models: 36 blocks need odd layers for 27, 40 blocks even ones for 30.

    Raises:
        UsageError: `skip` is below 1.
    """
    if skip < 1:
        raise UsageError(f"--layer-skip must be at least 1, got {skip}.")
    return tuple(range(layer_at_depth(n_layers, REFERENCE_DEPTH) % skip, n_layers, skip))


def parse_layers(text: str, n_layers: int) -> tuple[int, ...]:
    """Layers from `all`, `0.75` (a fraction of the depth), `-1` (the last), `4,8`, `0:32:2`, or a comma list of these.

    Raises:
        UsageError: a part is not understood or lies outside the model.
    """
    found: set[int] = set()
    for part in text.replace(" ", "").split(","):
        found |= set(_parse_part(part, n_layers))
    outside = sorted(layer for layer in found if not 0 <= layer < n_layers)
    if outside or not found:
        raise UsageError(f"layers {outside or text} asked; this model has layers 0 to {n_layers - 1} (-1: the last).")
    return tuple(sorted(found))


def _parse_part(part: str, n_layers: int) -> range | tuple[int, ...]:
    try:
        if part == "all":
            return range(n_layers)
        if ":" in part:
            return range(n_layers)[slice(*(int(p) if p else None for p in part.split(":")))]
        if "." in part:
            return (layer_at_depth(n_layers, float(part)),)
        return (int(part) + (n_layers if int(part) < 0 else 0),)
    except ValueError:
        raise UsageError(f"layers `{part}` not understood. Use all, 0.75, -1, 4,8 or 0:32:2.") from None


def layer_name(layer: int) -> str:
    """How files and figures call a layer: `h7`, `embeddings` for the input of the first block; files of others may count from the end."""
    if layer < EMBEDDINGS:
        return f"hidden_states[{layer + 1}]"
    return "embeddings" if layer == EMBEDDINGS else f"h{layer}"
