"""compare: the whole study of one model. All methods at all stored layers on all datasets, scored strictly and as published."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from probeshift.datasets import MISSION_DATASETS
from probeshift.errors import MissingError, UsageError
from probeshift.experiments.crossdata import Comparison, CrossdataSettings, Progress, fit, save_run, score
from probeshift.experiments.inputs import load_datasets

if TYPE_CHECKING:
    from probeshift.summaries.study import Study

STUDY_METHODS = ("dim", "lda", "lr", "lr-g", "ccs", "pca", "pca-g", "lat", "random")
OTHER = {"strict": "published", "published": "strict"}
VALIDATION_SET = "truthful_qa"

log = logging.getLogger(__name__)


class CompareSettings(CrossdataSettings):
    """A study: as a comparison, with the eight methods of the literature and a random control."""

    methods: tuple[str, ...] = STUDY_METHODS
    """Probe methods, separated by commas."""


def open_study(settings: CrossdataSettings) -> Comparison:
    """Read the datasets, with TruthfulQA beside the published ones where it is at hand.

    Raises:
        UsageError: fewer than two datasets to train on, controls only, or an unknown name.
        MissingError: datasets that are not on this machine.
    """
    from probeshift.probes import find_method

    comparison = Comparison.open(settings)
    if all(find_method(name).control for name in settings.methods):
        raise UsageError(
            f"a comparison needs a method that learns, got {', '.join(settings.methods)}. Name more with --methods."
        )
    trained = [d.name for d in comparison.datasets.values() if not d.spec.eval_only]
    if len(trained) < 2:
        raise UsageError(
            f"a comparison needs at least two datasets to train on, got {', '.join(trained) or 'none'}. Name more with --datasets."
        )
    if set(MISSION_DATASETS) & set(trained) and VALIDATION_SET not in comparison.datasets:
        try:
            alone = settings.data.model_copy(update={"datasets": (VALIDATION_SET,), "files": (), "skip_missing": False})
            comparison.datasets.update(load_datasets(alone))
        except MissingError as error:
            log.warning("TruthfulQA is left out, and figure r4 with it: %s", error)
    return comparison


def compare(comparison: Comparison, *, on_progress: Progress | None = None) -> dict[str, Study]:
    """Both protocols' studies by name. Writes results.* by the protocol of the settings and results-<other>.parquet beside it."""
    from probeshift.summaries import Won
    from probeshift.summaries.study import Study

    layers = comparison.layers()
    slices = comparison.read(("train", "selection", "test"), layers, on_progress)
    main = comparison.settings.protocol
    studies, contexts = {}, []
    for protocol, table in ((OTHER[main], f"results-{OTHER[main]}"), (main, "results")):
        probes = fit(comparison, slices, layers, protocol, on_progress)
        contexts = score(comparison, slices, probes, layers, protocol, on_progress)
        rows = comparison.results.collect(contexts, table)
        won = Won.read(comparison.results, table)
        settings = comparison.settings
        studies[protocol] = Study(rows, won, comparison.workspace.info.n_layers, settings.n_resamples, settings.seed)
    save_run(comparison, slices, step="compare", contexts=contexts)
    return studies
