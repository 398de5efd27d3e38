"""Plain numpy: `directions` [layer, d_model], `biases` and `layers` [layer], and `card`, a JSON text. No pickled objects."""

from __future__ import annotations

import io
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from probeshift.errors import UsageError
from probeshift.exchange.cards import parsed
from probeshift.exchange.formats import Format, Found, Target, no_biases
from probeshift.provenance import publish
from probeshift.results import ProbeFile


def write_npz(probes: ProbeFile, target: Target) -> None:
    """All layers in one archive."""
    buffer = io.BytesIO()
    layers, card = np.array(probes.card.layers), np.array(target.card)
    np.savez(buffer, directions=probes.directions, biases=probes.biases, layers=layers, card=card)
    publish(target.path, buffer.getvalue())


def read_npz(path: Path) -> list[Found]:
    """One set of directions; `biases`, `layers` and `card` may be missing.

    Raises:
        UsageError: no archive of plain arrays, or no directions in it.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, BadZipFile, EOFError, AttributeError, TypeError) as error:
        raise UsageError(f"{path} is not an .npz file of plain arrays.") from error
    if "directions" not in arrays or arrays["directions"].ndim not in (1, 2):
        raise UsageError(
            f"{path} holds no `directions` [layer, d_model], but {', '.join(sorted(arrays)) or 'nothing'}."
        )
    directions = np.atleast_2d(arrays["directions"]).astype(np.float32)
    n = len(directions)
    layers = tuple(int(i) for i in np.atleast_1d(arrays["layers"])) if "layers" in arrays else (None,) * n
    biases = np.atleast_1d(arrays["biases"]).astype(np.float64) if "biases" in arrays else no_biases(n)
    if not n == len(layers) == len(biases):
        raise UsageError(
            f"{path} holds {n} directions, {len(layers)} layers and {len(biases)} biases: they do not belong together."
        )
    return [Found(path.stem, layers, directions, biases, parsed(str(arrays["card"])) if "card" in arrays else None)]


NPZ = Format("npz", ".npz", "plain numpy arrays", write_npz, read_npz)
