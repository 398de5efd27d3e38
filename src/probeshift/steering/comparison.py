"""One vector at several strengths beside the model as it is: texts, and what steering costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from probeshift.models import LanguageModel
from probeshift.steering.contrasts import Encoder
from probeshift.steering.interventions import Intervention
from probeshift.steering.likelihood import continuation_nll, kl_from_unsteered
from probeshift.steering.sweep import Sweep, SweepSettings, Task
from probeshift.steering.vectors import SteeringVector


@dataclass(frozen=True)
class SteeredText:
    """What the model wrote at one strength; None is the model as it is.

    `kl` is the mean KL(steered || unsteered) per generated token, `nll` the mean negative log-likelihood of the generated
    tokens under the unsteered model, both in nats; None where nothing was written.
    """

    prompt: str
    strength: float | None
    text: str
    n_tokens: int
    ended: bool
    kl: float | None
    nll: float | None

    @property
    def perplexity(self) -> float | None:
        return None if self.nll is None else math.exp(self.nll)


def compare_strengths(
    model: LanguageModel,
    vector: SteeringVector,
    prompts: Sequence[str],
    strengths: Sequence[float],
    *,
    encoder: Encoder,
    settings: SweepSettings,
    folder: Path,
    operator: str = "add",
    on_progress: Callable[[int, int], None] | None = None,
) -> list[SteeredText]:
    """For each prompt the model as it is, then every strength in the given order.

    Raises:
        UsageError: the vector does not fit the model, or prompts and texts are longer than it reads.
    """
    chosen = [None, *(Intervention(vector, strength, operator) for strength in strengths)]
    tasks = [Task(prompt, encoder.prompt_ids(prompt), one) for prompt in prompts for one in chosen]
    written = Sweep(model, tasks, settings, folder).run(on_progress)
    ids = [(*task.prompt, *one.ids) for task, one in zip(tasks, written, strict=True)]
    lengths = [len(task.prompt) for task in tasks]
    nlls = continuation_nll(model, ids, lengths)
    done = [task.intervention for task in tasks]
    kls = kl_from_unsteered(model, ids, lengths, done, positions=settings.positions)
    return [
        SteeredText(task.prompt_id, one.strength, one.text, len(one.ids), one.ended, kl, nll)
        for task, one, kl, nll in zip(tasks, written, kls, nlls, strict=True)
    ]
