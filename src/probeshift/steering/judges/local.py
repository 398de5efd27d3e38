"""A judge on this machine: the rating expected from a model's probabilities of the tokens 0, 1 and 2. Needs no key.

Nothing is generated: one pass reads the next-token logits behind "Rating: [[". Deterministic up to the rounding of the batch.
Small models are weak judges: their measured quality (see `quality`) says how weak.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from probeshift.errors import UsageError
from probeshift.models import LanguageModel, render_prompt, template_hash, tokenizer_hash, weight_hash
from probeshift.steering.judges.judge import Asked, Keep, Rating
from probeshift.steering.judges.rubrics import HIGHEST, REMINDER, prompt_for

_BEGINNING = "Rating: [["
_DIGITS = tuple(str(number) for number in range(HIGHEST + 1))
TOO_LONG = "longer than the judge can read"
NOT_FINITE = "the judge's logits are not finite"


@dataclass(frozen=True)
class LocalJudge:
    """A loaded causal model as judge; with a chat template it is asked through it. `batch_tokens` bounds a batch, padding
    included."""

    model: LanguageModel
    batch_tokens: int = 4096

    def __post_init__(self) -> None:
        if not self.model.info.causal:
            raise UsageError(f"`{self.model.info.name}` predicts no next token and cannot judge. Name a causal model.")
        _ = self._digit_ids

    @property
    def name(self) -> str:
        """What stands beside its scores."""
        return f"{self.model.info.name} (local, expected rating)"

    @cached_property
    def identity(self) -> Mapping[str, Any]:
        """Weights, tokenizer, template and dtype: everything its answers depend on."""
        model = self.model
        return {
            "backend": "hf",
            "model": model.info.name,
            "weights": weight_hash(model.info),
            "tokenizer": tokenizer_hash(model.tokenizer),
            "template": template_hash(model.tokenizer),
            "dtype": str(model.dtype),
            "device": model.device.type,
            "beginning": _BEGINNING,
        }

    @property
    def longest_reply(self) -> int:
        """Nothing is written."""
        return 0

    def prompt(self, asked: Asked) -> str:
        """The whole text the model reads, up to where it would write the digit."""
        words = prompt_for(asked.rubric, asked.sample, turn_markers=self._turn_markers) + f"\n\n{REMINDER}"
        tokenizer = self.model.tokenizer
        if not tokenizer.chat_template:
            return f"{words}\n\n{_BEGINNING}"
        return render_prompt(tokenizer, words) + _BEGINNING

    def answer(self, questions: Sequence[Asked], keep: Keep) -> None:
        """Rate all questions, longest first, in batches (see `Judge.answer`)."""
        rows = [self._encode(self.prompt(asked)) for asked in questions]
        most = self.model.info.max_tokens or math.inf
        for index, row in enumerate(rows):
            if len(row) > most:
                keep(index, Rating(None, TOO_LONG, prompt_tokens=len(row), completion_tokens=0))
        order = sorted((i for i in range(len(rows)) if len(rows[i]) <= most), key=lambda i: -len(rows[i]))
        for batch in _batches(order, [len(row) for row in rows], self.batch_tokens):
            begun = time.monotonic()
            logits = self._logits([rows[index] for index in batch])
            seconds = (time.monotonic() - begun) / len(batch)
            for index, row_logits in zip(batch, logits, strict=True):
                keep(index, self._rating(row_logits, len(rows[index]), seconds))

    def _rating(self, logits: torch.Tensor, n_tokens: int, seconds: float) -> Rating:
        counts: dict[str, Any] = {"calls": 1, "prompt_tokens": n_tokens, "completion_tokens": 0, "seconds": seconds}
        if not bool(torch.isfinite(logits[list(self._digit_ids)]).all()):
            return Rating(None, NOT_FINITE, **counts)
        among_all = logits.softmax(-1)[list(self._digit_ids)]
        shares = logits[list(self._digit_ids)].softmax(-1).tolist()
        value = sum(number * share for number, share in enumerate(shares))
        said = ", ".join(f"P({number})={share:.4f}" for number, share in enumerate(shares))
        return Rating(value, replies=(f"{said}; together {float(among_all.sum()):.4f} of all tokens",), **counts)

    @torch.inference_mode()
    def _logits(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Next-token logits [row, token] in float64. Padded on the right, where a causal model looks at nothing."""
        longest, device = max(map(len, rows)), self.model.device
        ids = torch.tensor([[*row, *([0] * (longest - len(row)))] for row in rows], device=device)
        ends = torch.tensor([len(row) - 1 for row in rows], device=device)
        inputs: dict[str, Any] = {"input_ids": ids, "use_cache": False}
        takes = inspect.signature(self.model.module.forward).parameters
        if "position_ids" in takes:
            inputs["position_ids"] = torch.arange(longest, device=device).expand(len(rows), -1)
        if "logits_to_keep" not in takes:
            return self.model.module(**inputs).logits[torch.arange(len(rows)), ends].double().cpu()
        kept, where = ends.unique(return_inverse=True)
        logits = self.model.module(**inputs, logits_to_keep=kept).logits
        return logits[torch.arange(len(rows), device=device), where].double().cpu()

    @cached_property
    def _turn_markers(self) -> tuple[str, ...]:
        tokenizer = self.model.tokenizer
        added = [str(token) for token in tokenizer.added_tokens_decoder.values() if token.special]
        return tuple(sorted({*tokenizer.all_special_tokens, *added}))

    @cached_property
    def _digit_ids(self) -> tuple[int, ...]:
        """The tokens that continue the beginning with 0, 1 and 2.

        Raises:
            UsageError: the tokenizer writes a digit there with more than one token, or joins it with what is before.
        """
        before = self._encode(_BEGINNING)
        behind = [self._encode(_BEGINNING + digit) for digit in _DIGITS]
        if any(ids[:-1] != before for ids in behind):
            raise UsageError(
                f"`{self.model.info.name}` does not write 0, 1 and 2 as single tokens, so its rating cannot be read from "
                "logits. Name another local model, or serve this one and use backend openai."
            )
        return tuple(ids[-1] for ids in behind)

    def _encode(self, text: str) -> list[int]:
        # A rendered chat prompt has its own BOS.
        return self.model.tokenizer(text, add_special_tokens=not self.model.tokenizer.chat_template)["input_ids"]


def _batches(order: Sequence[int], lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Runs of `order` (longest first) whose padded size stays within `most` tokens; at least one row each."""
    start = 0
    while start < len(order):
        size = max(1, most // lengths[order[start]])
        yield list(order[start : start + size])
        start += size
