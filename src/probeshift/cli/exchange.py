"""`probeshift export` and `probeshift import`."""

from __future__ import annotations

from typing import Any

from probeshift.cli.console import print_json, say
from probeshift.cli.crossdata import AsJson
from probeshift.cli.options import checked, options_from, pick
from probeshift.experiments import exchange as recipe
from probeshift.experiments.exchange import ExportSettings, ImportSettings


@options_from(ExportSettings)
def export(given: dict[str, Any], as_json: AsJson = False) -> None:
    """Write a saved probe as another program's file; each says model, layer, site, sign and threshold.

    Example: probeshift export --probe probes/dim/got_cities.safetensors --layer 14 --to gguf --output truth.gguf
    """
    settings = checked(ExportSettings, pick(given, ExportSettings))
    from probeshift.saved_probes import sign_words

    probes = recipe.export(settings)
    layers = probes.card.layers
    if as_json:
        return print_json(
            {"output": str(settings.output), "format": settings.to, "layers": list(layers), "model": probes.card.model}
        )
    say(
        f"layers {', '.join(map(str, layers))} of `{probes.card.method}` on `{probes.card.train}`, model {probes.card.model}; "
        f"{sign_words(probes.card)}"
    )
    print(settings.output)


@options_from(ImportSettings, source="from")
def import_(given: dict[str, Any], as_json: AsJson = False) -> None:
    """Read another program's file as probes that `probeshift score` takes. Nothing is ever unpickled.

    Example: probeshift import --file truth.gguf --from gguf --model smollm2-135m --output imported/truth.safetensors
    """
    written = recipe.import_(checked(ImportSettings, pick(given, ImportSettings)))
    if as_json:
        told = [
            {"path": str(p), "layers": list(f.card.layers), "model": f.card.model, "threshold": f.card.threshold}
            for p, f in written
        ]
        return print_json({"probes": told})
    unknown = sum(f.card.model_weights == "unknown" for _, f in written)
    if unknown:
        say(f"{unknown} of {len(written)} do not say which weights they are for: `score` will ask for --force model")
    for path, _ in written:
        print(path)
