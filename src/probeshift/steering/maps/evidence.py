"""What a map may be fitted on: sums over training pairs and over held-out pairs, and a bounded sample of pairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from probeshift.steering.maps.alignment import Alignment
from probeshift.steering.maps.moments import Moments


@dataclass(frozen=True)
class Pairs:
    """Paired activations kept in memory: [pair, d_source] and [pair, d_target] in float32."""

    x: Tensor
    y: Tensor


@dataclass(frozen=True)
class Evidence:
    """Paired activations of one source and one target layer. `sample` holds training pairs, `sample_heldout` others."""

    train: Moments
    heldout: Moments
    sample: Pairs
    sample_heldout: Pairs

    @property
    def shape(self) -> tuple[int, int]:
        """Widths of source and target."""
        return len(self.train.x), len(self.train.y)


def gather(
    alignment: Alignment,
    source_layer: int,
    target_layers: Sequence[int],
    *,
    sample_pairs: int = 0,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[int, Evidence]:
    """One pass over the texts; evidence per target layer. At most `sample_pairs` random pairs of each part are kept."""
    total = {part: alignment.n_pairs(heldout=part) for part in (False, True)}
    draw = torch.Generator().manual_seed(seed)
    # Drawn before anything is read: which pairs to keep, by their number within their part.
    keep = {part: _chosen(total[part], sample_pairs, draw) for part in (False, True)}
    layers = {
        layer: _Collected(alignment.source.info.d_model, alignment.target.info.d_model) for layer in target_layers
    }
    seen = {False: 0, True: 0}
    for batch in alignment.read([source_layer], target_layers):
        for part in (False, True):
            rows = torch.nonzero(batch.heldout == part).flatten()
            kept = keep[part][seen[part] : seen[part] + len(rows)]
            seen[part] += len(rows)
            for layer, collected in layers.items():
                collected.add(batch.source[source_layer][rows], batch.target[layer][rows], kept, part)
        if on_progress:
            on_progress(sum(seen.values()), sum(total.values()))
    return {layer: collected.evidence() for layer, collected in layers.items()}


def evidence_of(x: Tensor, y: Tensor, heldout: Tensor) -> Evidence:
    """Evidence from pairs at hand: [pair, d_source], [pair, d_target], and which are held out."""
    collected = _Collected(x.shape[1], y.shape[1])
    for part in (False, True):
        rows = heldout == part
        collected.add(x[rows], y[rows], torch.ones(int(rows.sum()), dtype=torch.bool), part)
    return collected.evidence()


def _chosen(total: int, wanted: int, draw: torch.Generator) -> Tensor:
    chosen = torch.zeros(total, dtype=torch.bool)
    chosen[torch.randperm(total, generator=draw)[:wanted]] = True
    return chosen


class _Collected:
    """Growing evidence of one target layer."""

    def __init__(self, d_source: int, d_target: int) -> None:
        self.moments = {part: Moments.empty(d_source, d_target) for part in (False, True)}
        self.kept: dict[bool, list[tuple[Tensor, Tensor]]] = {
            part: [(torch.empty(0, d_source), torch.empty(0, d_target))] for part in (False, True)
        }

    def add(self, x: Tensor, y: Tensor, kept: Tensor, part: bool) -> None:
        self.moments[part].add(x, y)
        self.kept[part].append((x[kept].float(), y[kept].float()))

    def evidence(self) -> Evidence:
        samples = [self._pairs(self.kept[part]) for part in (False, True)]
        return Evidence(self.moments[False], self.moments[True], *samples)

    def _pairs(self, parts: Iterable[tuple[Tensor, Tensor]]) -> Pairs:
        xs, ys = zip(*parts, strict=True)
        return Pairs(torch.cat(xs), torch.cat(ys))
