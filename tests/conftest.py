"""No test reaches a network, and waiting threads do not spin; said before anything imports numpy, torch or transformers."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"

import scipy.linalg
from threadpoolctl import threadpool_limits

import probeshift.cli.threads

# A test runner may have loaded numpy before; the oracles are small.
BLAS = threadpool_limits(1, user_api="blas")

__all__ = ["BLAS", "probeshift", "scipy"]
