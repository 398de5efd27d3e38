"""A small study over tiny random models: settings, opened and run. Random models follow no rule; what is tested is the machinery."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import tiny_models

RULES = ["uppercase", "lowercase", "exclamations", "bullets", "quoted", "no_full_stop", "title", "capital_words"]
EVALUATED = RULES[:5]


def values(folder: Path, *, target: str | Path = "qwen2", **changed: Any) -> dict[str, Any]:
    """The settings as a YAML file would hold them."""
    path = target if isinstance(target, Path) else tiny_models.shared(target)
    entry = {"layer": 1, "dtype": "float32", "device": "cpu"}
    return {
        "models": [
            {"name": "one", "path": str(tiny_models.shared("llama")), **entry},
            {"name": "two", "path": str(path), **entry, "layer": "relative"},
        ],
        "source": "one",
        "target": "two",
        "concepts": {"rules": RULES, "evaluate": EVALUATED, "rows": 4, "max_tokens": 200},
        "alignment": {"limit": 40, "max_tokens": 24},
        "methods": ["identity", "linear"],
        "strengths": [0.5, 1.0],
        "prompts": {"n_selection": 2, "n_test": 2},
        "generation": {"max_new_tokens": 4},
        "controls": {"random": 5, "shuffled": 1},
        "kl_target": 0.05,
        "kl_texts": 1,
        "output_dir": str(folder),
        **changed,
    }
