"""Another model: vectors carried into a copy of the model in a random basis, where the right answer is known."""

from __future__ import annotations

from pathlib import Path

from probeshift.experiments.demo.datasets import MODEL
from probeshift.experiments.transfer.settings import TransferSettings

RULES = ("uppercase", "lowercase", "exclamations", "language", "title", "no_full_stop", "numbered_list", "quoted")
STEERED = "lowercase"


def transfer_settings(folder: Path) -> TransferSettings:
    """Six rules evaluated, two for the mean vector; cosines and detection, no texts."""
    copy = f"{MODEL}-rotated"
    return TransferSettings.model_validate(
        {
            "models": [
                {"name": MODEL, "path": MODEL, "layer": 15},
                {"name": copy, "path": MODEL, "rotation_seed": 1, "layer": "relative"},
            ],
            "source": MODEL,
            "target": copy,
            "concepts": {"rules": RULES, "evaluate": RULES[:6], "rows": 8},
            "alignment": {"limit": 200, "max_tokens": 24},
            "methods": ("identity", "linear", "procrustes"),
            "generation": None,
            "output_dir": folder,
        }
    )
