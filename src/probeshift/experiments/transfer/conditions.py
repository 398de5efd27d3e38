"""What is compared in the target: its own vectors, carried ones, and everything that must be beaten."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from probeshift.experiments.transfer import vectors as vector_step
from probeshift.experiments.transfer.maps import CONTROL, refusals
from probeshift.experiments.transfer.study import VECTORS, Study

if TYPE_CHECKING:
    from collections.abc import Mapping

    from probeshift.steering.maps.transfer_map import TransferMap
    from probeshift.steering.vectors import SteeringVector

NONE, PROMPTED, NATIVE, RANDOM, OTHER, MEAN = "none", "prompted", "native", "random", "other concept", "mean vector"
CONTROLS = (RANDOM, OTHER, MEAN, CONTROL)


@dataclass(frozen=True)
class Condition:
    """One kind of vector, one vector per concept; `seed` tells draws of the same control apart."""

    name: str
    seed: int
    vectors: Mapping[str, SteeringVector]

    @property
    def key(self) -> str:
        """Name and seed as one word."""
        return f"{self.name.replace(' ', '-')}-{self.seed}"


def build(study: Study, fitted: Mapping[str, list[TransferMap]]) -> list[Condition]:
    """Native vectors, one condition per map and draw, and the controls, each with a unit of strength in the target."""
    from probeshift.steering.controls import random_vector

    evaluated = study.split.evaluated
    native = _own(study, study.settings.target, evaluated)
    ready = _measured(study, [*_carried(study, fitted), *_mean(study)])
    found = [Condition(NATIVE, 0, native), *(one for one in ready if one.name != MEAN)]
    found += [
        Condition(RANDOM, seed, {c: random_vector(v, _draw(study, seed, c)) for c, v in native.items()})
        for seed in range(study.settings.controls.random)
    ]
    following = dict(zip(evaluated, (*evaluated[1:], evaluated[0]), strict=True))
    found.append(Condition(OTHER, 0, {c: native[following[c]] for c in evaluated}))
    found += [one for one in ready if one.name == MEAN]
    _save(study, found)
    return found


def _carried(study: Study, fitted: Mapping[str, list[TransferMap]]) -> list[Condition]:
    """The source's vectors through each map, not measured yet."""
    from probeshift.steering.maps.transfer_map import transfer

    source = _own(study, study.settings.source, study.split.evaluated)
    kept = [(m, n, one) for m, maps in fitted.items() for n, one in enumerate(maps[: _draws(study, m)])]
    return [Condition(method, n, {c: transfer(v, one) for c, v in source.items()}) for method, n, one in kept]


def _mean(study: Study) -> list[Condition]:
    """The mean of the other concepts' native vectors in the place of each, not measured yet; none without other concepts."""
    from probeshift.steering.controls import mean_vector

    if not study.split.fit:
        return []
    mean = mean_vector(list(_own(study, study.settings.target, study.split.fit).values()))
    cards = {c: replace(mean.card, concept=c, max_activation=None) for c in study.split.evaluated}
    return [Condition(MEAN, 0, {c: replace(mean, card=card) for c, card in cards.items()})]


def missing_conditions(study: Study) -> dict[str, str]:
    """Conditions that a table must name although they could not be made, with the reason."""
    missing = {m: why for m, why in refusals(study).items() if m in study.settings.methods}
    if not study.split.fit:
        missing[MEAN] = "no concepts beside the evaluated ones"
    return missing


def _draws(study: Study, method: str) -> int:
    return study.settings.controls.shuffled if method == CONTROL else 1


def _own(study: Study, name: str, concepts: tuple[str, ...]) -> dict[str, SteeringVector]:
    found = vector_step.load(study, name)
    return {concept: found[concept] for concept in concepts}


def _measured(study: Study, conditions: list[Condition]) -> list[Condition]:
    """The conditions, each vector with its unit of strength in the target; one pass over the rows for all."""
    from probeshift.steering.units import with_units

    model, rows = study.model(study.settings.target), study.rows("vector", study.split.evaluated)
    vectors = [vector for one in conditions for vector in one.vectors.values()]
    told = study.told("units in the target")
    measured = iter(with_units(model, vectors, rows, **study.reading(study.settings.target), on_progress=told))
    return [replace(one, vectors={c: next(measured) for c in one.vectors}) for one in conditions]


def _draw(study: Study, seed: int, concept: str) -> int:
    from probeshift.provenance import sha256_json

    return int(sha256_json([study.settings.seed, seed, concept])[:8], 16)


def _save(study: Study, conditions: list[Condition]) -> None:
    """Every carried vector and control, for `probeshift steer` and for whoever wants to look."""
    from probeshift.steering.vectors import save_vectors

    for one in conditions:
        renamed = [replace(v, card=replace(v.card, concept=c)) for c, v in one.vectors.items()]
        save_vectors(study.folder(VECTORS) / "in_target" / f"{one.key}.safetensors", renamed)
