"""Step 3a: texts. Every strength on selection prompts, the chosen one on test prompts, for methods and controls alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from probeshift.experiments.transfer.conditions import NONE, PROMPTED, Condition
from probeshift.experiments.transfer.study import EVALUATION, Study

if TYPE_CHECKING:
    import pandas as pd

    from probeshift.steering.interventions import Intervention
    from probeshift.steering.sweep import Generation

SELECTION, TEST, EQUAL_KL = "selection", "test", "equal side effect"
Strengths = Mapping[tuple[str, int, str], float]
"""By condition, draw and concept."""


@dataclass(frozen=True)
class Ask:
    """One text that is wanted: under which condition, for which concept, from which prompt, and what is done to the model."""

    split: str
    condition: str
    seed: int
    concept: str
    strength: float | None
    prompt: str
    said: str
    intervention: Intervention | None = None


@dataclass(frozen=True)
class Text:
    """A text that was asked for, written."""

    ask: Ask
    generation: Generation


def selection_asks(study: Study, conditions: Sequence[Condition]) -> list[Ask]:
    """Every condition, concept and strength on every selection prompt."""
    return [
        ask
        for one in conditions
        for concept in study.split.evaluated
        for strength in study.settings.strengths
        for ask in _steered(one, concept, strength, SELECTION, study.split.selection)
    ]


def base_asks(study: Study) -> list[Ask]:
    """The model as it is, and with the concept asked for in the prompt, on test prompts; as it is on selection prompts too."""
    asks = []
    for concept in study.concepts.values():
        for split, prompts in ((SELECTION, study.split.selection), (TEST, study.split.test)):
            asks += [Ask(split, NONE, 0, concept.id, None, prompt, prompt) for prompt in prompts]
        asks += [
            Ask(TEST, PROMPTED, 0, concept.id, None, prompt, f"{prompt} {concept.request}")
            for prompt in study.split.test
        ]
    return asks


def asks_at(study: Study, conditions: Sequence[Condition], strengths: Strengths, split: str) -> list[Ask]:
    """Test prompts at one strength per condition, draw and concept; those without a strength are left out."""
    found = []
    for one in conditions:
        for concept in study.split.evaluated:
            strength = strengths.get((one.name, one.seed, concept))
            if strength is not None:
                found += _steered(one, concept, strength, split, study.split.test)
    return found


def _steered(one: Condition, concept: str, strength: float, split: str, prompts: Sequence[str]) -> list[Ask]:
    from probeshift.steering.interventions import Intervention

    done = Intervention(one.vectors[concept], strength)
    return [Ask(split, one.name, one.seed, concept, strength, prompt, prompt, done) for prompt in prompts]


def write(study: Study, asks: Sequence[Ask], label: str) -> list[Text]:
    """All texts, in order; equal ones are written once, those of an earlier run not again.

    Raises:
        UsageError: a prompt and its text are longer than the model reads.
    """
    from probeshift.steering.contrasts import make_encoder
    from probeshift.steering.generation import Decoding
    from probeshift.steering.sweep import Sweep, SweepSettings, Task

    asked = study.settings.generation
    assert asked is not None
    model = study.model(study.settings.target)
    encoder = make_encoder(model.tokenizer)
    ids = {said: encoder.prompt_ids(said) for said in dict.fromkeys(ask.said for ask in asks)}
    tasks = [Task(ask.said, ids[ask.said], ask.intervention) for ask in asks]
    settings = SweepSettings(
        Decoding(asked.max_new_tokens, asked.temperature), seed=study.settings.seed, batch_rows=asked.batch_rows
    )
    sweep = Sweep(model, tasks, settings, study.folder(EVALUATION))
    first = dict(zip(sweep.keys, tasks, strict=True))
    written = Sweep(model, list(first.values()), settings, sweep.folder).run(study.told(label))
    by_key = dict(zip(first, written, strict=True))
    return [Text(ask, by_key[key]) for ask, key in zip(asks, sweep.keys, strict=True)]


def choose(table: pd.DataFrame, score: str) -> dict[tuple[str, int, str], float]:
    """The strength with the highest mean score on selection prompts, per condition, draw and concept; of equals the weakest."""
    steered = table[(table["split"] == SELECTION) & table["strength"].notna()]
    means = steered.groupby(["condition", "seed", "concept", "strength"], sort=True)[score].mean().reset_index()
    best = means.sort_values([score, "strength"], ascending=[False, True], kind="stable", na_position="last")
    firsts = best.groupby(["condition", "seed", "concept"], sort=False)["strength"].first()
    return {(str(c), int(s), str(k)): float(v) for (c, s, k), v in firsts.items()}
