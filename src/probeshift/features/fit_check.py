"""Does an encoder fit the activations it is given? Active features per token and unexplained variance, against what was stated.

An encoder on the wrong layer, model, scale or normalisation still gives numbers. They show here: far more or fewer features are
active than stated, or the reconstruction explains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from probeshift.errors import UsageError
from probeshift.features.encoder import SparseEncoder

MOST_OFF = 3.0


@dataclass(frozen=True)
class FitCheck:
    """Over `n_tokens` tokens: mean active features, the number stated (None: not), and the share of variance not explained."""

    n_tokens: int
    l0: float
    stated_l0: float | None
    unexplained: float

    def words(self) -> str:
        stated = "not stated" if self.stated_l0 is None else f"{self.stated_l0:g} stated"
        active = f"{self.l0:.1f} active features per token ({stated})"
        return f"{active}, {self.unexplained:.1%} of variance unexplained, on {self.n_tokens:,} tokens"

    @property
    def complaint(self) -> str | None:
        """What is wrong, or None."""
        if self.stated_l0 and not self.stated_l0 / MOST_OFF <= self.l0 <= self.stated_l0 * MOST_OFF:
            return f"the number of active features is more than {MOST_OFF:g} times off"
        return None if self.unexplained < 1 else "it explains none of the variance"

    def require(self, name: str, *, allow_misfit: bool) -> None:
        """Refuse the encoder of that name where it does not fit.

        Raises:
            UsageError: a misfit that is not allowed.
        """
        if self.complaint and not allow_misfit:
            raise UsageError(
                f"SAE `{name}` does not fit these activations: {self.complaint} ({self.words()}). Check model, layer (the "
                "block whose output it reads) and dtype; allow_misfit: true goes on all the same."
            )


def check_fit(encoder: SparseEncoder, states: Tensor) -> FitCheck:
    """Encode and reconstruct tokens [token, d_model] (no BOS, no padding) and compare.

    Raises:
        UsageError: another width.
    """
    if states.shape[-1] != encoder.d_model:
        raise UsageError(
            f"SAE `{encoder.name}` reads {encoder.d_model} dimensions, the activations have {states.shape[-1]}. "
            "Use the model it was trained on."
        )
    inputs = encoder.normalised(states)
    rebuilt, active = encoder.output_bias.expand_as(inputs).clone(), torch.zeros(())
    for part, acts in encoder.blocks(states):
        rebuilt += encoder.decode(acts, part)
        active = active + (acts > 0).sum()
    spread = ((inputs - inputs.mean(0)) ** 2).sum()
    unexplained = float(((inputs - rebuilt) ** 2).sum() / spread)
    return FitCheck(len(states), float(active) / len(states), encoder.l0, unexplained)
