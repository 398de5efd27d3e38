"""Cholesky factors of symmetric positive definite matrices, and solving with them.

On the CPU LAPACK is called through scipy, which is up to twice as fast as torch: nothing is copied, and the triangle above the
diagonal, which holds no part of a factor, is not cleared. Solves are two triangular ones: torch's `cholesky_solve` takes three to
six times as long on few right sides.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import LinAlgError


def factorise_in_place(matrices: Tensor) -> Tensor:
    """Factors [..., n, n] in the lower triangle, anything above; `matrices` are overwritten.

    Raises:
        LinAlgError: one is not positive definite.
    """
    factors, failed = try_factorise_in_place(matrices)
    if failed.any():
        raise LinAlgError("a matrix is not positive definite")
    return factors


def try_factorise_in_place(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Factors [..., n, n] in the lower triangle and which of the matrices [...] have none; `matrices` are overwritten."""
    if matrices.device.type != "cpu":
        factors, info = torch.linalg.cholesky_ex(matrices)
        return factors, info > 0
    from scipy.linalg.lapack import get_lapack_funcs

    matrices = matrices.contiguous()
    (potrf,) = get_lapack_funcs(("potrf",), dtype=matrices.numpy().dtype)
    failed = torch.zeros(matrices.shape[:-2], dtype=torch.bool)
    flat = matrices.view(-1, *matrices.shape[-2:])
    for index, matrix in enumerate(flat.numpy()):  # symmetric: its transpose is the column order that LAPACK overwrites
        _, info = potrf(matrix.T, lower=True, clean=False, overwrite_a=True)
        failed.view(-1)[index] = info > 0
    return matrices.mT, failed


def damped(matrices: Tensor, amount: Tensor | float) -> Tensor:
    """A copy of the matrices [..., n, n] with an amount [...] added to the diagonal of each."""
    amounts = torch.as_tensor(amount, dtype=matrices.dtype, device=matrices.device)
    copy = matrices.clone()
    copy.diagonal(dim1=-2, dim2=-1).add_(amounts[..., None])
    return copy


def solve_factored(factors: Tensor, right: Tensor) -> Tensor:
    """X [..., n, k] with (L L') X = `right`, L the lower triangle of the factors [..., n, n]."""
    once = torch.linalg.solve_triangular(factors, right, upper=False)
    return torch.linalg.solve_triangular(factors.mT, once, upper=True)
