"""What an extraction will cost, before any weight is loaded."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch

from probeshift.activations import ITEM_BYTES
from probeshift.extraction.plan import SHARD_BYTES, ExtractionOptions, Plan
from probeshift.extraction.rates import known_rates, rate_key
from probeshift.models import ModelInfo, parameter_counts

# Share of a plain matrix product's speed that a transformer forward reaches; rough, and said to be so.
_FORWARD_EFFICIENCY = 0.5
# Interpreter, torch and transformers themselves, measured as the resident size after importing them.
_RUNTIME_BYTES = 600 << 20


@dataclass(frozen=True)
class Cost:
    """Estimated seconds of computing and peak bytes of memory; `basis` says what the time rests on."""

    seconds: float
    memory_bytes: int
    basis: str


def estimate(tokens: int, info: ModelInfo, options: ExtractionOptions) -> Cost:
    """Cost of computing `tokens` tokens: from the rate this machine reached before, else from one timed matrix product."""
    counts = parameter_counts(info)
    rate = known_rates().get(rate_key(info, options.device, options.dtype))
    basis = "the speed of earlier runs on this machine"
    if rate is None:
        basis = "one timed matrix product (rough)"
        rate = _FORWARD_EFFICIENCY * _matmul_flops(options) / (2 * counts.body)
    weights = counts.total * ITEM_BYTES[options.dtype]
    return Cost(tokens / rate, weights + _RUNTIME_BYTES + 2 * SHARD_BYTES, basis)


def _matmul_flops(options: ExtractionOptions) -> float:
    """Floating-point operations per second of one product of the size a batch makes, best of three."""
    size = 4096 if options.device == "cuda" else 768
    a = torch.zeros(size, size, dtype=getattr(torch, options.dtype), device=options.device)
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        (a @ a).flatten()[0].item()  # .item() waits for the device
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def plan_line(plan: Plan) -> dict[str, int | float]:
    """The plan's own numbers, for a table: rows, distinct sequences, tokens as written and computed, padding share, bytes."""
    return {
        "rows": len(plan.rows),
        "sequences": len(plan.sequences),
        "tokens_text": plan.text_tokens,
        "tokens_computed": plan.computed_tokens,
        "padding_share": 1 - plan.needed_tokens / plan.computed_tokens,
        "bytes": plan.store_bytes,
        "truncated": plan.truncated,
    }
