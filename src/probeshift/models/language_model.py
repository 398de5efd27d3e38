"""A loaded model and what is needed to read it."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from probeshift.models.describing import ModelInfo


@dataclass
class LanguageModel:
    """A loaded model in eval mode. `backbone` is what to call for hidden states (no head); inputs go to `device`.

    `prefix_reuse` is by how much reusing the keys of a shared prefix changed its activations, for each case that was tried.
    """

    info: ModelInfo
    module: nn.Module
    backbone: nn.Module
    blocks: list[nn.Module]
    tokenizer: PreTrainedTokenizerBase
    dtype: torch.dtype
    device: torch.device
    attention: str
    prefix_reuse: dict[Hashable, float] = field(default_factory=dict)
