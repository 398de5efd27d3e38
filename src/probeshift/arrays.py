"""Named array types. Only these cross a module border; the axis names are the only ones in use.

Axes: `example` rows of text, `d_model` the residual width, `layer`, `position`, `group` questions, `probe` probes side by side.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

Activations = Float[np.ndarray, "example d_model"]
LayerActivations = Float[np.ndarray, "layer example d_model"]
Labels = Bool[np.ndarray, " example"]  # True = the statement is true
Targets = Float[np.ndarray, " example"]  # numbers to predict
Groups = Int[np.ndarray, " example"]  # index of the question a row answers, 0-based and dense
AnswerTypes = Int[np.ndarray, " example"]  # which kind of answer a row offers (option 0 or 1, negated or not)
Scores = Float[np.ndarray, "probe example"]  # larger = "truer"
Directions = Float[np.ndarray, "probe d_model"]
PerProbe = Float[np.ndarray, " probe"]
Correct = Float[np.ndarray, "probe group"]  # share of a question won: 1, 0, or 1/k in a k-way tie
LayerDirections = Float[np.ndarray, "layer d_model"]
PerLayer = Float[np.ndarray, " layer"]
