"""Does a probe belong to what it is about to read? Model, layer, position, chat template and number format, one by one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from probeshift.errors import UsageError, nearest
from probeshift.extraction import ExtractionOptions
from probeshift.models.prompts import PromptEncoder
from probeshift.results import ProbeCard
from probeshift.saved_probes import SavedProbe

ASPECTS = ("model", "layer", "position", "template", "dtype")
_UNKNOWN = ("", "None", "unknown")


@dataclass(frozen=True)
class Mismatch:
    """One way in which a probe and what it would read differ; `aspect` is what to name to ignore it."""

    aspect: str
    told: str


def mismatches(
    saved: SavedProbe, options: ExtractionOptions, *, weights: str, encoder: PromptEncoder
) -> list[Mismatch]:
    """All differences, in the order of `ASPECTS`. `weights` is the hash of the loaded model's weights."""
    card = saved.card
    found = [
        _model(card, weights),
        _layer(saved.probe.layer, options.layers[0]),
        _position(card, options.positions[0]),
        _template(card, encoder),
        _dtype(card, options.dtype, options.quantization),
    ]
    return [one for one in found if one is not None]


def refuse(found: Sequence[Mismatch], ignored: Collection[str] = ()) -> None:
    """Stop at the first difference that was not named as one to ignore.

    Raises:
        UsageError: there is one, or an ignored name means nothing.
    """
    for name in ignored:
        if name not in ASPECTS:
            raise UsageError(f"--force `{name}` is not known. {nearest(name, ASPECTS)}")
    for one in found:
        if one.aspect not in ignored:
            raise UsageError(
                f"{one.told}. Its scores would mean nothing certain; to see them all the same, add --force {one.aspect}."
            )


def _model(card: ProbeCard, weights: str) -> Mismatch | None:
    if card.model_weights in _UNKNOWN:
        return Mismatch(
            "model", f"the probe does not say which weights it was fitted on (model `{card.model}` by name)"
        )
    if card.model_weights != weights:
        return Mismatch("model", f"the probe was fitted on `{card.model}`, and the weights here are others")
    return None


def _layer(was: int, asked: int) -> Mismatch | None:
    return None if was == asked else Mismatch("layer", f"the probe was fitted at layer {was}, asked is layer {asked}")


def _position(card: ProbeCard, position: str) -> Mismatch | None:
    if card.position == position:
        return None
    return Mismatch("position", f"the probe was fitted at position `{card.position}`, asked is `{position}`")


def _template(card: ProbeCard, encoder: PromptEncoder) -> Mismatch | None:
    was = card.prompts or {"kind": "raw"}
    asked = (
        encoder.record()
        if encoder.post is not None
        else {"kind": "raw", "special_tokens": encoder.format.special_tokens}
    )
    different = [
        name
        for name in ("kind", "template_hash", "system", "template_kwargs", "special_tokens")
        if _differ(name, was, asked)
    ]
    if not different:
        return None
    told = ", ".join(
        f"{name.replace('_', ' ')} {_short(was.get(name))} instead of {_short(asked.get(name))}" for name in different
    )
    return Mismatch("template", f"the probe was fitted on other prompts: {told}")


def _differ(name: str, was: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Texts that carry the template and texts put through it become the same prompts; their system message is in the text."""
    raw = "raw" in (was["kind"], asked["kind"])
    if name == "kind":
        return raw and was["kind"] != asked["kind"]
    if name == "special_tokens":
        return was["kind"] == asked["kind"] == "raw" and was.get(name, True) != asked[name]
    if raw:
        return False
    if name in ("system", "template_kwargs") and "formatted" in (was["kind"], asked["kind"]):
        return False
    return (was.get(name) or None) != (asked.get(name) or None)


def _dtype(card: ProbeCard, dtype: str, quantization: str | None) -> Mismatch | None:
    was, asked = _family(card.dtype, card.quantization), _family(dtype, quantization)
    if was == asked or card.dtype in _UNKNOWN:
        return None
    return Mismatch("dtype", f"the probe was fitted on activations in {was}, asked is {asked}")


def _family(dtype: str, quantization: str | None) -> str:
    """Formats whose activations differ by rounding only."""
    half = dtype in ("bfloat16", "float16")
    return ("16-bit floats" if half else dtype) + (f" of {quantization} weights" if quantization else "")


def _short(value: Any) -> str:
    return f"`{value[:12]}`" if isinstance(value, str) else "none" if value in (None, {}) else f"`{value}`"
