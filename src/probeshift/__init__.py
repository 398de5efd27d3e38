"""Does a direction found in one place of a language model's activation space still hold somewhere else?

The public names, loaded when they are first used: importing the package loads neither torch nor transformers.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probeshift.activations import ActivationStore as ActivationStore
    from probeshift.datasets import load_dataset as load_dataset
    from probeshift.datasets import load_file as load_file
    from probeshift.errors import ProbeshiftError as ProbeshiftError
    from probeshift.extraction import read_activations as read_activations
    from probeshift.metrics import measure as measure
    from probeshift.models import load_model as load_model
    from probeshift.probes import METHODS as METHODS
    from probeshift.probes import LinearProbe as LinearProbe
    from probeshift.saved_probes import open_probe as open_probe
    from probeshift.scoring import score_texts as score_texts
    from probeshift.shift import evaluate_probe as evaluate_probe
    from probeshift.shift import fit_probe as fit_probe

_HOME = {
    "ActivationStore": "activations",
    "LinearProbe": "probes",
    "METHODS": "probes",
    "ProbeshiftError": "errors",
    "evaluate_probe": "shift",
    "fit_probe": "shift",
    "load_dataset": "datasets",
    "load_file": "datasets",
    "load_model": "models",
    "measure": "metrics",
    "open_probe": "saved_probes",
    "read_activations": "extraction",
    "score_texts": "scoring",
}
__all__ = list(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"probeshift.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_HOME]
