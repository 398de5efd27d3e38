"""How likely texts are under a model, and how far steering moves its predictions: both per token of the continuation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from probeshift.errors import UsageError
from probeshift.models import LanguageModel
from probeshift.steering.forward import TokenIds, batches_by_length, require_causal, right_padded
from probeshift.steering.interventions import Intervention, steer

# Numbers a batch of predictions may hold: 128 MB in float32.
_LOGITS = 2**25


def continuation_nll(
    model: LanguageModel, sequences: Sequence[TokenIds], prompt_lengths: Sequence[int]
) -> list[float | None]:
    """Mean negative log-likelihood, in nats, of each row's tokens behind its prompt; None where nothing stands there.

    The very ids are scored, never text made into tokens again. The first token of a row without a prompt has no
    prediction and is left out.
    """
    found: list[float | None] = [None] * len(sequences)
    for rows in _batches(model, sequences, prompt_lengths):
        logits = _predictions(model, [sequences[r] for r in rows])
        for place, row in enumerate(rows):
            at, ids = _continuation(sequences[row], prompt_lengths[row], logits.device)
            losses = torch.nn.functional.cross_entropy(logits[place, at].float(), ids, reduction="none")
            found[row] = float(losses.double().mean())
    return found


def kl_from_unsteered(
    model: LanguageModel,
    sequences: Sequence[TokenIds],
    prompt_lengths: Sequence[int],
    interventions: Sequence[Intervention | None],
    *,
    positions: str = "all",
) -> list[float | None]:
    """Mean KL(steered || unsteered), in nats, of the predictions of each row's tokens behind its prompt; None without any.

    Both models read the same ids. On texts the steered model wrote this is the cost per token of steering it.
    """
    if not len(sequences) == len(prompt_lengths) == len(interventions):
        raise UsageError("kl_from_unsteered needs one prompt length and one intervention (or None) per sequence.")
    found: list[float | None] = [None] * len(sequences)
    for rows in _batches(model, sequences, prompt_lengths, copies=2):
        batch = [sequences[r] for r in rows]
        plain = _predictions(model, batch)
        lengths = [prompt_lengths[r] for r in rows]
        with steer(model, [interventions[r] for r in rows], positions=positions, prompt_lengths=lengths):
            steered = _predictions(model, batch)
        for place, row in enumerate(rows):
            at, _ = _continuation(sequences[row], prompt_lengths[row], plain.device)
            found[row] = _mean_kl(steered[place, at], plain[place, at])
    return found


def _mean_kl(ours: Tensor, reference: Tensor) -> float:
    log_p, log_q = (torch.log_softmax(logits.float(), -1).double() for logits in (ours, reference))
    return float((log_p.exp() * (log_p - log_q)).sum(-1).mean())


def _batches(
    model: LanguageModel, sequences: Sequence[TokenIds], prompt_lengths: Sequence[int], copies: int = 1
) -> Iterator[tuple[int, ...]]:
    """Rows that have a continuation, as many at a time as predictions of a whole vocabulary fit."""
    require_causal(model)
    scored = [i for i, s in enumerate(sequences) if len(s) > max(1, prompt_lengths[i])]
    tokens = max(1, _LOGITS // (copies * model.info.vocab_size))
    for batch in batches_by_length([len(sequences[i]) for i in scored], tokens=tokens):
        yield tuple(scored[i] for i in batch)


def _predictions(model: LanguageModel, sequences: Sequence[TokenIds]) -> Tensor:
    """Logits [row, token, vocabulary]."""
    with torch.inference_mode():
        return model.module(**right_padded(model, sequences)).logits


def _continuation(sequence: TokenIds, prompt_length: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Where each token behind the prompt is predicted (one token earlier), and its id."""
    first = max(1, prompt_length)
    at = torch.arange(first - 1, len(sequence) - 1, device=device)
    return at, torch.tensor(list(sequence[first:]), device=device)
