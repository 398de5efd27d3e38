"""export and import: a saved probe in another program's file, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from probeshift.errors import UsageError, nearest
from probeshift.experiments.inputs import Settings

if TYPE_CHECKING:
    from probeshift.exchange import Format
    from probeshift.results import ProbeFile


class ExportSettings(Settings):
    """Which probe goes into which file."""

    probe: Path
    """Probe file, the folder of a `probeshift train` run for the probe chosen there, or a file of steering vectors."""
    to: str
    """gguf, steering-vectors, lm-eval, axbench, sklearn, npz, probe-vectors or best-probe."""
    output: Path
    """The file to write."""
    layer: int | None = None
    """One layer; without it all that the format can hold."""
    concept: str | None = None
    """Which vector, where a file of steering vectors holds several."""
    hookpoint: str = "layers.{layer}"
    """lm-eval: the block's name below the base model (GPT-2: h.{layer})."""
    strength: float = 1.0
    """lm-eval: the coefficient of the direction, which is written as it is, not at length one."""
    model_hint: str | None = None
    """gguf: the model type that repeng compares, such as llama."""


class ImportSettings(Settings):
    """Which file becomes probes, and what it does not say itself."""

    file: Path
    """The file to read."""
    source: str
    """Its format: gguf, steering-vectors, lm-eval, axbench, sklearn, npz, probe-vectors or best-probe."""
    output: Path
    """A name ending in .safetensors for one probe, or a folder, which gets probes/<method>/<name>.safetensors."""
    model: str | None = None
    """The model it is for; one that is on this machine is recorded with the hash of its weights."""
    layer: int | None = None
    """Its layer (0-based block), where the file does not say."""
    position: str | None = None
    """The token position it is for."""
    dtype: str = "unknown"
    """The number format of the activations it was fitted on."""
    method: str = "imported"
    """What to call its method; `lr` says that its score is log odds."""


def export(settings: ExportSettings) -> ProbeFile:
    """Write the file; returns what it holds.

    Raises:
        UsageError: no such probe, format or layer, or one that the format cannot hold.
        MissingError: a package that writes the format is not installed.
    """
    from probeshift.exchange.cards import exported_card, fitting
    from probeshift.exchange.formats import Target

    format = find_format(settings.to)
    format.require()
    if not settings.output.name.endswith(format.suffix):
        raise UsageError(f"--output {settings.output.name} must end in {format.suffix} for format `{format.name}`.")
    whole, layer = _read(settings)
    probes = fitting(whole, layer, format)
    extra = {"hookpoint": settings.hookpoint, "strength": settings.strength, "model_hint": settings.model_hint}
    format.write(probes, Target(settings.output, exported_card(probes), **extra))  # type: ignore[arg-type]
    return probes


def _read(settings: ExportSettings) -> tuple[ProbeFile, int | None]:
    """What is to be exported, and the layer of it where one is meant."""
    from probeshift.saved_probes import open_probe, read_probe_file

    path = settings.probe
    if path.is_dir():
        chosen = open_probe(path, settings.layer)
        return read_probe_file(chosen.path), chosen.probe.layer
    if path.is_file() and not path.with_suffix(".json").is_file():
        return _vector(path, settings.concept), settings.layer
    return read_probe_file(path), settings.layer


def _vector(path: Path, concept: str | None) -> ProbeFile:
    """A steering vector, which has a direction of length one and no threshold."""
    import numpy as np

    from probeshift.results import ProbeCard, ProbeFile
    from probeshift.saved_probes import NO_THRESHOLD, VECTORS
    from probeshift.steering.vectors import find_vector, load_vectors

    found = find_vector(load_vectors(path), concept)
    card, unit = found.card, found.card.max_activation
    told = "not measured" if unit is None else f"{unit:.6g} along this vector of length one"
    made = ProbeCard(
        fit_id=f"vector:{card.data}",
        method=card.method,
        source=f"steering vector; strength 1 is {told}",
        model=card.model,
        model_weights=card.weights,
        dtype=card.dtype,
        train=card.concept,
        family=VECTORS,
        position=card.tokens,
        layers=(card.layer,),
        n_rows=(card.n_positive or 0) + (card.n_negative or 0),
        n_questions=None,
        seed=0,
        layer_seeds=(0,),
        sign="positive strength: towards the concept",
        threshold=NO_THRESHOLD,
        control=False,
        flipped=(False,),
        failures=(None,),
    )
    return ProbeFile(made, found.direction[None], np.zeros(1))


def import_(settings: ImportSettings) -> list[tuple[Path, ProbeFile]]:
    """Read the file and write probes; returns where they are.

    Raises:
        UsageError: not a file of that format, or one that needs more said about it.
        MissingError: a package that reads the format is not installed.
    """
    from probeshift.exchange import Origin, as_probe_files
    from probeshift.results import probe_path, save_probes, write_probes

    format = find_format(settings.source)
    format.require()
    weights = _weights(settings.model)
    given = {name: getattr(settings, name) for name in ("model", "layer", "position", "dtype", "method")}
    probes = as_probe_files(format.read(settings.file), Origin(**given, weights=weights))
    out = settings.output
    if out.suffix == ".safetensors":
        if len(probes) != 1:
            raise UsageError(f"{settings.file} holds {len(probes)} probes, --output {out.name} one. Name a folder.")
        write_probes(out, probes[0])
        return [(out, probes[0])]
    for one in probes:
        save_probes(out, one)
    return [(probe_path(out, p.card.method, p.card.train, p.card.procedure), p) for p in probes]


def find_format(name: str) -> Format:
    """The format of that name.

    Raises:
        UsageError: there is none; the nearest names are offered.
    """
    from probeshift.exchange import FORMATS

    for format in FORMATS:
        if format.name == name.lower():
            return format
    raise UsageError(f"format `{name}` not found. {nearest(name, [f.name for f in FORMATS])}")


def _weights(model: str | None) -> str:
    """The hash of the named model's weights where it is on this machine; a label that names no model here stays a label."""
    from probeshift.models.names import is_here

    try:
        here = model is not None and is_here(model)
    except UsageError:
        here = False
    if not here or model is None:
        return "unknown"
    from probeshift.models import describe, weight_hash

    return weight_hash(describe(model))
