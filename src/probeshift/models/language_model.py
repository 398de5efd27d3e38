"""A loaded model and what is needed to read it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedTokenizerBase

from probeshift.models.describing import ModelInfo


@dataclass
class LanguageModel:
    """A loaded model in eval mode. `backbone` is what to call for hidden states (no head); inputs go to `device`."""

    info: ModelInfo
    module: nn.Module
    backbone: nn.Module
    blocks: list[nn.Module]
    tokenizer: PreTrainedTokenizerBase
    dtype: torch.dtype
    device: torch.device
    attention: str
