"""One probe as others use it: a direction and a bias at one layer, and the card that says what they are.

A path names it: a probe file (`probes/<method>/<train>.safetensors`, its card beside it), or the folder of a `probeshift train` run,
which stands for the probe chosen there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from probeshift.errors import UsageError, nearest
from probeshift.layers import layer_name
from probeshift.probes.probe import LinearProbe
from probeshift.results import ProbeCard, ProbeFile, read_probes

# Fitted by maximum likelihood of labels given this very score, so that its logistic function is the fitted probability.
LOG_ODDS = ("lr", "logistic")
NO_THRESHOLD = "none: the file holds directions only"
VECTORS = "vectors"  # the family of a steering vector that stands as a probe
CHOSEN = "best_probe_predictions.json"

Meaning = Literal["log odds", "value", "score"]


@dataclass(frozen=True)
class SavedProbe:
    """A probe of a file at one layer."""

    probe: LinearProbe
    card: ProbeCard
    path: Path

    @property
    def meaning(self) -> Meaning:
        """What the score is: "log odds" of the label, as fitted; the predicted "value"; a "score" without a unit."""
        return meaning_of(self.card)

    @property
    def decides(self) -> bool:
        """Whether 0 is a threshold: not for predicted values, nor for a bare direction of another program."""
        return threshold_words(self.card) is not None

    @property
    def failure(self) -> str | None:
        """Why the fit at this layer is no solution, None where it is one."""
        return self.card.failures[self.card.layers.index(self.probe.layer)]

    def about(self) -> dict[str, Any]:
        """What a reader of anything made with this probe must know."""
        card = self.card
        return {
            "probe": str(self.path), "method": card.method, "train": card.train, "model": card.model,
            "model_weights": card.model_weights, "dtype": card.dtype, "layer": self.probe.layer,
            "layer_name": layer_name(self.probe.layer), "site": site(self.probe.layer),
            "position": card.position, "prompts": card.prompts, "task": card.task, "score": SAID[self.meaning],
            "sign": sign_words(card), "threshold": threshold_words(card), "control": card.control,
        }  # fmt: skip


SIGN = {
    "log odds": "larger: the label more likely true",
    "value": "larger: a larger predicted label",
    "score": "larger: truer",
}
SAID = {
    "log odds": "log odds of the label as the method fitted them; `probability` is their logistic function",
    "value": "the predicted label, in its own unit",
    "score": "activation . direction + bias, in no unit; `squashed` is its logistic function and no probability",
}


def meaning_of(card: ProbeCard) -> Meaning:
    """What the scores of a probe are."""
    if card.task == "regression":
        return "value"
    return "log odds" if card.method in LOG_ODDS else "score"


def sign_words(card: ProbeCard) -> str:
    """What a larger score means; of a steering vector, what its card says."""
    return card.sign if card.family == VECTORS else SIGN[meaning_of(card)]


def site(layer: int) -> str:
    """Where in the model a layer is read, in words that hold for every library."""
    return "input of the first block" if layer == -1 else f"residual stream after block {layer} (0-based)"


def threshold_words(card: ProbeCard) -> str | None:
    """Where the threshold, which is 0 on the score, comes from; None where there is nothing to decide."""
    none = card.task == "regression" or card.threshold == NO_THRESHOLD
    return None if none else f"score > 0 ({card.threshold})"


def open_probe(path: Path | str, layer: int | None = None) -> SavedProbe:
    """A saved probe: of a file with several layers the one at `layer`, of a training run the chosen one.

    Raises:
        UsageError: there is no probe, several layers and none named, a layer that is not in it, or a fit that found no solution.
        StoreError: the file is damaged.
    """
    path = Path(path)
    if path.is_dir():
        path, layer = _chosen(path, layer)
    probes = read_probe_file(path)
    at = _layer(probes, layer, path)
    direction, bias = probes.at(at)
    saved = SavedProbe(LinearProbe(direction, bias, at, probes.card.position), probes.card, path)
    if saved.failure or not (np.isfinite(direction).all() and np.isfinite(bias)):
        reason = saved.failure or "direction or bias are not finite"
        raise UsageError(f"{path.name} has no probe at layer {at}: {reason}. Name another --layer.")
    return saved


def read_probe_file(path: Path) -> ProbeFile:
    """All layers of a probe file.

    Raises:
        UsageError: there is no such file, or it has no card.
        StoreError: it is damaged.
    """
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.safetensors")) if path.parent.is_dir() else []
        raise UsageError(
            f"there is no probe file {path}. {nearest(path.name, near)} `probeshift ls FOLDER` lists probes."
        )
    if not path.with_suffix(".json").is_file():
        raise UsageError(
            f"{path} has no card ({path.with_suffix('.json').name}) beside it, so nothing says which model and layer it is for. Files of "
            "other programs become probes by `probeshift import`."
        )
    return read_probes(path)


def _layer(probes: ProbeFile, asked: int | None, path: Path) -> int:
    layers = probes.card.layers
    if asked is None and len(layers) == 1:
        return layers[0]
    shown = f"{min(layers)} to {max(layers)}" if len(layers) > 8 else ", ".join(map(str, layers))
    if asked is None:
        raise UsageError(f"{path.name} holds probes of {len(layers)} layers ({shown}). Name one with --layer.")
    if asked not in layers:
        raise UsageError(
            f"{path.name} has no probe at layer {asked}; it has layers {shown}. Name one of them with --layer."
        )
    return asked


def _chosen(folder: Path, layer: int | None) -> tuple[Path, int]:
    """The probe that a training run chose, as its probe file and layer."""
    told = folder / CHOSEN
    files = sorted(folder.glob("probes/*/*.safetensors"))
    if not told.is_file():
        some = ", ".join(str(p.relative_to(folder)) for p in files[:3])
        raise UsageError(
            f"{folder} chose no probe (no {CHOSEN}). " + (f"Name one of its {len(files)} files, such as {some}." if files else
            "Name a probe file; `probeshift ls FOLDER` lists probes.")
        )  # fmt: skip
    best = json.loads(told.read_text())
    position, name = best["best_position_name"], best["best_layer_name"]
    if layer is not None and layer_name(layer) != name:
        raise UsageError(
            f"{folder} chose layer {name}, --layer asks for {layer_name(layer)}. Name a file below {folder}/probes."
        )
    for path in files:
        card = read_probes(path).card
        found = [at for at in card.layers if layer_name(at) == name]
        if card.position == position and found:
            return path, found[0]
    raise UsageError(
        f"{folder} chose {name} at {position}, but no file below its probes/ holds that. Run `probeshift train` again."
    )
