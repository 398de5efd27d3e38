"""The demo: a real instruct model on the five bundled truth datasets, all layers, in a minute or two on two cores."""

from __future__ import annotations

from pathlib import Path

from probeshift.experiments.compare import CompareSettings
from probeshift.experiments.inputs import DataSettings, ModelSettings

# Chosen to show all that can happen to a direction: it holds (cities, words, two cities at once), it is inverted (negations),
# it is not there (numbers).
DATASETS = (
    "facts_cities_affirmed",
    "facts_cities_negated",
    "facts_translations_affirmed",
    "facts_comparisons_affirmed",
    "facts_cities_conj",
)


def settings(output_dir: Path | None = None) -> CompareSettings:
    """Small limits, every layer, the eight methods of the literature, one seed."""
    return CompareSettings(
        model=ModelSettings(model="smollm2-135m"),
        data=DataSettings(datasets=DATASETS, train_limit=300, selection_limit=100, eval_limit=200),
        layer_skip=1,
        output_dir=output_dir or Path("output/demo"),
    )
