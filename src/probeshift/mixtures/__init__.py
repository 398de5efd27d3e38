"""Mixtures of sources over shared rows: which to train on, how to fold them, and one probe each."""

from probeshift.mixtures.design import Step, mixtures_to_fit
from probeshift.mixtures.fitting import Fitting, fit_and_score
from probeshift.mixtures.joined import JoinedRows, join_sets

__all__ = ["Fitting", "JoinedRows", "Step", "fit_and_score", "join_sets", "mixtures_to_fit"]
