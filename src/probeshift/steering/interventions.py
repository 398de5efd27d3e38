"""What is done to the residual stream of a row, and the context manager that does it while the model runs.

With v the unit vector, a its maximal activation and s the strength, a hidden state h becomes

    add     h + s a v                 s = 0 leaves the model as it is, bit for bit
    ablate  h - s (h.v) v             s = 1 takes the direction out
    clamp   h + (s a - h.v) v         the projection is s a; s = 0 takes the direction out

All three are h + (shift + slope h.v) v, so rows with different ones run in one batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from probeshift.errors import UsageError, nearest
from probeshift.models import LanguageModel, edit_residuals, given_cache
from probeshift.steering.vectors import SteeringVector, require_width

OPERATORS = ("add", "ablate", "clamp")
# Where: at every token, at those of the prompt (its last token included), or at those that were generated.
POSITIONS = ("all", "prompt", "generated")


def require_known(what: str, name: str, choices: tuple[str, ...]) -> None:
    """Refuse a name that is not among the choices.

    Raises:
        UsageError: the nearest choices are given.
    """
    if name not in choices:
        raise UsageError(f"{what} `{name}` is unknown. {nearest(name, choices)}")


@dataclass(frozen=True)
class Intervention:
    """A vector, how strongly and in which way; `layers` are the blocks it is applied after, by default the vector's own.

    Raises:
        UsageError: an unknown operator, a strength that is not finite, or a vector without a unit of strength.
    """

    vector: SteeringVector
    strength: float
    operator: str = "add"
    layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        require_known("operator", self.operator, OPERATORS)
        if not math.isfinite(self.strength):
            raise UsageError(f"strength {self.strength} is not finite. Use a number such as 0.5 or 2.")
        if self.operator != "ablate":
            self.vector.max_activation  # noqa: B018  (raises where strength has no unit)

    @property
    def sites(self) -> tuple[int, ...]:
        return self.layers or (self.vector.layer,)

    @property
    def shift(self) -> float:
        return 0.0 if self.operator == "ablate" else self.strength * self.vector.max_activation

    @property
    def slope(self) -> float:
        return {"add": 0.0, "ablate": -self.strength, "clamp": -1.0}[self.operator]


class Steering:
    """The interventions now in force. `keep` drops rows of the batch, as generation does when texts end."""

    def __init__(self, edits: Sequence[_LayerEdit | _Where]) -> None:
        self._edits = edits

    def keep(self, rows: Tensor) -> None:
        """From now on the batch has only these of its rows."""
        for edit in self._edits:
            edit.keep(rows)


@contextmanager
def steer(
    model: LanguageModel,
    rows: Intervention | Sequence[Intervention | None],
    *,
    positions: str = "all",
    prompt_lengths: Sequence[int] | None = None,
) -> Iterator[Steering]:
    """Steer every forward pass of the model in the `with`: each row of a batch by its own intervention (None: not at all).

    A single intervention is for all rows of any batch. `prompt_lengths` (tokens of each row, without padding) is needed
    unless `positions` is "all"; which token a position is follows from the position ids, so padding and cached keys do
    not matter. Contexts add up.

    Raises:
        UsageError: a vector does not fit the model, or a batch has another number of rows.
    """
    chosen = [rows] if isinstance(rows, Intervention) else list(rows)
    for one in chosen:
        if one is not None:
            require_width(one.vector, model)
    where = _Where(model.backbone, positions, prompt_lengths, model.device)
    layers = sorted({layer for one in chosen if one is not None for layer in one.sites})
    edits = {layer: _LayerEdit(layer, chosen, model.info.d_model, where.mask) for layer in layers}
    hook = model.backbone.register_forward_pre_hook(where.see, with_kwargs=True)
    try:
        with edit_residuals(model.blocks, edits):
            yield Steering([*edits.values(), where])
    finally:
        hook.remove()


class _LayerEdit:
    """h + (shift + slope h.v) v after one block. One row of numbers stands for every row of a batch."""

    def __init__(
        self,
        layer: int,
        chosen: Sequence[Intervention | None],
        d_model: int,
        mask: Callable[[Tensor], Tensor | None],
    ) -> None:
        here = [one if one is not None and layer in one.sites else None for one in chosen]
        self.direction = torch.zeros(len(here), 1, d_model, dtype=torch.float64)
        for row, one in enumerate(here):
            if one is not None:
                self.direction[row, 0] = torch.from_numpy(one.vector.direction).double()
        self.shift = torch.tensor([0.0 if one is None else one.shift for one in here], dtype=torch.float64)
        self.slope = torch.tensor([0.0 if one is None else one.slope for one in here], dtype=torch.float64)
        self.mask = mask
        self.for_all = len(here) == 1
        self.projects = bool((self.slope != 0).any())

    def __call__(self, hidden: Tensor) -> Tensor:
        """The steered residual stream, computed in at least float32 and rounded once."""
        if not self.for_all and hidden.shape[0] != len(self.shift):
            raise UsageError(f"{len(self.shift)} rows are to be steered, but the batch has {hidden.shape[0]}.")
        exact = torch.promote_types(hidden.dtype, torch.float32)
        self._settle(hidden.device, exact)
        wide = hidden.to(exact)
        amount = self.shift[:, None, None]
        if self.projects:
            amount = amount + self.slope[:, None, None] * (wide * self.direction).sum(-1, keepdim=True)
        mask = self.mask(hidden)
        if mask is not None:
            amount = amount * mask[:, :, None]
        return torch.where(amount == 0, hidden, (wide + amount * self.direction).to(hidden.dtype))

    def _settle(self, device: torch.device, dtype: torch.dtype) -> None:
        """Numbers beside the hidden states; moved at the first pass only."""
        if (self.shift.device, self.shift.dtype) != (device, dtype):
            self.direction, self.shift, self.slope = (
                values.to(device, dtype) for values in (self.direction, self.shift, self.slope)
            )

    def keep(self, rows: Tensor) -> None:
        if not self.for_all:
            here = rows.to(self.shift.device)
            self.direction, self.shift, self.slope = (
                values[here] for values in (self.direction, self.shift, self.slope)
            )


class _Where:
    """Which tokens of a pass are steered, told by their position in the row's own text."""

    def __init__(
        self, backbone: nn.Module, positions: str, prompt_lengths: Sequence[int] | None, device: torch.device
    ) -> None:
        require_known("positions", positions, POSITIONS)
        if positions != "all" and prompt_lengths is None:
            raise UsageError(f"positions `{positions}` asked, but not how long the prompts are. Give prompt_lengths.")
        self.positions = positions
        self.lengths = None if prompt_lengths is None else torch.tensor(list(prompt_lengths), device=device)
        self.now: Tensor | None = None

    def see(self, _module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        """Before a forward pass: the position ids [row, token] of its tokens."""
        self.now = None if self.positions == "all" else _position_ids(args, kwargs)

    def mask(self, hidden: Tensor) -> Tensor | None:
        """True at steered tokens [row, token]; None where all are."""
        if self.now is None or self.lengths is None:
            return None
        in_prompt = self.now < self.lengths[:, None]
        return (in_prompt if self.positions == "prompt" else ~in_prompt).to(hidden.device)

    def keep(self, rows: Tensor) -> None:
        if self.lengths is not None:
            self.lengths = self.lengths[rows.to(self.lengths.device)]


def _position_ids(args: tuple, kwargs: dict[str, Any]) -> Tensor:
    """As given; else counted by the attention mask; else counted on from what is cached."""
    ids = kwargs.get("input_ids", args[0] if args else None)
    inputs = ids if ids is not None else kwargs["inputs_embeds"]
    n_rows, n_tokens = inputs.shape[:2]
    given, mask = kwargs.get("position_ids"), kwargs.get("attention_mask")
    if given is not None:
        return given.expand(n_rows, -1)
    if isinstance(mask, Tensor) and mask.ndim == 2:
        return (mask.long().cumsum(1) - 1)[:, -n_tokens:]
    cache = given_cache(kwargs)
    start = 0 if cache is None else cache.get_seq_length()
    return torch.arange(start, start + n_tokens, device=inputs.device).expand(n_rows, -1)
