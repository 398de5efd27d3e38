"""Reading and changing the residual stream while the model runs. Nothing is left on the model afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from probeshift.errors import UsageError


class StopForward(Exception):
    """Raised inside the forward pass once the deepest wanted layer has been read. The caller suppresses it."""


@contextmanager
def record_residuals(
    blocks: Sequence[nn.Module], layers: Sequence[int], take: Callable[[int, Tensor], None], *, stop: bool = True
) -> Iterator[None]:
    """Call `take(layer, hidden)` for every wanted layer, shallowest first, in each forward pass in the `with`.

    `hidden` is `[batch, token, d_model]` on the device of its block; layer -1 is the input of block 0. It is the
    model's own tensor, not a copy: index it with index tensors (which copy) rather than slices (which keep it alive).
    With `stop`, blocks behind the deepest wanted layer do not run: wrap the forward pass in
    `contextlib.suppress(StopForward)`.

    Raises:
        UsageError: no layer is wanted, or one that the model does not have.
    """
    wanted = set(layers)
    outside = sorted(layer for layer in wanted if not -1 <= layer < len(blocks))
    if outside or not wanted:
        raise UsageError(f"layers {outside} asked, but this model has layers -1 (embeddings) to {len(blocks) - 1}.")
    deepest = max(wanted)

    def reached(layer: int, hidden: Tensor) -> None:
        take(layer, hidden)
        if stop and layer == deepest:
            raise StopForward

    def before_first(_module: nn.Module, args: tuple, kwargs: dict) -> None:
        reached(-1, args[0] if args else kwargs["hidden_states"])

    def after(layer: int) -> Callable[[nn.Module, tuple, Tensor | tuple], None]:
        return lambda _module, _args, output: reached(layer, block_output(output))

    hooks = []
    try:
        if -1 in wanted:
            hooks.append(blocks[0].register_forward_pre_hook(before_first, with_kwargs=True))
        hooks += [blocks[layer].register_forward_hook(after(layer)) for layer in sorted(wanted - {-1})]
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def edit_residuals(blocks: Sequence[nn.Module], edits: Mapping[int, Callable[[Tensor], Tensor]]) -> Iterator[None]:
    """Put `edits[layer](hidden)` in the place of the residual stream after block `layer`, in each forward pass in the `with`.

    `hidden` is `[batch, token, d_model]` and must not be changed in place. Contexts nest: an inner one, and
    `record_residuals` inside, meet what the outer one wrote.

    Raises:
        UsageError: a layer that the model does not have.
    """
    outside = sorted(layer for layer in edits if not 0 <= layer < len(blocks))
    if outside:
        raise UsageError(f"layers {outside} asked, but this model's blocks are layers 0 to {len(blocks) - 1}.")

    def after(edit: Callable[[Tensor], Tensor]) -> Callable[[nn.Module, tuple, Tensor | tuple], Tensor | tuple]:
        def replaced(_module: nn.Module, _args: tuple, output: Tensor | tuple) -> Tensor | tuple:
            edited = edit(block_output(output))
            return (edited, *output[1:]) if isinstance(output, tuple) else edited

        return replaced

    hooks = []
    try:
        for layer, edit in edits.items():
            hooks.append(blocks[layer].register_forward_hook(after(edit)))
        yield
    finally:
        for hook in hooks:
            hook.remove()


def is_hooked(blocks: Sequence[nn.Module]) -> bool:
    """Whether the model runs inside a `with` of this module, whose state knows one forward pass at a time."""
    hooks = (
        hook for block in blocks for kind in (block._forward_hooks, block._forward_pre_hooks) for hook in kind.values()
    )
    return any(hook.__module__ == __name__ for hook in hooks)


def block_output(output: Tensor | tuple) -> Tensor:
    """The residual stream in what a block returned: the tensor itself, or the first of a tuple."""
    return output[0] if isinstance(output, tuple) else output
