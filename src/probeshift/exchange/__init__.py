"""Directions in other programs' files, out and in. One file per format; adding one is a file and a line in `FORMATS`."""

from probeshift.exchange.axbench import AXBENCH
from probeshift.exchange.cards import Origin, as_probe_files
from probeshift.exchange.documents import BEST_PROBE, PROBE_VECTORS
from probeshift.exchange.formats import Format, Found
from probeshift.exchange.gguf_vectors import GGUF
from probeshift.exchange.npz import NPZ
from probeshift.exchange.sklearn_pipeline import SKLEARN, to_sklearn
from probeshift.exchange.steered import LM_EVAL, STEERING_VECTORS

FORMATS: tuple[Format, ...] = (GGUF, STEERING_VECTORS, LM_EVAL, AXBENCH, SKLEARN, NPZ, PROBE_VECTORS, BEST_PROBE)

__all__ = ["FORMATS", "Format", "Found", "Origin", "as_probe_files", "to_sklearn"]
