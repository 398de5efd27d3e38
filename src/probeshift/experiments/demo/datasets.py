"""Another dataset, another mixture: five bundled truth datasets, all layers, and their sweep."""

from __future__ import annotations

from pathlib import Path

from probeshift.experiments.compare import CompareSettings
from probeshift.experiments.crossdata import Comparison
from probeshift.experiments.inputs import DataSettings, ModelSettings
from probeshift.experiments.sweep_settings import SourceSettings, StepSettings, SweepSettings

MODEL = "smollm2-135m"

# Chosen to show all that can happen to a direction: it holds (cities, words, two cities at once), it is inverted (negations),
# it is not there (numbers).
DATASETS = (
    "facts_cities_affirmed",
    "facts_cities_negated",
    "facts_translations_affirmed",
    "facts_comparisons_affirmed",
    "facts_cities_conj",
)
FAMILIES = ("statements", "negations", "translations", "comparisons", "compounds")


def settings(output_dir: Path | None = None) -> CompareSettings:
    """Small limits, every layer, the eight methods of the literature, one seed."""
    return CompareSettings(
        model=ModelSettings(model=MODEL),
        data=DataSettings(datasets=DATASETS, train_limit=300, selection_limit=100, eval_limit=200),
        layer_skip=1,
        output_dir=output_dir or Path("output/demo"),
    )


def sweep_settings(comparison: Comparison, layer: int) -> SweepSettings:
    """One probe while its training mixture grows by a family of facts a step, on activations that the comparison has read.

    Selection rows chose the layer, so they are in no mixture and in no test.
    """
    stores = {(part.dataset, part.split): part.store for part in comparison.opened.values()}
    model = comparison.workspace.info.name
    return SweepSettings(
        title=f"Facts, five families, raw activations of {model} at layer {layer}",
        model=model,
        layer=layer,
        position=next(iter(stores.values())).positions[0],
        sources=tuple(
            SourceSettings(name=name, store=(stores[dataset, "train"].folder, stores[dataset, "test"].folder))
            for name, dataset in zip(FAMILIES, DATASETS, strict=True)
        ),
        steps=tuple(
            StepSettings(name=name if number == 0 else f"add_{name}", add=(name,))
            for number, name in enumerate(FAMILIES)
        ),
        held_out=0.3,  # of rows about two cities or numbers 0.3 x 0.3 are held out with both
        repeats=1,
        size_draws=1,
        output_dir=comparison.results.folder / "sweep",
    )
