"""No test reaches a network, and waiting threads do not spin; said before anything imports numpy, torch or transformers."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's and scipy's threads always spin, and the oracles are small
