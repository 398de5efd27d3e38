"""What texts cost: their likelihood under the unsteered model, KL from it, and the strength of equal side effect; all kept."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeshift.errors import StoreError
from probeshift.experiments.transfer.study import EVALUATION, Study
from probeshift.provenance import publish, sha256_json

if TYPE_CHECKING:
    from probeshift.experiments.transfer.conditions import Condition
    from probeshift.experiments.transfer.writing import Text

_AT_ONCE = 128


def costs(study: Study, texts: Sequence[Text]) -> dict[str, dict[str, float | None]]:
    """By generation key: `nll` and `kl` in nats a token; `kl` is None for texts of the unsteered model."""
    folder = study.folder(EVALUATION) / "costs"
    known: dict[str, Any] = {}
    for path in sorted(folder.glob("*.json")):
        known |= _read(path)
    missing = list({t.generation.key: t for t in texts if t.generation.key not in known}.values())
    for start in range(0, len(missing), _AT_ONCE):
        found = _measure(study, missing[start : start + _AT_ONCE])
        publish(folder / f"{sha256_json(sorted(found))[:16]}.json", json.dumps(found))
        known |= found
        study.told("costs of texts")(min(start + _AT_ONCE, len(missing)), len(missing))
    return {t.generation.key: known[t.generation.key] for t in texts}


def _measure(study: Study, texts: Sequence[Text]) -> dict[str, dict[str, float | None]]:
    from probeshift.steering.likelihood import text_costs

    ids, lengths = _sequences(study, texts)
    given = [text.ask.intervention for text in texts]
    costs = text_costs(study.model(study.settings.target), ids, lengths, given)
    return {
        text.generation.key: {"nll": cost.nll, "kl": None if one is None else cost.kl}
        for text, one, cost in zip(texts, given, costs, strict=True)
    }


def _sequences(study: Study, texts: Sequence[Text]) -> tuple[list[tuple[int, ...]], list[int]]:
    from probeshift.steering.contrasts import make_encoder

    encoder = make_encoder(study.model(study.settings.target).tokenizer)
    prompts = [encoder.prompt_ids(t.ask.said) for t in texts]
    ids = [(*prompt, *t.generation.ids) for prompt, t in zip(prompts, texts, strict=True)]
    return ids, [len(prompt) for prompt in prompts]


def equal_strengths(
    study: Study, conditions: Sequence[Condition], plain: Sequence[Text]
) -> Iterator[tuple[tuple[str, int, str], dict[str, Any]]]:
    """Per condition, draw and concept the strength with the target KL on unsteered texts (`plain`), or why there is none."""
    from probeshift.steering.side_effect import strength_at_kl

    target, model = study.settings.kl_target, study.model(study.settings.target)
    assert target is not None
    ids, lengths = _sequences(study, list({t.generation.key: t for t in plain}.values())[: study.settings.kl_texts])
    wanted = [(one, concept) for one in conditions for concept in study.split.evaluated]
    for number, (one, concept) in enumerate(wanted):
        vector = one.vectors[concept]
        what = [ids, vector.direction.tobytes().hex(), vector.max_activation, vector.layer, target, vector.card.weights]
        path = study.folder(EVALUATION) / "equal_side_effect" / f"{sha256_json(what)[:16]}.json"
        if not path.exists():
            found = strength_at_kl(model, vector, ids, lengths, target=target)
            publish(path, json.dumps({"strength": found.strength, "kl": found.kl, "reason": found.reason}))
        study.told("equal side effect")(number + 1, len(wanted))
        yield (one.name, one.seed, concept), _read(path)


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(f"{path} is damaged ({error}). Remove it; what it held is measured again.") from error
