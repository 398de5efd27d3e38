"""Cosines and detection: what can be said of carried vectors without writing a word."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from probeshift.experiments.transfer import vectors as vector_step
from probeshift.experiments.transfer.conditions import NATIVE, Condition
from probeshift.experiments.transfer.maps import CONTROL
from probeshift.experiments.transfer.study import Study

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from probeshift.steering.maps.transfer_map import TransferMap


def cosine_rows(study: Study, conditions: Sequence[Condition], fitted: Mapping[str, list[TransferMap]]) -> pd.DataFrame:
    """One row per condition, draw and concept: cosines with the native vector, its rank, and the split-half ceiling.

    `cosine_halves` compares the vector carried from one half of the rows with the native vector of the other half, the mean of
    both ways; `split_half` the native vectors of both halves. A perfect map has the same of both: their ratio is 1.
    """
    import pandas as pd

    from probeshift.steering.geometry import closeness

    evaluated = study.split.evaluated
    native = {c: v.direction for c, v in vector_step.load(study, study.settings.target).items()}
    fit = [native[c].astype(np.float64) for c in study.split.fit]
    common = np.mean(fit, axis=0) if fit else None
    halves = _half_cosines(study, fitted, common)
    rows: list[dict[str, Any]] = []
    for name, seed, directions in _directions(study, conditions, fitted):
        for concept, found in closeness(directions, {c: native[c] for c in evaluated}, common).items():
            own = {f"{k}_halves": v for k, v in halves.get((name, seed, concept), {}).items()}
            ceiling = {f"split_half_{k}": v for k, v in halves[NATIVE, 0, concept].items()}
            rows.append({"condition": name, "seed": seed, "concept": concept, **vars(found), **own, **ceiling})
    return pd.DataFrame(rows)


def detection_rows(study: Study, conditions: Sequence[Condition]) -> pd.DataFrame:
    """One row per condition, draw and concept: AUROC of the vector on rows it was not made from, and how many."""
    import pandas as pd

    from probeshift.metrics import measure
    from probeshift.steering.detection import row_projections

    model, rows = study.model(study.settings.target), study.rows("detection", study.split.evaluated)
    vectors = [(one, c, v) for one in conditions for c, v in one.vectors.items()]
    found = row_projections(
        model,
        [v for *_, v in vectors],
        rows,
        **study.reading(study.settings.target),
        on_progress=study.told("detection"),
    )
    table = []
    for (one, concept, _), scores in zip(vectors, found, strict=True):
        own = np.array([row.concept == concept for row in rows])
        labels = np.array([row.positive for row in rows])[own]
        auroc = measure(scores[own][None], labels, n_resamples=1).auroc
        table.append(
            {"condition": one.name, "seed": one.seed, "concept": concept, "auroc": float(auroc.value[0]), "n": int(own.sum()),
             "reason": auroc.reason[0]}
        )  # fmt: skip
    return pd.DataFrame(table)


def _directions(study: Study, conditions: Sequence[Condition], fitted: Mapping[str, list[TransferMap]]):
    """All conditions, and of the shuffled maps also those that write no text: a cosine costs nothing."""
    for one in conditions:
        if one.name != CONTROL:
            yield one.name, one.seed, {c: v.direction for c, v in one.vectors.items()}
    source = {
        c: v for c, v in vector_step.load(study, study.settings.source).items() if c in set(study.split.evaluated)
    }
    for seed, through in enumerate(fitted.get(CONTROL, ())):
        yield CONTROL, seed, {c: through.carry(v.direction, v.max_activation) for c, v in source.items()}


def _half_cosines(
    study: Study, fitted: Mapping[str, list[TransferMap]], common: np.ndarray | None
) -> dict[tuple[str, int, str], dict[str, float | None]]:
    """By condition, draw and concept: cosine across halves, raw and specific."""
    from probeshift.steering.geometry import closeness
    from probeshift.steering.maps.transfer_map import transfer

    parts = {
        name: [vector_step.load(study, name, part) for part in vector_step.HALVES]
        for name in (study.settings.source, study.settings.target)
    }
    target = [{c: v.direction for c, v in half.items()} for half in parts[study.settings.target]]
    source = parts[study.settings.source]
    found = {}
    for concept in study.split.evaluated:
        ceiling = closeness({concept: target[0][concept]}, {concept: target[1][concept]}, common)[concept]
        found[NATIVE, 0, concept] = _both(ceiling, ceiling)
        for method, maps in fitted.items():
            for seed, through in enumerate(maps):
                ways = [
                    closeness({concept: transfer(one[concept], through).direction}, {concept: other[concept]}, common)[
                        concept
                    ]
                    for one, other in zip(source, target[::-1], strict=True)
                ]
                found[method, seed, concept] = _both(*ways)
    return found


def _both(one: Any, other: Any) -> dict[str, float | None]:
    specific = (one.cosine_specific, other.cosine_specific)
    return {
        "cosine": (one.cosine + other.cosine) / 2,
        "cosine_specific": None if None in specific else (specific[0] + specific[1]) / 2,
    }
