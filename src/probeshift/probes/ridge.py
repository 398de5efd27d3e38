"""Ridge: least squares on labels of +1 and -1 with an L2 penalty.

Source: Hoerl and Kennard 1970; scikit-learn's `Ridge` with its default penalty 1.0 on unscaled activations. Needs labels, no
groups. Regularisation: penalty on the direction, none on the intercept. Sign: as fitted. Threshold: the intercept. Cost: one
Cholesky factor of the small side.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from probeshift.probes.factors import damped, factorise_in_place, solve_factored
from probeshift.probes.probe import Fitted, Method, TrainingSet

PENALTY = 1.0


def fit_ridge(training: TrainingSet, seeds: Sequence[int]) -> Fitted:
    """Penalised least squares per layer; `seeds` are unused, the solution is unique."""
    rows, labels = training.rows, training.tensor("labels")
    targets = torch.where(labels, 1.0, -1.0).to(torch.float64)
    level = targets.mean()
    wanted = (targets - level).expand(rows.shape[0], -1)[..., None]
    small = rows.gram if rows.wide else rows.scatter
    factor = factorise_in_place(damped(small, PENALTY))
    if rows.wide:  # (F'F + aI)^-1 F' = F' (FF' + aI)^-1
        directions = rows.combine(solve_factored(factor, wanted).squeeze(-1))
    else:
        directions = solve_factored(factor, rows.values.mT @ wanted).squeeze(-1)
    return Fitted(directions.cpu().numpy(), (level - (directions * training.mean).sum(-1)).cpu().numpy())


RIDGE = Method("ridge", "Hoerl and Kennard 1970", fit_ridge, sign="fitted", threshold="the intercept")
