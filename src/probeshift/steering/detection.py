"""How well vectors tell texts that show a concept from texts that do not: the largest projection of a read token of each row.

Source: AxBench (Wu et al. 2025), concept detection. The rows must be other rows than those that made the vectors.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from probeshift.models import LanguageModel
from probeshift.steering.contrasts import Contrast, Encoder, Tokens, make_encoder
from probeshift.steering.forward import Progress, read_tokens
from probeshift.steering.vectors import SteeringVector, require_width


def row_projections(
    model: LanguageModel,
    vectors: Sequence[SteeringVector],
    rows: Sequence[Contrast],
    *,
    encoder: Encoder | None = None,
    tokens: Tokens = "response",
    on_progress: Progress | None = None,
) -> np.ndarray:
    """The largest projection of a read token on each vector, [vector, row] in float64. All vectors are of one layer.

    Raises:
        UsageError: a vector does not fit the model.
    """
    encoder = encoder or make_encoder(model.tokenizer)
    for vector in vectors:
        require_width(vector, model)
    (layer,) = {vector.layer for vector in vectors}
    directions = torch.from_numpy(np.stack([v.direction for v in vectors])).to(model.device, torch.float64)
    encoded = [encoder.encode(row.prompt, row.response, tokens) for row in rows]
    found = np.empty((len(vectors), len(rows)))
    for row, read in read_tokens(model, encoded, [layer], on_progress):
        found[:, row] = (read[layer] @ directions.T).max(0).values.cpu().numpy()
    return found
