"""The steering demo: a rule's DiffMean vector, made from bundled answers, steers a real model. Under a minute on a CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probeshift.steering.comparison import SteeredText
    from probeshift.steering.vectors import SteeringVector

MODEL, LAYER, RULE, PROMPT = "smollm2-135m", 20, "language", "What is a rainbow?"
STRENGTHS = (0.5, 1.3)
_PAIRS, _TOKENS = 16, 40


def demonstrate(
    on_progress: Callable[[str, int, int], None] | None = None,
) -> tuple[SteeringVector, list[SteeredText], list[bool]]:
    """The vector, the model's text as it is and at each strength, and whether each follows the rule in a text worth reading.

    Raises:
        MissingError: the model is not on this machine.
    """
    from probeshift.models import load_model
    from probeshift.provenance import cache_root
    from probeshift.steering.comparison import compare_strengths
    from probeshift.steering.contrasts import Contrast, make_encoder
    from probeshift.steering.diffmean import diffmean, with_max_activations
    from probeshift.steering.generation import Decoding
    from probeshift.steering.rules import follows, rule
    from probeshift.steering.sweep import SweepSettings

    model, known = load_model(MODEL), rule(RULE)
    rows = [
        Contrast(RULE, pair.instruction, said, positive)
        for pair in known.pairs()[:_PAIRS]
        for said, positive in pair.answers
    ]

    def told(label: str) -> Callable[[int, int], None]:
        return lambda done, total: on_progress(label, done, total) if on_progress else None

    vectors = diffmean(model, rows, [LAYER], on_progress=told("vector"))[LAYER]
    vector = with_max_activations(model, vectors, rows, on_progress=told("unit of strength"))[RULE]
    texts = compare_strengths(
        model, {RULE: vector}, [PROMPT], STRENGTHS, encoder=make_encoder(model.tokenizer),
        settings=SweepSettings(Decoding(_TOKENS)), folder=cache_root() / "steering" / MODEL, on_progress=told("writing"),
    )  # fmt: skip
    return vector, texts, [follows(known, text.text).useful for text in texts]
