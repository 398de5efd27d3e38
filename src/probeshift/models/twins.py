"""A second model over the same weights: modules and hooks of its own, so that two can run at once and be steered differently."""

from __future__ import annotations

import copy
from dataclasses import replace
from itertools import chain
from typing import Any

from probeshift.models.language_model import LanguageModel


def twin(model: LanguageModel) -> LanguageModel:
    """The model again: its parameters and buffers are the same tensors, all else is copied. Takes no memory to speak of."""
    weights = chain(model.module.parameters(), model.module.buffers())
    copied: dict[int, Any] = {
        id(tensor): tensor for tensor in weights
    }  # deepcopy takes from here what it need not copy
    module = copy.deepcopy(model.module, copied)
    return replace(
        model,
        module=module,
        backbone=copied[id(model.backbone)],
        blocks=[copied[id(block)] for block in model.blocks],
    )
