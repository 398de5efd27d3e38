"""Step 2: maps from the source to the target, fitted on generic text that shares nothing with concepts or prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeshift.errors import StoreError
from probeshift.experiments.transfer.alignment import alignment_texts
from probeshift.experiments.transfer.study import MAPS, Study
from probeshift.experiments.transfer.vectors import load as load_vectors
from probeshift.provenance import sha256_json

if TYPE_CHECKING:
    from probeshift.steering.maps.transfer_map import TransferMap

# Shuffled maps are averaged over this many for the cosines: one is no null.
SHUFFLED_MAPS = 20
CONTROL = "shuffled"


def fit(study: Study, methods: Sequence[str], *, skip_impossible: bool = False) -> dict[str, list[TransferMap]]:
    """The maps of these methods, `shuffled` with its seeds; fitted where they are missing or of other text, in one pass.

    With `skip_impossible`, the identity between two widths is left out instead of refused: `refusals` tells why.

    Raises:
        UsageError: the alignment text overlaps with concepts, is too short, or a method cannot do these widths.
    """
    from probeshift.steering.maps import find_map
    from probeshift.steering.maps.fitting import fit_maps
    from probeshift.steering.maps.transfer_map import save_map

    texts, layers = alignment_texts(study), _layers(study)
    wanted = [m for m in dict.fromkeys(methods) if not (skip_impossible and m in refusals(study))]
    asked = _wanted(study, texts, layers)
    missing = [m for m in wanted if not _current(study, m, asked)]
    if missing:
        fitted = fit_maps(
            study.model(study.settings.source), study.model(study.settings.target), texts, [find_map(m) for m in missing],
            source_layer=layers[0], target_layer=layers[1], concept_rows=study.all_text(),
            pairing=study.settings.alignment.pairing, seeds={m: _seeds(study, m) for m in missing},
            max_tokens=study.settings.alignment.max_tokens, on_progress=study.told(f"fitting {', '.join(missing)}"),
        )  # fmt: skip
        for one in fitted:
            told = replace(one.card, layer_choice=_layer_choice(study))
            save_map(map_path(study, one.card.method, one.card.seed), replace(one, card=told))
    return {m: [load(study, m, seed) for seed in _seeds(study, m)] for m in wanted}


def refusals(study: Study) -> dict[str, str]:
    """Methods that do not exist between these two models, with the reason."""
    widths = [study.model(name).info.d_model for name in (study.settings.source, study.settings.target)]
    if widths[0] == widths[1]:
        return {}
    return {"identity": f"identity needs equal widths, the models have {widths[0]} and {widths[1]}"}


def map_path(study: Study, method: str, seed: int) -> Path:
    """Where a map is kept."""
    pair = f"{study.settings.source}__{study.settings.target}__{method}"
    return study.folder(MAPS) / f"{pair}{f'-{seed}' if method == CONTROL else ''}.safetensors"


def load(study: Study, method: str, seed: int) -> TransferMap:
    """A saved map.

    Raises:
        StoreError: it was not fitted, or is damaged.
    """
    from probeshift.steering.maps.transfer_map import load_map

    path = map_path(study, method, seed)
    if not path.exists():
        raise StoreError(f"{path} is not there. Make it with `probeshift transfer fit --method {method} ...`.")
    return load_map(path)


def _layers(study: Study) -> tuple[int, int]:
    """The layers that the saved vectors were made at: maps go between those."""
    both = (load_vectors(study, name) for name in (study.settings.source, study.settings.target))
    source, target = (next(iter(vectors.values())).layer for vectors in both)
    return source, target


def _layer_choice(study: Study) -> str:
    """How the target layer was found, which the map's own fit does not see."""
    asked = study.settings.model(study.settings.target).layer
    if asked == "relative":
        return "relative depth"
    return f"best by held-out {asked}" if isinstance(asked, str) else "explicit"


def _seeds(study: Study, method: str) -> list[int]:
    return list(range(SHUFFLED_MAPS)) if method == CONTROL else [study.settings.seed]


def _current(study: Study, method: str, wanted: Mapping[str, Any]) -> bool:
    """Whether every file of a method is there and its card says what is wanted."""
    for seed in _seeds(study, method):
        try:
            card = load(study, method, seed).card
        except StoreError:
            return False
        if card.seed != seed or any(getattr(card, name) != value for name, value in wanted.items()):
            return False
    return True


def _wanted(study: Study, texts: Sequence[str], layers: tuple[int, int]) -> dict[str, Any]:
    """What the card of a map must say: this text as it is cut and paired now, these layers, chosen so, and these weights."""
    from probeshift.models import weight_hash
    from probeshift.steering.maps.alignment import pairing_between

    source, target = (study.model(name) for name in (study.settings.source, study.settings.target))
    return {
        "text": sha256_json(list(texts)),
        "max_tokens": study.settings.alignment.max_tokens,
        "pairing": pairing_between(source, target, study.settings.alignment.pairing),
        "source_layer": layers[0],
        "target_layer": layers[1],
        "layer_choice": _layer_choice(study),
        "source_weights": weight_hash(source.info),
        "target_weights": weight_hash(target.info),
    }
