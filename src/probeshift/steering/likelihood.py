"""How likely texts are under a model, and how far steering moves its predictions: both per token of the continuation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from probeshift.errors import UsageError
from probeshift.models import LanguageModel
from probeshift.steering.forward import TokenIds, batches_by_length, require_causal, right_padded, takes
from probeshift.steering.interventions import Intervention, steer

# Numbers a batch of predictions may hold: 128 MB in float32.
_LOGITS = 2**25


@dataclass(frozen=True)
class TextCost:
    """Of the tokens behind a row's prompt, in nats a token; None where nothing stands there.

    `nll` is their mean negative log-likelihood under the unsteered model, `kl` the mean KL(steered || unsteered) of their
    predictions, both models reading the same ids: on texts the steered model wrote, the cost of steering it.
    """

    nll: float | None = None
    kl: float | None = None


def text_costs(
    model: LanguageModel,
    sequences: Sequence[TokenIds],
    prompt_lengths: Sequence[int],
    interventions: Sequence[Intervention | None],
    *,
    positions: str = "all",
) -> list[TextCost]:
    """Both costs per row, from one unsteered and one steered pass; a row without an intervention has a KL of 0 and needs one.

    The very ids are scored, never text made into tokens again. The first token of a row without a prompt has no
    prediction and is left out.
    """
    if not len(sequences) == len(prompt_lengths) == len(interventions):
        raise UsageError("Costs of texts need one prompt length and one intervention (or None) per sequence.")
    require_causal(model)
    found = [TextCost()] * len(sequences)
    for treated in (False, True):
        of_kind = [i for i, one in enumerate(interventions) if (one is not None) == treated]
        for rows in _batches(model, of_kind, sequences, prompt_lengths, copies=1 + treated):
            batch, lengths = [sequences[r] for r in rows], [prompt_lengths[r] for r in rows]
            plain = _predictions(model, batch, lengths)
            nlls = [_mean_nll(logits, ids, at) for logits, ids, at in zip(plain, batch, lengths, strict=True)]
            kls = [0.0] * len(rows)
            if treated:
                with steer(model, [interventions[r] for r in rows], positions=positions, prompt_lengths=lengths):
                    kls = [_mean_kl(*both) for both in zip(_predictions(model, batch, lengths), plain, strict=True)]
            for row, nll, kl in zip(rows, nlls, kls, strict=True):
                found[row] = TextCost(nll, kl)
    return found


def continuation_nll(
    model: LanguageModel, sequences: Sequence[TokenIds], prompt_lengths: Sequence[int]
) -> list[float | None]:
    """`TextCost.nll` of each row."""
    return [cost.nll for cost in text_costs(model, sequences, prompt_lengths, [None] * len(sequences))]


def kl_from_unsteered(
    model: LanguageModel,
    sequences: Sequence[TokenIds],
    prompt_lengths: Sequence[int],
    interventions: Sequence[Intervention | None],
    *,
    positions: str = "all",
) -> list[float | None]:
    """`TextCost.kl` of each row."""
    return [cost.kl for cost in text_costs(model, sequences, prompt_lengths, interventions, positions=positions)]


def _mean_nll(logits: Tensor, sequence: TokenIds, prompt_length: int) -> float:
    ids = torch.tensor(list(sequence[max(1, prompt_length) :]), device=logits.device)
    return float(torch.nn.functional.cross_entropy(logits.float(), ids, reduction="none").double().mean())


def _mean_kl(ours: Tensor, reference: Tensor) -> float:
    log_p, log_q = (torch.log_softmax(logits.float(), -1).double() for logits in (ours, reference))
    return float((log_p.exp() * (log_p - log_q)).sum(-1).mean())


def _batches(
    model: LanguageModel,
    rows: Sequence[int],
    sequences: Sequence[TokenIds],
    prompt_lengths: Sequence[int],
    copies: int,
) -> Iterator[tuple[int, ...]]:
    """Rows that have a continuation, as many at a time as predictions of a whole vocabulary fit."""
    scored = [i for i in rows if len(sequences[i]) > max(1, prompt_lengths[i])]
    tokens = max(1, _LOGITS // (copies * model.info.vocab_size))
    for batch in batches_by_length([len(sequences[i]) for i in scored], tokens=tokens):
        yield tuple(scored[i] for i in batch)


def _predictions(model: LanguageModel, sequences: Sequence[TokenIds], prompt_lengths: Sequence[int]) -> list[Tensor]:
    """Logits [token, vocabulary] per row: what is predicted of each token behind its prompt, one token earlier."""
    starts, ends = [max(1, one) - 1 for one in prompt_lengths], [len(ids) - 1 for ids in sequences]
    inputs, first = right_padded(model, sequences), 0
    if takes(model, "logits_to_keep"):  # a vocabulary is wide: predictions within prompts are not made
        first = min(starts)
        inputs["logits_to_keep"] = torch.arange(first, max(ends), device=model.device)
    with torch.inference_mode():
        logits = model.module(**inputs).logits
    return [row[start - first : end - first] for row, start, end in zip(logits, starts, ends, strict=True)]
