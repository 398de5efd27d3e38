"""The demo: a real instruct model on the five bundled truth datasets, all layers, in a minute or two on two cores."""

from __future__ import annotations

from pathlib import Path

from probeshift.datasets import FACTS_DATASETS
from probeshift.experiments.crossdata import CrossdataSettings
from probeshift.experiments.inputs import DataSettings, ModelSettings


def settings(output_dir: Path | None = None) -> CrossdataSettings:
    """Small limits, every layer, one seed."""
    return CrossdataSettings(
        model=ModelSettings(model="smollm2-135m"),
        data=DataSettings(datasets=FACTS_DATASETS, train_limit=200, selection_limit=100, eval_limit=150),
        layer_skip=1,
        output_dir=output_dir or Path("output/demo"),
    )
