"""MLP: the linear map and a small network that learns what it leaves over, so that the non-linear gain can be read.

Source: non-linear maps between residual streams, e.g. Oozeer et al. 2025 (2503.04429). One hidden layer of ReLUs on centred
and scaled activations, trained with Adam on a sample of pairs; its output starts at zero, that is at the linear map.
Regularisation: stopped early by the error on held-out text, whose best weights are kept: it never does worse there than the
linear map. Cost: some passes over the sample.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from probeshift.errors import UsageError
from probeshift.steering.maps.evidence import Evidence, Pairs
from probeshift.steering.maps.linear import solve_linear
from probeshift.steering.maps.method import MapMethod, Solved
from probeshift.steering.maps.transfer_map import Residual

HIDDEN, BATCH, RATE, PATIENCE, MAX_EPOCHS = 256, 256, 1e-3, 5, 60


def solve_mlp(evidence: Evidence, seed: int) -> Solved:
    linear = solve_linear(evidence, seed)
    mean_x, mean_y = evidence.train.mean_x, evidence.train.mean_y
    if not len(evidence.sample.x) or not len(evidence.sample_heldout.x):
        raise UsageError("the MLP learns from pairs in memory, and none were kept. Gather evidence with sample_pairs.")
    scale = float((evidence.sample.x.double() - mean_x).pow(2).mean().sqrt())
    left = [
        _left_over(pairs, linear.weight, mean_x, mean_y, scale) for pairs in (evidence.sample, evidence.sample_heldout)
    ]
    unit = float(left[0][1].pow(2).mean().sqrt().clamp_min(1e-12))  # the network predicts numbers of order one
    parts = [(x, y / unit) for x, y in left]
    network, epochs, gain = _train(*parts, seed=seed)
    w1, b1, w2, b2 = (p.detach().double().numpy() for p in network.parameters())
    residual = Residual(w1.T.copy(), b1, w2.T * unit, b2 * unit, scale)
    choices = {**linear.choices, "hidden": HIDDEN, "epochs": epochs, "heldout_error_against_linear": gain}
    return Solved(linear.weight, choices, residual)


def _left_over(pairs: Pairs, weight: Tensor, mean_x: Tensor, mean_y: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """The network's inputs, and what the linear map does not explain, in float32."""
    x = pairs.x.double() - mean_x
    return (x / scale).float(), (pairs.y.double() - mean_y - x @ weight).float()


def _train(
    train: tuple[Tensor, Tensor], heldout: tuple[Tensor, Tensor], *, seed: int
) -> tuple[nn.Sequential, int, float]:
    """The network at its best held-out epoch, which epoch that was (0: untrained), and its error as a share of the linear map's."""
    draw = torch.Generator().manual_seed(seed)
    network = _network(train[0].shape[1], train[1].shape[1], draw)
    adam = torch.optim.Adam(network.parameters(), lr=RATE)
    start = best = float(nn.functional.mse_loss(torch.zeros_like(heldout[1]), heldout[1]))
    kept, best_epoch = [p.detach().clone() for p in network.parameters()], 0
    for epoch in range(1, MAX_EPOCHS + 1):
        for rows in torch.randperm(len(train[0]), generator=draw).split(BATCH):
            adam.zero_grad()
            nn.functional.mse_loss(network(train[0][rows]), train[1][rows]).backward()
            adam.step()
        with torch.no_grad():
            error = float(nn.functional.mse_loss(network(heldout[0]), heldout[1]))
        if error < best:
            best, best_epoch, kept = error, epoch, [p.detach().clone() for p in network.parameters()]
        if epoch - best_epoch >= PATIENCE:
            break
    with torch.no_grad():
        for parameter, values in zip(network.parameters(), kept, strict=True):
            parameter.copy_(values)
    return network, best_epoch, best / start if start else 1.0


def _network(d_in: int, d_out: int, draw: torch.Generator) -> nn.Sequential:
    """Its own random numbers; the last layer is zero, so that the network starts at nothing."""
    first, last = nn.Linear(d_in, HIDDEN), nn.Linear(HIDDEN, d_out)
    with torch.no_grad():
        for parameter in (first.bias, last.weight, last.bias):
            parameter.zero_()
        first.weight.normal_(0, d_in**-0.5, generator=draw)
    return nn.Sequential(first, nn.ReLU(), last)


MLP = MapMethod("mlp", "Oozeer et al. 2025", solve_mlp, needs_sample=True)
