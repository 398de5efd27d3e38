"""The demo: a direction moved to another dataset, mixture, layer and position, and model, on a real model and bundled data."""

from probeshift.experiments.demo.datasets import DATASETS, FAMILIES, MODEL, settings, sweep_settings
from probeshift.experiments.demo.finished import fingerprint, is_finished, mark_finished
from probeshift.experiments.demo.models import transfer_settings
from probeshift.experiments.demo.positions import extract_settings, train_settings, write_questions
from probeshift.experiments.demo.steering import steer

__all__ = [
    "DATASETS",
    "FAMILIES",
    "MODEL",
    "extract_settings",
    "fingerprint",
    "is_finished",
    "mark_finished",
    "settings",
    "steer",
    "sweep_settings",
    "train_settings",
    "transfer_settings",
    "write_questions",
]
