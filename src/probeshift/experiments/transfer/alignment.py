"""The generic text that two models are laid beside each other on: maps are fitted on it, and a target layer can be found on it."""

from __future__ import annotations

from pathlib import Path

from probeshift.errors import MissingError, UsageError
from probeshift.experiments.transfer.opening import layer_of
from probeshift.experiments.transfer.split import read_json
from probeshift.experiments.transfer.study import Study
from probeshift.provenance import sha256_text


def alignment_texts(study: Study) -> list[str]:
    """The generic texts: bundled statements of facts, or the lines (or JSON list) of a file; the first by hash.

    Raises:
        MissingError: no such file.
        UsageError: a JSON file that is no list of texts.
    """
    asked = study.settings.alignment
    texts = list(dict.fromkeys(text.strip() for text in _texts(asked.file) if text.strip()))
    return sorted(texts, key=lambda text: sha256_text(f"{study.settings.seed}:{text}"))[: asked.limit]


def _texts(path: Path | None) -> list[str]:
    from probeshift.datasets import FACTS_DATASETS, load_dataset

    if path is None:
        return [s.text for name in FACTS_DATASETS for s in load_dataset(name).statements]
    if not path.is_file():
        raise MissingError(f"there is no file {path} of alignment text.")
    if path.suffix != ".json":
        return path.read_text(encoding="utf-8").splitlines()
    found = read_json(path, "a list of texts")
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise UsageError(f"{path} is no JSON list of texts. Give a list, or a .txt file with a text a line.")
    return found


def swept_layer(study: Study, measure: str) -> int:
    """The target layer that goes best with the source's on held-out alignment text.

    Raises:
        UsageError: the alignment text overlaps with concepts or is too short.
    """
    from probeshift.steering.maps.alignment import align
    from probeshift.steering.maps.layers import sweep_layers
    from probeshift.steering.maps.overlap import refuse_overlap

    texts, asked = alignment_texts(study), study.settings
    source, target = study.model(asked.source), study.model(asked.target)
    refuse_overlap(texts, study.all_text())
    aligned = align(source, target, texts, pairing=asked.alignment.pairing, max_tokens=asked.alignment.max_tokens)
    layer = layer_of(asked.model(asked.source), source.info.n_layers)
    return sweep_layers(aligned, layer, range(target.info.n_layers), measure, study.told(f"layers by {measure}")).best
