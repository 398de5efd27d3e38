"""Methods that find a direction. Adding one is a file and a line in `METHODS`."""

from probeshift.errors import UsageError, nearest
from probeshift.probes.dim import DIM
from probeshift.probes.probe import Fitted, LinearProbe, Method, TrainingSet
from probeshift.probes.random_direction import RANDOM

METHODS: tuple[Method, ...] = (DIM, RANDOM)


def find_method(name: str) -> Method:
    """The method of that name.

    Raises:
        UsageError: no such method; the nearest names are offered.
    """
    for method in METHODS:
        if method.name == name.lower():
            return method
    raise UsageError(f"method `{name}` not found. {nearest(name, [m.name for m in METHODS])}")


__all__ = ["METHODS", "Fitted", "LinearProbe", "Method", "TrainingSet", "find_method"]
