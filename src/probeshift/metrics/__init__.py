"""Metrics with intervals and reasons: accuracy by question and by row, AUROC, recovered accuracy."""

from probeshift.metrics.alarms import identical_columns
from probeshift.metrics.intervals import clopper_pearson, resample_weights
from probeshift.metrics.measurement import Measure, Measurement, measure
from probeshift.metrics.recovered import Recovered, recovered_accuracy

__all__ = [
    "Measure",
    "Measurement",
    "Recovered",
    "clopper_pearson",
    "identical_columns",
    "measure",
    "recovered_accuracy",
    "resample_weights",
]
