"""The first principal component, without the others.

Lanczos with full reorthogonalisation on the smaller of Gram and scatter matrix (Golub and Van Loan, ch. 10); a result counts only
when its residual, divided by the gap to the second value, proves the angle. What is not proved is solved in full.
"""

from __future__ import annotations

import torch
from torch import Tensor

from probeshift.probes.rows import Rows

MAX_STEPS = 120
CHECK_EVERY = 10
ANGLE = 1e-10


def first_component(rows: Rows) -> Tensor:
    """Unit directions [layer, d_model] of the largest sum of squares; rows are centred by the caller. Sign is arbitrary."""
    if not rows.wide:
        return top_eigenvector(rows.scatter)
    vectors = rows.combine(top_eigenvector(rows.gram))
    return vectors / vectors.norm(dim=-1, keepdim=True)


def top_eigenvector(matrix: Tensor) -> Tensor:
    """Unit eigenvectors [layer, n] of the largest eigenvalue of symmetric matrices [layer, n, n] without negative ones."""
    found, proved = _lanczos(matrix)
    for layer in torch.nonzero(~proved).flatten().tolist():
        found[layer] = torch.linalg.eigh(matrix[layer])[1][:, -1]
    return found


def _lanczos(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Ritz vectors of the largest value, and which of them are proved."""
    n_layers, size, _ = matrix.shape
    steps = min(MAX_STEPS, size)
    basis = matrix.new_zeros(n_layers, steps, size)
    images = torch.zeros_like(basis)
    # A fixed start: the answer does not depend on it, the number of steps does.
    vector = torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=matrix.dtype).to(matrix.device)
    vector = vector.expand(n_layers, size)
    for step in range(steps):
        vector = _orthonormal(vector, basis[:, :step])
        basis[:, step] = vector
        images[:, step] = vector = (matrix @ vector[..., None]).squeeze(-1)
        if (step + 1) % CHECK_EVERY == 0 or step + 1 == steps:
            found, proved = _ritz(basis[:, : step + 1], images[:, : step + 1])
            if proved.all():
                break
    return found, proved


def _orthonormal(vector: Tensor, basis: Tensor) -> Tensor:
    for _ in range(2):  # twice is enough (Parlett 1980)
        vector = vector - (basis.mT @ (basis @ vector[..., None])).squeeze(-1)
    return vector / vector.norm(dim=-1, keepdim=True).clamp_min(torch.finfo(vector.dtype).tiny)


def _ritz(basis: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Best vectors in the basis; proved where residual / gap bounds the angle to the eigenvector (Davis and Kahan 1970)."""
    small = basis @ images.mT
    values, vectors = torch.linalg.eigh((small + small.mT) / 2)
    top = vectors[..., -1:]
    ritz, image = ((part.mT @ top).squeeze(-1) for part in (basis, images))
    residual = (image - values[:, -1:] * ritz).norm(dim=-1)
    gap = values[:, -1] - values[:, -2] if values.shape[1] > 1 else values[:, -1]
    scale = values[:, -1].clamp_min(torch.finfo(values.dtype).tiny)
    return ritz / ritz.norm(dim=-1, keepdim=True), (residual <= ANGLE * gap) & (gap > 1e-12 * scale)
