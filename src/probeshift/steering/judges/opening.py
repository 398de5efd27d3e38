"""From settings to a judge. Strict: unknown keys are refused."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from probeshift.errors import UsageError
from probeshift.steering.judges.endpoint import DEFAULT_BASE_URL, EndpointJudge
from probeshift.steering.judges.estimate import Prices
from probeshift.steering.judges.judge import Judge
from probeshift.steering.judges.retrying import Retries
from probeshift.steering.judges.scoring import MOST_MISSING


class PriceSettings(BaseModel):
    """Prices of the judge, in US dollars per million tokens."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    prompt: float = Field(ge=0)
    """Tokens sent."""
    reply: float = Field(ge=0)
    """Tokens received."""
    as_of: str
    """The day the prices were looked up, YYYY-MM-DD."""


class JudgeSettings(BaseModel):
    """Who judges generated text, and how it is reached."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    backend: Literal["none", "hf", "openai"] = "none"
    """none: rules only. hf: a model on this machine. openai: any OpenAI-compatible endpoint."""
    model: str | None = None
    """The judge's model: a name the endpoint knows, or a model of `probeshift models` for hf."""
    base_url: str | None = None
    """Address of the endpoint, with /v1. Without it the variable OPENAI_BASE_URL, else OpenAI."""
    key_variable: str = "OPENAI_API_KEY"
    """Environment variable that holds the key. The key itself is never written in a file."""
    temperature: float | None = Field(0.0, ge=0)
    """Sampling temperature of the endpoint's replies; None sends none, for models that refuse it."""
    max_tokens: int = Field(256, ge=16)
    """Longest reply of the endpoint, in tokens."""
    length_parameter: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the endpoint calls the longest reply; newer models know max_completion_tokens only."""
    seed: int | None = None
    """Sampling seed sent to the endpoint; None sends none."""
    concurrency: int = Field(16, ge=1, le=256)
    """Calls in flight at once."""
    timeout: float = Field(60.0, gt=0)
    """Seconds until one call is given up."""
    max_retries: int = Field(5, ge=0)
    """Further tries after failures that may pass."""
    most_missing: float = Field(MOST_MISSING, ge=0, le=1)
    """Largest share of ratings that may be missing before the run fails."""
    prices: PriceSettings | None = None
    """Prices for the cost estimate; without them the cost is said to be unknown."""
    dtype: str = "auto"
    """dtype of a local judge."""
    device: str = "auto"
    """Device of a local judge."""

    @property
    def price_table(self) -> Prices | None:
        """The prices as the estimate takes them."""
        return Prices(**self.prices.model_dump()) if self.prices else None


def open_judge(settings: JudgeSettings) -> Judge | None:
    """The judge that settings describe; None for backend none. A local model is loaded here.

    Raises:
        UsageError: no model named, or one that cannot judge.
        MissingError: a local model that is not on this machine.
    """
    if settings.backend == "none":
        return None
    if not settings.model:
        raise UsageError(f"judge backend {settings.backend} needs a model. Set `model` of the judge, e.g. gpt-4o-mini.")
    if settings.backend == "hf":
        return _local(settings.model, settings)
    return EndpointJudge(
        model=settings.model,
        base_url=settings.base_url or os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL,
        key_variable=settings.key_variable,
        temperature=settings.temperature,
        max_tokens=settings.max_tokens,
        length_parameter=settings.length_parameter,
        seed=settings.seed,
        concurrency=settings.concurrency,
        timeout=settings.timeout,
        retries=Retries(most=settings.max_retries),
    )


def _local(model: str, settings: JudgeSettings) -> Judge:
    from probeshift.models import load_model
    from probeshift.steering.judges.local import LocalJudge

    return LocalJudge(load_model(model, dtype=settings.dtype, device=settings.device))
