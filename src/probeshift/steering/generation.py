"""Text from a batch of prompts, every row steered in its own way.

Prompts are padded on the left, with mask and position ids said explicitly; a batch of equal lengths has neither padding
nor mask. Rows that have ended leave the batch. A sampled row draws from its own random numbers, so what it says does not
depend on the rows beside it (but for rounding).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from probeshift.errors import UsageError
from probeshift.models import LanguageModel
from probeshift.steering.forward import TokenIds, require_causal, require_context, takes
from probeshift.steering.interventions import Intervention, Steering, steer

# The batch is cut down once so large a share of its rows has ended: cutting copies the cached keys.
_ENDED_SHARE = 0.25


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen: the likeliest at temperature 0, else drawn; at most `max_new_tokens` of them.

    Raises:
        UsageError: no token may be written, or a negative temperature.
    """

    max_new_tokens: int = 128
    temperature: float = 0.0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1 or not self.temperature >= 0:
            raise UsageError("--max-new-tokens must be at least 1 and --temperature at least 0.")


@dataclass(frozen=True)
class Written:
    """Generated token ids, the end token not among them; `ended` says whether the model came to an end by itself."""

    ids: tuple[int, ...]
    ended: bool


def generate(
    model: LanguageModel,
    prompts: Sequence[TokenIds],
    interventions: Sequence[Intervention | None],
    *,
    decoding: Decoding,
    positions: str = "all",
    seeds: Sequence[int] | None = None,
) -> list[Written]:
    """One batch of continuations, in the order of the prompts. `seeds` (one a row) are needed above temperature 0.

    Raises:
        UsageError: the model writes no text, or prompt and continuation are longer than it reads.
    """
    require_causal(model)
    require_context(model, max(map(len, prompts)) + decoding.max_new_tokens)
    if decoding.temperature > 0 and seeds is None:
        raise UsageError("sampling needs a seed per row.")
    lengths = [len(p) for p in prompts]
    batch = _Batch(model, prompts)
    draws = None if not decoding.temperature else [torch.Generator().manual_seed(s) for s in seeds or ()]
    written: list[list[int]] = [[] for _ in prompts]
    ended = [False] * len(prompts)
    ends = end_tokens(model)
    with torch.inference_mode(), steer(model, interventions, positions=positions, prompt_lengths=lengths) as steering:
        logits = batch.read_prompts()
        for step in range(decoding.max_new_tokens):
            chosen = _choose(logits, batch.rows, draws, decoding.temperature)
            for row, token in zip(batch.rows, chosen.tolist(), strict=True):
                if not ended[row]:
                    ended[row] = token in ends
                    written[row] += [] if ended[row] else [token]
            alive = [place for place, row in enumerate(batch.rows) if not ended[row]]
            if not alive or step + 1 == decoding.max_new_tokens:
                break
            if len(alive) <= (1 - _ENDED_SHARE) * len(batch.rows):
                chosen = batch.keep(alive, chosen, steering)
            logits = batch.read_next(chosen)
    return [Written(tuple(ids), end) for ids, end in zip(written, ended, strict=True)]


def end_tokens(model: LanguageModel) -> frozenset[int]:
    """Ids at which a text ends: those of the generation config, and the tokenizer's end token."""
    config = getattr(model.module, "generation_config", None)
    named = getattr(config, "eos_token_id", None)
    many = named if isinstance(named, list) else [named]
    return frozenset(t for t in (*many, model.tokenizer.eos_token_id) if t is not None)


def _choose(logits: Tensor, rows: Sequence[int], draws: Sequence[torch.Generator] | None, temperature: float) -> Tensor:
    if draws is None:
        return logits.argmax(-1)
    # argmax(logits / T + Gumbel noise) is a draw from softmax(logits / T), with the row's own noise.
    noise = torch.stack([torch.rand(logits.shape[-1], generator=draws[row]) for row in rows]).to(logits.device)
    return (logits.float() / temperature - torch.log(-torch.log(noise.clamp_min(1e-20)))).argmax(-1)


class _Batch:
    """Prompts padded on the left, their cached keys, and which rows are still written. `rows` are indices of prompts."""

    def __init__(self, model: LanguageModel, prompts: Sequence[TokenIds]) -> None:
        from transformers import DynamicCache

        self.model, self.rows = model, list(range(len(prompts)))
        longest = max(map(len, prompts))
        missing = torch.tensor([longest - len(p) for p in prompts], device=model.device)
        self.ids = torch.tensor([[*([0] * (longest - len(p))), *p] for p in prompts], device=model.device)
        columns = torch.arange(longest, device=model.device)
        self.mask = (columns >= missing[:, None]).long() if missing.any() else None
        self.positions = (columns - missing[:, None]).clamp_min(0)
        self.cache = DynamicCache(config=model.info.config)

    def read_prompts(self) -> Tensor:
        """Logits [row, vocabulary] for the first new token."""
        return self._forward(self.ids)

    def read_next(self, chosen: Tensor) -> Tensor:
        """Logits for the token behind the chosen ones."""
        self.positions = self.positions[:, -1:] + 1
        if self.mask is not None:
            self.mask = torch.cat([self.mask, self.mask.new_ones(len(chosen), 1)], dim=1)
        return self._forward(chosen[:, None])

    def keep(self, places: Sequence[int], chosen: Tensor, steering: Steering) -> Tensor:
        """Drop all other rows; returns the chosen tokens that are left."""
        kept = torch.tensor(places, device=self.model.device)
        self.rows = [self.rows[place] for place in places]
        self.positions = self.positions[kept]
        self.mask = None if self.mask is None else self.mask[kept]
        self.cache.batch_select_indices(kept)
        steering.keep(kept)
        return chosen[kept]

    def _forward(self, ids: Tensor) -> Tensor:
        inputs: dict[str, Any] = {"input_ids": ids, "past_key_values": self.cache, "use_cache": True}
        if takes(self.model, "position_ids"):
            inputs["position_ids"] = self.positions
        if self.mask is not None:
            inputs["attention_mask"] = self.mask
        if takes(self.model, "logits_to_keep"):
            inputs["logits_to_keep"] = 1
        return self.model.module(**inputs).logits[:, -1]
