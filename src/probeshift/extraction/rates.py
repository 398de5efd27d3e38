"""Tokens per second of this machine: kept by runs that were long enough to tell, read by estimates."""

from __future__ import annotations

import json
from pathlib import Path

from probeshift.models import LanguageModel, ModelInfo
from probeshift.provenance import cache_root, publish


def _rates_file() -> Path:
    return cache_root() / "rates.json"


def remember_rate(model: LanguageModel, tokens: int, seconds: float) -> None:
    """Keep tokens per second of long enough runs, for the next plan's estimate."""
    if seconds < 1:
        return
    rates = known_rates()
    rates[rate_key(model.info, model.device.type, str(model.dtype).removeprefix("torch."))] = tokens / seconds
    publish(_rates_file(), json.dumps(rates, indent=1))


def known_rates() -> dict[str, float]:
    """Tokens per second measured on this machine, by `rate_key`."""
    return json.loads(_rates_file().read_text()) if _rates_file().exists() else {}


def rate_key(info: ModelInfo, device: str, dtype: str) -> str:
    return f"{info.config_hash[:16]} {device} {dtype}"
