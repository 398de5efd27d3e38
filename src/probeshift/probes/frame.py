"""Coordinates in which a few massive axes no longer drown the others: where first-order searches run.

Activations have a few axes that are hundreds of times as long as the usual one; they make a loss a narrow valley. Here they are
shortened to `massive` times the usual length, all others stay. Shortening by T = I - sum_j (1 - 1/s_j) u_j u_j' turns rows X into
X T and a direction w into T^-1 w, so scores stay as they are and |w|^2 becomes |w'|^2 - sum_j (1 - 1/s_j^2) (u_j . w')^2. The axes
need not be exact: any orthonormal u_j give a correct frame, good ones give a fast search.

With fewer rows than dimensions the rows become a Cholesky factor of their shortened Gram matrix (the same rows in an orthonormal
basis of their span), so that a search has as many coordinates as there are rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from probeshift.probes.factors import damped, factorise_in_place, try_factorise_in_place
from probeshift.probes.rows import Rows

_ITERATIONS = 4  # of subspace iteration: axes a hundred times the usual are found to eight digits


@dataclass(frozen=True)
class Frame:
    """Shortened rows [layer, row, k], and `shortened` [layer, axis, k]: |w|^2 = |w'|^2 - |shortened w'|^2.

    `factor` [layer, 1 - 1/s, ...] of each axis; `axes` are unit axes as combinations of the rows (wide) or of the dimensions.
    """

    rows: Tensor
    shortened: Tensor
    pairs: Rows
    axes: Tensor  # [layer, axis, row or d_model]
    reach: Tensor  # [layer, axis, row or d_model]: product of the rows with each axis when wide, else the axes
    length: Tensor  # [layer, axis]: s, at least 1

    def enter(self, points: Tensor) -> Tensor:
        """Points [layer, restart, d_model + 1] in this frame; the last coordinate, a bias, stays."""
        w, bias = points[..., :-1], points[..., -1:]
        if self.pairs.wide:
            inside = torch.linalg.solve_triangular(self.rows, self.pairs.times(w.mT), upper=False).mT
        else:  # T^-1 w
            inside = w + ((w @ self.axes.mT) * (self.length - 1)[:, None]) @ self.axes
        return torch.cat([inside, bias], dim=-1)

    def leave(self, points: Tensor) -> Tensor:
        """Directions [layer, d_model] of points [layer, k + 1] of this frame."""
        inside = points[:, :-1]
        if not self.pairs.wide:  # T w'
            along = (self.axes @ inside[..., None]).squeeze(-1) * (1 - 1 / self.length)
            return inside - (along[:, None] @ self.axes).squeeze(1)
        mixed = torch.linalg.solve_triangular(self.rows.mT, inside[..., None], upper=True).squeeze(-1)
        # T^2 X' mixed, written as a combination of the rows
        along = (self.reach @ mixed[..., None]).squeeze(-1) * (1 - 1 / self.length**2)
        return self.pairs.combine(mixed - (along[:, None] @ self.axes).squeeze(1))


def make_frame(pairs: Rows, massive: float, most: int) -> Frame:
    """The frame of some rows, with at most `most` shortened axes a layer."""
    small = pairs.gram if pairs.wide else pairs.scatter
    squares, vectors = _largest(small, min(most, small.shape[-1]))
    rest = (small.diagonal(dim1=1, dim2=2).sum(-1) - squares.sum(-1)).clamp_min(0.0) / max(
        1, small.shape[-1] - squares.shape[-1]
    )
    usual = massive * torch.where(rest > 0, rest, squares[:, -1])[:, None]
    length = (squares / usual).clamp_min(1.0).sqrt()
    shorter = 1 - 1 / length**2
    if not pairs.wide:
        along = pairs.values @ vectors.mT
        rows = pairs.values - (along * (1 - 1 / length)[:, None]) @ vectors
        return Frame(rows, vectors * shorter.sqrt()[..., None], pairs, vectors, vectors, length)
    tiny = torch.finfo(squares.dtype).tiny
    size = squares.clamp_min(tiny).sqrt()[..., None]
    reach = vectors @ small / size
    rows = _factor(small - (reach.mT * shorter[:, None]) @ reach)
    inside = torch.linalg.solve_triangular(rows, (reach / length[..., None]).mT, upper=False).mT
    return Frame(rows, inside * shorter.sqrt()[..., None], pairs, vectors / size, reach, length)


def _largest(matrix: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Ritz values [layer, n] and orthonormal vectors [layer, n, size] near the largest of symmetric matrices, largest first."""
    start = torch.randn(n, matrix.shape[-1], generator=torch.Generator().manual_seed(0), dtype=matrix.dtype)
    basis = start.to(matrix.device).expand(len(matrix), -1, -1)
    for _ in range(_ITERATIONS):
        basis = torch.linalg.qr((basis @ matrix).mT)[0].mT
    values, mixing = torch.linalg.eigh(basis @ matrix @ basis.mT)
    return values.flip(-1).clamp_min(0.0), (mixing.mT @ basis).flip(-2)


def _factor(gram: Tensor) -> Tensor:
    """Lower triangular factors; what rounding leaves of missing dimensions is lifted to a length that no score can see."""
    lift = gram.shape[-1] * torch.finfo(gram.dtype).eps * gram.diagonal(dim1=1, dim2=2).sum(-1)
    lift = lift.clamp_min(torch.finfo(gram.dtype).tiny)
    for _ in range(3):
        factor, failed = try_factorise_in_place(damped(gram, lift))
        if not failed.any():
            return factor.tril()
        lift = lift * 100
    return factorise_in_place(damped(gram, lift)).tril()
