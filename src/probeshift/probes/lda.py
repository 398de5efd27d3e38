"""LDA: the direction that separates the classes best against the spread within them, in two versions.

`lda` is scikit-learn's `LinearDiscriminantAnalysis` with its defaults (svd solver, no shrinkage, tolerance 1e-4, empirical priors),
as in the report "How well do truth probes generalise?" (2024). With fewer rows than dimensions it inverts only the directions in
which the training rows vary, after dividing each coordinate by its spread: its answer then depends on the basis of activation
space. `lda-shrunk` shrinks the pooled covariance towards a multiple of the identity by the formula of Ledoit and Wolf 2004 and
depends on no basis. docs/design/lda.md says when to use which. Both need labels, no groups. Sign: as fitted. Threshold: the
intercept with empirical priors. Cost: `lda` one Gram matrix of its own (scaling coordinates leaves the shared one), `lda-shrunk`
one Cholesky factor.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from probeshift.probes.dim import class_means
from probeshift.probes.factors import damped, factorise_in_place, solve_factored, try_factorise_in_place
from probeshift.probes.probe import Fitted, Method, TrainingSet
from probeshift.probes.rows import Rows, centre_by

ROUNDING = 1e-12  # a spread this small beside the coordinate's size is none: float32 activations cannot hold it
TOLERANCE = 1e-4  # singular values of the scaled rows at or below it are left out, as in scikit-learn


def fit_lda(training: TrainingSet, seeds: Sequence[int]) -> Fitted:
    """scikit-learn's solution per layer; `seeds` are unused, it is unique."""
    true, false = class_means(training)
    labels, values = training.tensor("labels"), training.rows.values
    spread = _spread_within(values, labels, true, false)
    scaled = Rows(values / (spread * values.shape[1] ** 0.5)[:, None]).map(centre_by(labels.long()))
    whitened = _inverse_within(scaled, (true - false) / spread, labels)
    return _with_intercept(training, whitened / spread)


def _spread_within(values: Tensor, labels: Tensor, true: Tensor, false: Tensor) -> Tensor:
    """Standard deviations [layer, d_model] of rows less their class mean, 1 where there is none.

    All squares less those of the means; where almost nothing is left the difference is rounding, and the rows are looked at.
    """
    share = labels.double().mean()
    square = torch.linalg.vector_norm(values, dim=1).square() / values.shape[1]
    left = square - share * true.square() - (1 - share) * false.square()
    doubtful = (left <= 1e-6 * square) & (square > 0)
    for layer in torch.nonzero(doubtful.any(-1)).flatten().tolist():
        at = doubtful[layer]
        means = torch.where(labels[:, None], true[layer, at], false[layer, at])
        left[layer, at] = (values[layer][:, at] - means).square().mean(0)
    return torch.where(left <= ROUNDING**2 * square, 1.0, left.sqrt())


def _inverse_within(scaled: Rows, difference: Tensor, labels: Tensor) -> Tensor:
    """Pseudo-inverse of the scatter of `scaled` applied to `difference`, directions below the tolerance left out."""
    if not scaled.wide:
        return _truncated_inverse(scaled.scatter, difference, power=1)
    # (Y'Y)+ = Y' (YY')+ (YY')+ Y: two solves on the Gram matrix of the rows.
    wanted = scaled.times(difference[..., None]).squeeze(-1)
    return scaled.combine(_inverse_twice(scaled.gram, wanted, labels))


def _inverse_twice(gram: Tensor, wanted: Tensor, labels: Tensor) -> Tensor:
    """G+ G+ b. Centred rows leave exactly one empty direction per class; filled, it needs no eigenvalues unless more are small."""
    filled = gram + gram.diagonal(dim1=1, dim2=2).mean(-1)[:, None, None] * _same_class(labels)
    factor, failed = try_factorise_in_place(filled)
    solved = solve_factored(factor, solve_factored(factor, wanted[..., None])).squeeze(-1)
    small = failed | (_smallest(factor) <= 10 * TOLERANCE**2)  # 10: what inverse iteration may overstate
    for layer in torch.nonzero(small).flatten().tolist():
        solved[layer] = _truncated_inverse(gram[layer][None], wanted[layer][None], power=2)[0]
    return solved


def _same_class(labels: Tensor) -> Tensor:
    """Projection on the class means of a row vector [example, example]."""
    member = torch.stack([labels, ~labels], dim=1).to(torch.float64)
    return (member / member.sum(0)) @ member.mT


def _smallest(factor: Tensor) -> Tensor:
    """The smallest eigenvalue [layer] of the factored matrices, from a few inverse iterations."""
    vector = torch.randn(factor.shape[1], generator=torch.Generator().manual_seed(0), dtype=factor.dtype)
    vector = vector.to(factor.device).expand(len(factor), -1)[..., None]
    for _ in range(5):
        vector = vector / vector.norm(dim=1, keepdim=True)
        image = solve_factored(factor, vector)
        vector, value = image, 1.0 / (vector * image).sum((1, 2))
    return value


def _truncated_inverse(matrix: Tensor, wanted: Tensor, *, power: int) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    kept = values > TOLERANCE**2
    inverse = torch.where(kept, values, 1.0) ** -power * kept
    return (vectors @ (inverse * (vectors.mT @ wanted[..., None]).squeeze(-1))[..., None]).squeeze(-1)


def fit_lda_shrunk(training: TrainingSet, seeds: Sequence[int]) -> Fitted:
    """Shrunk solution per layer; `seeds` are unused, it is unique."""
    true, false = class_means(training)
    within = training.rows.map(centre_by(training.tensor("labels").long()))
    shrinkage, level = ledoit_wolf(within)
    ridge, weight = shrinkage * level, (1 - shrinkage) / within.shape[1]
    return _with_intercept(training, _solve_shifted(within, true - false, ridge, weight))


def ledoit_wolf(within: Rows) -> tuple[Tensor, Tensor]:
    """Shrinkage and mean variance [layer] of centred rows (Ledoit and Wolf 2004), from inner products alone."""
    _, n_rows, d_model = within.shape
    squares = within.squares
    level = squares.sum(-1) / n_rows / d_model
    small = within.gram if within.wide else within.scatter
    total = small.square().sum((1, 2)) / n_rows**2  # squared Frobenius norm of the covariance, the same on both sides
    noise = (squares.square().sum(-1) / n_rows - total) / n_rows / d_model
    away = (total - d_model * level**2) / d_model
    return (torch.minimum(noise, away) / away).clamp(1e-12, 1 - 1e-12), level


def _solve_shifted(within: Rows, difference: Tensor, ridge: Tensor, weight: Tensor) -> Tensor:
    """(ridge I + weight F'F)^-1 difference."""
    small = within.gram if within.wide else within.scatter
    factor = factorise_in_place(damped(small, ridge / weight))
    if not within.wide:
        return solve_factored(factor, difference[..., None]).squeeze(-1) / weight[:, None]
    inside = solve_factored(factor, within.times(difference[..., None])).squeeze(-1)
    return (difference - within.combine(inside)) / ridge[:, None]


def _with_intercept(training: TrainingSet, directions: Tensor) -> Fitted:
    """The threshold of equal posterior odds: midpoint of the class means, moved by the log odds of the classes."""
    true, false = class_means(training)
    labels = training.tensor("labels")
    odds = torch.log(labels.sum() / (~labels).sum())
    middle = (true + false) / 2 + training.mean
    return Fitted(directions.cpu().numpy(), (odds - (directions * middle).sum(-1)).cpu().numpy())


LDA = Method(
    "lda", "scikit-learn LinearDiscriminantAnalysis", fit_lda, sign="fitted", threshold="the intercept", least_rows=3
)
LDA_SHRUNK = Method(
    "lda-shrunk", "Ledoit and Wolf 2004", fit_lda_shrunk, sign="fitted", threshold="the intercept", least_rows=3
)
