"""A fitted probe as a scikit-learn pipeline, for others to use. Nothing here is ever read back."""

from __future__ import annotations

import pickle

import numpy as np

from probeshift.mixtures.fitting import Fit


def pickled_pipeline(fit: Fit, n_rows: int, penalty_c: float) -> bytes:
    """StandardScaler and LogisticRegression as if fitted there; class 1 is the behaviour. Pickles run code: open your own only."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    scaler, probe = StandardScaler(), LogisticRegression(C=penalty_c)
    scaler.mean_, scaler.scale_ = fit.arrays["mean"], fit.arrays["scale"]
    scaler.var_, scaler.n_samples_seen_ = scaler.scale_**2, n_rows
    scaler.n_features_in_ = probe.n_features_in_ = len(scaler.mean_)
    probe.coef_, probe.intercept_ = fit.arrays["coefficient"][None], fit.arrays["intercept"]
    probe.classes_, probe.n_iter_ = np.array([0, 1]), np.array([0])
    return pickle.dumps(Pipeline([("scaler", scaler), ("probe", probe)]))
