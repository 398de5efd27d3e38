"""CCS: a direction on which the two answers of a question contradict each other, found without knowing which is true.

Source: Burns et al. 2022 (arXiv 2212.03827), with the pairs, the centring and the penalty of the report "How well do truth probes
generalise?" (2024): rows centred by answer type where there are any; of each question the first true and the first false row
(u, v); p(x) = sigmoid(w.x + b); the loss is mean((p(u) + p(v) - 1)^2) + mean(min(p(u), p(v))^2) + 0.01 (|w|^2 + b^2). Needs groups;
labels choose pairs only when a question has more than two answers. Regularisation: the 0.01. Sign and threshold: from training
labels. Cost: L-BFGS on at most twice as many dimensions as there are questions.

Strict: ten restarts at once, each to its optimum, the lowest loss wins, as in the paper. Published: the report's rule, up to three
tries of one L-BFGS call of 100 steps without line search, the first with a loss of at most 0.2 wins, else the fit fails.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from probeshift.probes.frame import Frame, make_frame
from probeshift.probes.lbfgs import descend, minimise
from probeshift.probes.probe import ON_TRAINING_ROWS, Fitted, Method, TrainingSet
from probeshift.probes.rows import Rows, centre_by

PENALTY = 0.01
RESTARTS = 10
MAX_STEPS = 200
MASSIVE = 100.0  # times the usual sum of squares along an axis: axes beyond it are shortened to it in the search
MOST_MASSIVE = 16  # axes that are looked for
PUBLISHED_TRIES = 3
PUBLISHED_LOSS = 0.2
SOURCE = "arXiv 2212.03827"


def fit_ccs(training: TrainingSet, seeds: Sequence[int]) -> Fitted:
    """The best of ten restarts per layer; the layer's seed draws their starts."""
    pairs = _pairs(training)
    frame = make_frame(pairs, MASSIVE, MOST_MASSIVE)
    starts = torch.stack([_starts(pairs.shape[-1], seed) for seed in seeds]).to(pairs.source.device)
    found, losses = _search(frame, frame.enter(starts))
    losses = torch.where(torch.isfinite(losses), losses, float("inf"))
    best = found[torch.arange(len(found), device=found.device), losses.argmin(-1)]
    best = _polish(frame, best)
    lost = ~torch.isfinite(losses).any(-1)
    failures = tuple("no restart stayed finite" if layer else None for layer in lost.tolist())
    return Fitted(frame.leave(best).cpu().numpy(), None, failures)


def _search(frame: Frame, starts: Tensor) -> tuple[Tensor, Tensor]:
    """All restarts in float32: without massive axes nothing needs more, and the loss is read several times as fast."""
    rows, shortened = frame.rows.float(), frame.shortened.float()
    found, losses = minimise(
        lambda at: _loss(rows, shortened, at), starts.float(), max_steps=MAX_STEPS, small_fall=1e-6
    )
    return found.double(), losses.double()


def _polish(frame: Frame, points: Tensor) -> Tensor:
    """The best restart of each layer, brought to its optimum in float64."""
    start = points[:, None]
    found, _ = minimise(lambda at: _loss(frame.rows, frame.shortened, at), start, max_steps=MAX_STEPS, small_fall=1e-9)
    return found[:, 0]


def fit_ccs_published(training: TrainingSet, seeds: Sequence[int]) -> Fitted:
    """The first acceptable try per layer; a layer without one is a failed fit."""
    pairs = _pairs(training).values
    starts = torch.stack([_starts(pairs.shape[-1], seed)[:PUBLISHED_TRIES] for seed in seeds]).to(pairs.device)
    points, losses = starts[:, 0].clone(), starts.new_full(starts.shape[:2], float("inf"))
    for number in range(PUBLISHED_TRIES):
        left = torch.nonzero(~(losses <= PUBLISHED_LOSS).any(-1)).flatten()
        if len(left):
            points[left], losses[left, number] = _one_try(pairs[left], starts[left, number])
    failures = tuple(_failure(tried) for tried in losses.tolist())
    return Fitted(points[:, :-1].cpu().numpy(), None, failures)


def _pairs(training: TrainingSet) -> Rows:
    """One row of each pair, then the others in the same order [layer, 2 * pair, d_model]. The loss knows no order within a pair."""
    first, second = true_false_pairs(training.labels, training.given_groups())
    training.require(len(first) >= 2, "two questions with a true and a false answer")
    if training.answer_types is not None:
        rows = training.rows.map(centre_by(training.tensor("answer_types")))
    else:
        rows = training.rows.shifted(training.mean)  # not centred: the penalty on b then ties the loss to the origin
    halves = (torch.from_numpy(index).to(rows.source.device) for index in (first, second))
    return rows.at(_in_order_of_norms(rows.squares, *halves))


def _in_order_of_norms(squares: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Row indices [layer, 2 * pair]: the shorter row of each pair, pairs by length, then the longer ones.

    The search is chaotic: the order of rows must not steer it.
    """
    swapped = squares[:, first] > squares[:, second]
    shorter, longer = torch.where(swapped, second, first), torch.where(swapped, first, second)
    order = torch.minimum(squares[:, first], squares[:, second]).argsort(dim=-1, stable=True)
    return torch.cat([torch.take_along_dim(half, order, dim=1) for half in (shorter, longer)], dim=1)


def true_false_pairs(labels: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row indices of the first true and the first false row of each question that has both."""
    true, false = ({int(groups[i]): int(i) for i in np.flatnonzero(labels == kind)[::-1]} for kind in (True, False))
    both = sorted(true.keys() & false.keys())
    return np.array([true[g] for g in both], dtype=np.int64), np.array([false[g] for g in both], dtype=np.int64)


def _starts(d_model: int, seed: int) -> Tensor:
    """Directions and bias [restart, d_model + 1] as a linear layer of torch is initialised."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(RESTARTS, d_model + 1, generator=generator, dtype=torch.float64)
    return (2 * drawn - 1) / d_model**0.5


def _loss(rows: Tensor, shortened: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """Losses [..., restart] and gradients at points [..., restart, k + 1]; the bias is the last coordinate.

    `shortened` [..., axis, k] spans what the penalty does not see, see `Frame`.
    """
    w = points[..., :-1]
    scores = w @ rows.mT + points[..., -1:]
    chance = torch.sigmoid(scores)
    u, v = chance.chunk(2, dim=-1)
    n = u.shape[-1]
    excess, least = u + v - 1, torch.minimum(u, v)
    along = w @ shortened.mT
    penalty = PENALTY * (points.square().sum(-1) - along.square().sum(-1))
    lower = (u < v).to(u.dtype) + 0.5 * (u == v)
    slope = torch.cat([excess + lower * u, excess + (1 - lower) * v], dim=-1) * (2 / n)
    slope = slope * chance * torch.sigmoid(-scores)
    pull = 2 * PENALTY * (w - along @ shortened)
    gradient = torch.cat([slope @ rows + pull, slope.sum(-1, keepdim=True) + 2 * PENALTY * points[..., -1:]], dim=-1)
    return (excess.square() + least.square()).mean(-1) + penalty, gradient


def _one_try(pairs: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Points [layer, d_model + 1] and losses [layer] of one call of the optimiser per layer."""
    nothing = pairs.new_zeros(len(pairs), 0, pairs.shape[-1])

    def objective(at: Tensor) -> tuple[Tensor, Tensor]:
        loss, gradient = _loss(pairs, nothing, at[:, None])
        return loss[:, 0], gradient[:, 0]

    return descend(objective, starts, rate=0.1, max_steps=100)


def _failure(losses: Sequence[float]) -> str | None:
    if any(loss <= PUBLISHED_LOSS for loss in losses):
        return None
    tried = ", ".join(f"{loss:.3f}" for loss in losses)
    return f"no try of {len(losses)} reached a loss of {PUBLISHED_LOSS} ({tried})"


CCS = Method("ccs", SOURCE, fit_ccs, sign="train labels", threshold=ON_TRAINING_ROWS, needs_groups=True, least_rows=4)
CCS_PUBLISHED = Method(
    "ccs", SOURCE, fit_ccs_published, sign="train labels", threshold=ON_TRAINING_ROWS, needs_groups=True, least_rows=4,
    procedure="published",
)  # fmt: skip
