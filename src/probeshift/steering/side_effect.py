"""The strength at which a vector moves a model's predictions by a given amount: vectors compared at equal side effect."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from probeshift.errors import UsageError
from probeshift.models import LanguageModel
from probeshift.steering.forward import TokenIds
from probeshift.steering.interventions import Intervention
from probeshift.steering.likelihood import kl_from_unsteered
from probeshift.steering.vectors import SteeringVector

_FIRST, _DOUBLINGS, _HALVINGS = 1 / 64, 14, 20


@dataclass(frozen=True)
class Calibration:
    """`strength` moves the predictions by `kl` nats a token; None, with the reason, where no strength reached the target."""

    strength: float | None
    kl: float
    reason: str | None = None
    tried: dict[float, float] = field(default_factory=dict)


def strength_at_kl(
    model: LanguageModel,
    vector: SteeringVector,
    sequences: Sequence[TokenIds],
    prompt_lengths: Sequence[int],
    *,
    target: float = 1.0,
    operator: str = "add",
    positions: str = "all",
    tolerance: float = 0.02,
) -> Calibration:
    """The smallest strength found whose mean KL(steered || unsteered) over the texts is within `tolerance` of `target`.

    `sequences` are selection prompts with continuations the unsteered model wrote, so that every vector is measured on the
    same tokens. Strengths are doubled until the target is passed, then halved in between.

    Raises:
        UsageError: no text has a continuation.
    """
    if not any(len(ids) > length for ids, length in zip(sequences, prompt_lengths, strict=True)):
        raise UsageError("a side effect is measured on continuations, and no text has one. Generate some tokens first.")
    tried: dict[float, float] = {}

    def measured(strength: float) -> float:
        rows = [Intervention(vector, strength, operator)] * len(sequences)
        found = kl_from_unsteered(model, sequences, prompt_lengths, rows, positions=positions)
        tried[strength] = float(np.mean([kl for kl in found if kl is not None]))
        return tried[strength]

    low, high = 0.0, _FIRST
    while measured(high) < target:
        low, high = high, 2 * high
        if len(tried) > _DOUBLINGS:
            return Calibration(None, tried[low], f"KL stays below {target:g} up to strength {low:g}", tried)
    best = high
    for _ in range(_HALVINGS):
        if abs(tried[best] / target - 1) <= tolerance:
            return Calibration(best, tried[best], None, tried)
        best = (low + high) / 2
        low, high = (best, high) if measured(best) < target else (low, best)
    return Calibration(None, tried[best], f"KL jumps past {target:g} near strength {best:g}", tried)
