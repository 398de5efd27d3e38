"""No test reaches a network; said before anything imports transformers."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
