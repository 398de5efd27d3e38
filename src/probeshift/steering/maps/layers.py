"""Which layer of the target a layer of the source goes to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from probeshift.errors import UsageError, nearest
from probeshift.steering.maps.alignment import Alignment
from probeshift.steering.maps.evidence import gather
from probeshift.steering.maps.linear import solve_linear
from probeshift.steering.maps.moments import linear_cka, r_squared

SWEEPS = ("cka", "r2")


@dataclass(frozen=True)
class LayerSweep:
    """How well each target layer goes with a source layer: held-out explained variance, or kernel alignment."""

    measure: str
    source_layer: int
    scores: dict[int, float]

    @property
    def best(self) -> int:
        """The layer with the highest score; of equals the first."""
        return max(self.scores, key=lambda layer: (self.scores[layer], -layer))


def relative_layer(source_layer: int, n_source: int, n_target: int) -> int:
    """The target layer at the same relative depth: round(l (L_target - 1) / (L_source - 1)).

    Raises:
        UsageError: the source has no such layer.
    """
    if not 0 <= source_layer < n_source:
        raise UsageError(f"layer {source_layer} asked; the source has layers 0 to {n_source - 1}.")
    return round(source_layer * (n_target - 1) / max(1, n_source - 1))


def sweep_layers(
    alignment: Alignment,
    source_layer: int,
    target_layers: Sequence[int],
    measure: str = "r2",
    on_progress: Callable[[int, int], None] | None = None,
) -> LayerSweep:
    """Scores of the target layers in one pass over the texts, on held-out pairs.

    Raises:
        UsageError: an unknown measure.
    """
    if measure not in SWEEPS:
        raise UsageError(f"layer sweep `{measure}` is unknown. {nearest(measure, SWEEPS)}")
    found = gather(alignment, source_layer, target_layers, on_progress=on_progress)
    if measure == "cka":
        scores = {layer: linear_cka(evidence.heldout) for layer, evidence in found.items()}
    else:
        scores = {l: r_squared(solve_linear(e, 0).weight, e.train, e.heldout) for l, e in found.items()}  # noqa: E741
    return LayerSweep(measure, source_layer, scores)
