"""Step 1: a DiffMean vector of every concept in both models, and of each half of the rows, for the ceiling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probeshift.errors import StoreError
from probeshift.experiments.transfer.alignment import swept_layer
from probeshift.experiments.transfer.opening import layer_of
from probeshift.experiments.transfer.study import VECTORS, Study

if TYPE_CHECKING:
    from probeshift.steering.vectors import SteeringVector

HALVES = ("half-a", "half-b")


def make_vectors(study: Study) -> dict[str, int]:
    """Write the vectors of the source and of the target; returns the layer of each. What is finished is not made again.

    Raises:
        UsageError: a concept lacks rows, a row is longer than a model reads, a layer is outside its model, or a mean is not finite.
    """
    layers = {name: find_layer(study, name) for name in (study.settings.source, study.settings.target)}
    missing = [name for name, layer in layers.items() if not _is_current(study, name, layer)]
    for name in missing:  # of both models, before the first is read: reading may take hours
        _require_context(study, name)
    for name in missing:
        _make(study, name, layers[name])
    return layers


def _require_context(study: Study, name: str) -> None:
    from probeshift.steering.forward import require_context

    reading = study.reading(name)
    rows = {(row.prompt, row.response): None for row in study.rows("vector")}
    longest = max(len(reading["encoder"].encode(*row, reading["tokens"]).ids) for row in rows)
    require_context(study.model(name), longest)


def find_layer(study: Study, name: str) -> int:
    """The block of a model of the study: as given, or found from the source's.

    Raises:
        UsageError: it lies outside the model.
    """
    from probeshift.steering.maps.layers import SWEEPS, relative_layer

    entry = study.settings.model(name)
    if isinstance(entry.layer, str) and entry.layer in SWEEPS:
        return swept_layer(study, entry.layer)
    n_layers = study.model(name).info.n_layers
    if entry.layer == "relative":
        source = study.settings.source
        return relative_layer(find_layer(study, source), study.model(source).info.n_layers, n_layers)
    return layer_of(entry, n_layers)


def load(study: Study, name: str, part: str = "") -> dict[str, SteeringVector]:
    """The saved vectors of a model; `part` half-a or half-b for those of half the rows.

    Raises:
        StoreError: they were not made, or are damaged.
    """
    from probeshift.steering.vectors import load_vectors

    path = study.folder(VECTORS) / f"{name}{f'.{part}' if part else ''}.safetensors"
    if not path.exists():
        raise StoreError(f"{path} is not there. Make it with `probeshift transfer vectors --config ...`.")
    return load_vectors(path)


def _is_current(study: Study, name: str, layer: int) -> bool:
    """Whether all files of a model are there and of these rows as they are cut now, this layer and these weights."""
    from probeshift.models import weight_hash
    from probeshift.steering.contrasts import data_hash

    try:
        found, halves = load(study, name), [load(study, name, part) for part in HALVES]
    except StoreError:
        return False
    rows = study.rows("vector")
    wanted = {c.id: data_hash([r for r in rows if r.concept == c.id]) for c in study.data.concepts}
    same = all(
        v.layer == layer
        and (v.card.tokens, v.card.max_tokens) == (study.settings.tokens, study.settings.concepts.max_tokens)
        and v.card.weights == weight_hash(study.model(name).info)
        for vectors in (found, *halves)
        for v in vectors.values()
    )
    return (
        same
        and {c: v.card.data for c, v in found.items()} == wanted
        and all(set(h) >= set(study.split.evaluated) for h in halves)
    )


def _make(study: Study, name: str, layer: int) -> None:
    from probeshift.steering.controls import halves
    from probeshift.steering.diffmean import diffmean_of_parts
    from probeshift.steering.units import with_units
    from probeshift.steering.vectors import save_vectors

    model, rows, folder = study.model(name), study.rows("vector"), study.folder(VECTORS)
    reading = study.reading(name)
    evaluated = [row for row in rows if row.concept in set(study.split.evaluated)]
    parts = {"": rows, **dict(zip(HALVES, halves(evaluated), strict=True))}
    made = diffmean_of_parts(model, parts, layer, **reading, on_progress=study.told(f"vectors of {name}"))
    whole = list(made.pop("").values())
    measured = with_units(model, whole, rows, **reading, on_progress=study.told(f"units of {name}"))
    # The whole's unit: a half is only ever compared by its direction.
    units = {v.concept: (v.max_activation, v.card.max_activation_rows or 0) for v in measured}
    for part, half in made.items():
        save_vectors(folder / f"{name}.{part}.safetensors", [v.measured(*units[c]) for c, v in half.items()])
    save_vectors(folder / f"{name}.safetensors", measured)
