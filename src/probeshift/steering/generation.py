"""Text from a batch of prompts, every row steered in its own way.

Prompts are padded on the left, with mask and position ids said explicitly; a batch of equal lengths has neither padding
nor mask. Rows that have ended leave the batch. A sampled row draws from its own random numbers, so what it says does not
depend on the rows beside it (but for rounding).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from probeshift.errors import UsageError
from probeshift.models import LanguageModel
from probeshift.steering.forward import TokenIds, require_causal, require_context
from probeshift.steering.interventions import Intervention, steer
from probeshift.steering.prompt_batch import PromptBatch, shared_prefix
from probeshift.steering.single_query import quick_single_queries

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
    draws = None if not decoding.temperature else [torch.Generator().manual_seed(s) for s in seeds or ()]
    texts = _Texts(len(prompts), end_tokens(model))
    with torch.inference_mode(), quick_single_queries():
        batch = _begin(model, prompts, interventions, positions)
        with steer(model, interventions, positions=positions, prompt_lengths=lengths) as steering:
            logits = batch.read_prompts()
            for step in range(decoding.max_new_tokens):
                chosen = _choose(logits, batch.rows, draws, decoding.temperature)
                alive = texts.extend(batch.rows, chosen.tolist())
                if not alive or step + 1 == decoding.max_new_tokens:
                    break
                if len(alive) <= (1 - _ENDED_SHARE) * len(batch.rows):
                    places = torch.tensor(alive, device=model.device)
                    batch.keep(places)
                    steering.keep(places)
                    chosen = chosen[places]
                logits = batch.read_next(chosen)
    return texts.written()


def _begin(
    model: LanguageModel, prompts: Sequence[TokenIds], interventions: Sequence[Intervention | None], positions: str
) -> PromptBatch:
    """The batch, with what its prompts share already read where that saves work."""
    batch = PromptBatch(model, prompts)
    treatments = [None if positions == "generated" else treatment(one) for one in interventions]
    prefix = shared_prefix(prompts, treatments) if batch.may_share() else None
    if prefix is not None:
        leaders = [interventions[row] for row in prefix.leaders]
        lengths = [len(prompts[row]) for row in prefix.leaders]
        with steer(model, leaders, positions=positions, prompt_lengths=lengths):
            batch.read_prefix(prefix)
    batch.read_below(min((site for one in interventions if one for site in one.sites), default=model.info.n_layers - 1))
    return batch


def treatment(intervention: Intervention | None) -> Hashable:
    """Equal for rows whose prompts are steered alike."""
    one = intervention
    return None if one is None else (id(one.vector), one.strength, one.operator, one.sites)


class _Texts:
    """Tokens written so far, by row."""

    def __init__(self, n_rows: int, ends: frozenset[int]) -> None:
        self.ids: list[list[int]] = [[] for _ in range(n_rows)]
        self.ended = [False] * n_rows
        self.ends = ends

    def extend(self, rows: Sequence[int], tokens: Sequence[int]) -> list[int]:
        """Add a token to each row that has not ended; returns the places of those that still have not."""
        for row, token in zip(rows, tokens, strict=True):
            if not self.ended[row]:
                self.ended[row] = token in self.ends
                self.ids[row] += [] if self.ended[row] else [token]
        return [place for place, row in enumerate(rows) if not self.ended[row]]

    def written(self) -> list[Written]:
        return [Written(tuple(ids), ended) for ids, ended in zip(self.ids, self.ended, strict=True)]


def end_tokens(model: LanguageModel) -> frozenset[int]:
    """Ids at which a text ends: those of the generation config, and the tokenizer's end token."""
    config = getattr(model.module, "generation_config", None)
    named = getattr(config, "eos_token_id", None)
    many = named if isinstance(named, list) else [named]
    return frozenset(t for t in (*many, model.tokenizer.eos_token_id) if t is not None)


def _choose(logits: Tensor, rows: Sequence[int], draws: Sequence[torch.Generator] | None, temperature: float) -> Tensor:
    if draws is None:
        return logits.max(-1).indices  # argmax is five times slower in bfloat16 on a CPU
    # argmax(logits / T + Gumbel noise) is a draw from softmax(logits / T), with the row's own noise.
    noise = torch.stack([torch.rand(logits.shape[-1], generator=draws[row]) for row in rows]).to(logits.device)
    return (logits.float() / temperature - torch.log(-torch.log(noise.clamp_min(1e-20)))).argmax(-1)
