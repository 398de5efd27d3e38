"""Statements x model x sites -> activations: a frozen plan, then shards that each survive a crash."""

from probeshift.extraction.batching import Batch, cut_batches, cut_shards, share_prefixes
from probeshift.extraction.estimate import Cost, estimate, plan_line
from probeshift.extraction.forward import BatchReader
from probeshift.extraction.job import Extraction, prepare
from probeshift.extraction.plan import ExtractionOptions, Plan, identify, make_plan
from probeshift.extraction.rates import known_rates, rate_key
from probeshift.extraction.run import extract, read_activations, shares_safely
from probeshift.extraction.shards import Progress

__all__ = [
    "Batch",
    "BatchReader",
    "Cost",
    "Extraction",
    "ExtractionOptions",
    "Plan",
    "Progress",
    "cut_batches",
    "cut_shards",
    "estimate",
    "extract",
    "identify",
    "known_rates",
    "make_plan",
    "plan_line",
    "prepare",
    "rate_key",
    "read_activations",
    "share_prefixes",
    "shares_safely",
]
