"""A scikit-learn pipeline with the direction as coefficients, kept in a `.skops` file, which unlike a pickle runs nothing when read.

A probe fitted as log odds becomes a LogisticRegression, whose predict_proba is then the fitted probability; any other classifier a
RidgeClassifier, which has a decision function and no probabilities; a regression probe a Ridge. All take raw activations.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from probeshift.errors import UsageError
from probeshift.exchange.cards import exported_card, only, parsed
from probeshift.exchange.formats import Format, Found, Target
from probeshift.provenance import publish
from probeshift.results import ProbeFile
from probeshift.saved_probes import LOG_ODDS

_CARD = "probeshift_card_"


def to_sklearn(probes: ProbeFile, layer: int) -> Any:
    """A fitted pipeline that gives the probe's scores on activations [example, d_model].

    Raises:
        UsageError: the layer is not there.
    """
    from sklearn.linear_model import LogisticRegression, Ridge, RidgeClassifier
    from sklearn.pipeline import Pipeline

    one = only(probes, [layer])
    direction, bias = one.at(layer)
    number = one.card.task == "regression"
    model: Any = Ridge() if number else LogisticRegression() if one.card.method in LOG_ODDS else RidgeClassifier()
    model.fit(
        np.eye(2, len(direction)), [0.0, 1.0] if number else [False, True]
    )  # two rows, for everything but the coefficients
    model.coef_ = direction.astype(np.float64).reshape(model.coef_.shape)
    model.intercept_ = float(bias) if number else np.array([bias])
    pipeline = Pipeline([("probe", model)])
    setattr(pipeline, _CARD, exported_card(one))
    return pipeline


def write_sklearn(probes: ProbeFile, target: Target) -> None:
    """The pipeline of one layer."""
    from skops.io import dumps

    publish(target.path, dumps(to_sklearn(probes, probes.card.layers[0])))


def read_sklearn(path: Path) -> list[Found]:
    """The coefficients of a linear model, alone or the only step of a pipeline.

    Raises:
        UsageError: not a skops file, types that are not scikit-learn's, or a model that is not one direction on raw activations.
    """
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        model = skops.io.load(path, trusted=[])
    except (UntrustedTypesFoundException, BadZipFile, TypeError, ValueError, OSError, KeyError) as error:
        raise UsageError(
            f"{path} is not a .skops file of scikit-learn's own types ({error}). Pickles are not read."
        ) from error
    steps = [step for _, step in getattr(model, "steps", [("probe", model)])]
    coefficients = np.atleast_2d(getattr(steps[-1], "coef_", np.empty((0, 0, 0))))
    if len(steps) != 1 or coefficients.shape[0] != 1 or coefficients.ndim != 2:
        raise UsageError(
            f"{path} is not one linear direction on raw activations: {len(steps)} steps, coefficients of shape {coefficients.shape}. "
            "Fold scaling into the coefficients first."
        )
    card = parsed(getattr(model, _CARD, None))
    biases = np.atleast_1d(steps[-1].intercept_).astype(np.float64)
    layers = (card["layers"][0]["layer"],) if card else (None,)
    kind = type(steps[-1]).__name__
    told = {"method": "logistic" if kind == "LogisticRegression" else kind.lower(), "task": _task(kind)}
    return [Found(path.stem, layers, coefficients.astype(np.float32), biases, card, told)]


def _task(kind: str) -> str:
    return "regression" if kind in ("Ridge", "LinearRegression", "Lasso", "ElasticNet") else "classification"


SKLEARN = Format(
    "sklearn", ".skops", "scikit-learn pipeline in a skops file", write_sklearn, read_sklearn, one_layer=True, needs="skops"
)  # fmt: skip
