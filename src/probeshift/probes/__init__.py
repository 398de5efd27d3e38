"""Methods that find a direction. Adding one is a file and a line in `METHODS`."""

from probeshift.errors import UsageError, nearest
from probeshift.probes.ccs import CCS, CCS_PUBLISHED
from probeshift.probes.dim import DIM
from probeshift.probes.lat import LAT
from probeshift.probes.lda import LDA, LDA_SHRUNK
from probeshift.probes.logistic import LR, LR_G
from probeshift.probes.pca import PCA, PCA_G
from probeshift.probes.probe import Fitted, LinearProbe, Method, TrainingSet
from probeshift.probes.random_direction import RANDOM
from probeshift.probes.ridge import RIDGE

METHODS: tuple[Method, ...] = (DIM, LDA, LR, LR_G, CCS, PCA, PCA_G, LAT, RIDGE, LDA_SHRUNK, RANDOM)
PUBLISHED_VARIANTS: tuple[Method, ...] = (CCS_PUBLISHED,)


def find_method(name: str, protocol: str = "strict") -> Method:
    """The method of that name, in the variant of the protocol where it has one.

    Raises:
        UsageError: no such method; the nearest names are offered.
    """
    variants = PUBLISHED_VARIANTS if protocol == "published" else ()
    for method in (*variants, *METHODS):
        if method.name == name.lower():
            return method
    raise UsageError(f"method `{name}` not found. {nearest(name, [m.name for m in METHODS])}")


__all__ = ["METHODS", "PUBLISHED_VARIANTS", "Fitted", "LinearProbe", "Method", "TrainingSet", "find_method"]
