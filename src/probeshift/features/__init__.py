"""Sparse-autoencoder features: encoders loaded by file format, and whether one fits the activations it is given."""

from probeshift.features.encoder import SparseEncoder
from probeshift.features.fit_check import FitCheck, check_fit
from probeshift.features.formats import load_encoder
from probeshift.features.pooling import POOLS, pool_features

__all__ = ["POOLS", "FitCheck", "SparseEncoder", "check_fit", "load_encoder", "pool_features"]
