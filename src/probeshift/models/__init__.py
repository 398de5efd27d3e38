"""Language models: names, loading, where the blocks are, hooks, chat templates.

Names are looked up on first use, so that `probeshift.models.names` loads neither torch nor transformers.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probeshift.models.caching import cache_argument, given_cache, growing_cache, has_window, new_cache, with_room
    from probeshift.models.describing import (
        ModelInfo,
        ParameterCounts,
        describe,
        load_tokenizer,
        parameter_counts,
        template_hash,
        tokenizer_hash,
        weight_hash,
    )
    from probeshift.models.hooks import StopForward, edit_residuals, is_hooked, record_residuals
    from probeshift.models.language_model import LanguageModel
    from probeshift.models.loading import choose_device, choose_dtype, load_model
    from probeshift.models.names import folder_name, resolve
    from probeshift.models.parity import Parity, ParityError, check_parity
    from probeshift.models.post_instruction import PostInstruction, find_post_instruction, mark_tokens, render_prompt
    from probeshift.models.twins import twin

__all__ = [
    "LanguageModel",
    "ModelInfo",
    "ParameterCounts",
    "Parity",
    "ParityError",
    "PostInstruction",
    "StopForward",
    "cache_argument",
    "check_parity",
    "choose_device",
    "choose_dtype",
    "describe",
    "edit_residuals",
    "find_post_instruction",
    "folder_name",
    "given_cache",
    "growing_cache",
    "has_window",
    "is_hooked",
    "load_model",
    "load_tokenizer",
    "mark_tokens",
    "new_cache",
    "parameter_counts",
    "record_residuals",
    "render_prompt",
    "resolve",
    "template_hash",
    "tokenizer_hash",
    "twin",
    "weight_hash",
    "with_room",
]

_MODULES = (
    "names",
    "hooks",
    "caching",
    "post_instruction",
    "parity",
    "describing",
    "language_model",
    "loading",
    "twins",
)


def __getattr__(name: str) -> Any:
    if name in __all__:
        for module in _MODULES:
            found = getattr(importlib.import_module(f"{__name__}.{module}"), name, None)
            if found is not None:
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
