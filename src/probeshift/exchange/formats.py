"""What a format is: a name, what it can hold, a writer and a reader. And what a reader finds in a file."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from probeshift.arrays import LayerDirections, PerLayer
from probeshift.errors import MissingError
from probeshift.results import ProbeFile


@dataclass(frozen=True)
class Found:
    """Directions of one name in a file. `layers` are None where the file does not say; `biases` NaN where it holds none.

    `card` is what an export of ours wrote about them; `told` is what another program's file says (model, method, position, ...).
    """

    name: str
    layers: tuple[int | None, ...]
    directions: LayerDirections
    biases: PerLayer
    card: Mapping[str, Any] | None = None
    told: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Target:
    """Where an export goes and what only some formats take: `hookpoint` names a block for lm-eval, `strength` its coefficient."""

    path: Path
    card: str
    hookpoint: str = "layers.{layer}"
    strength: float = 1.0
    model_hint: str | None = None


@dataclass(frozen=True)
class Format:
    """A peer's file. `one_layer`: it holds a single layer; `blocks_from`: the first block it can name; `needs` a package."""

    name: str
    suffix: str
    what: str
    write: Callable[[ProbeFile, Target], None]
    read: Callable[[Path], list[Found]]
    one_layer: bool = False
    blocks_from: int = -1
    needs: str | None = None

    def require(self) -> None:
        """Say which package is missing.

        Raises:
            MissingError: it is not installed.
        """
        if self.needs and importlib.util.find_spec(self.needs) is None:
            raise MissingError(
                f'format `{self.name}` needs the package {self.needs}. Install it: pip install "probeshift[exchange]"'
            )


def no_biases(n: int) -> PerLayer:
    return np.full(n, np.nan)
