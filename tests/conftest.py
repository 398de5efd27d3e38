"""No test reaches a network, and waiting threads do not spin; said before anything imports transformers or torch."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
