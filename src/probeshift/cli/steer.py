"""`probeshift steer`: one vector, several strengths, beside the model as it is."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probeshift.cli.console import offer_page, print_json, progress, say
from probeshift.errors import UsageError

if TYPE_CHECKING:
    from probeshift.models import LanguageModel
    from probeshift.steering.comparison import SteeredText
    from probeshift.steering.vectors import SteeringVector

# Columns of text that are still readable beside each other.
_BESIDE = 4
# Statements a probe's maximal activation is measured on.
_MEASURED = 400

Model = Annotated[str, typer.Option("--model", "-m", help="Short name, hub id, local folder or .gguf file.")]
Vector = Annotated[Path, typer.Option(help="A file of steering vectors, or a saved probe (.safetensors).")]
Prompt = Annotated[list[str], typer.Option(help="What the model is asked. May be given several times.")]
Strength = Annotated[
    list[str], typer.Option(help="In multiples of the vector's maximal activation: 0.5 1 2. Below 0: --strength=-1,-2.")
]
More = Annotated[list[str] | None, typer.Argument(metavar="[STRENGTH]...", help="Further strengths.")]
Concept = Annotated[str | None, typer.Option(help="Which vector, where the file holds several.")]
Layer = Annotated[int | None, typer.Option(help="Which layer of a probe file; of a vector: apply it after this block.")]
OperatorName = Annotated[str, typer.Option("--operator", help="add, ablate (project out) or clamp.")]
PositionsName = Annotated[str, typer.Option("--positions", help="all, prompt or generated tokens.")]
MaxNew = Annotated[int, typer.Option(help="Longest text, in tokens.")]
Temperature = Annotated[float, typer.Option(help="0 takes the likeliest token.")]
Seed = Annotated[int, typer.Option(help="Seed of sampling, where the temperature is above 0.")]
Chat = Annotated[
    bool | None, typer.Option("--chat/--no-chat", help="Use the chat template. Default: where there is one.")
]
System = Annotated[str | None, typer.Option(help="A system message.")]
MeasureOn = Annotated[
    Path | None,
    typer.Option(help="Texts, one a line, to measure a probe's maximal activation on. Default: its dataset."),
]
Unit = Annotated[
    float | None,
    typer.Option(help="What strength 1 is, along the unit vector. Default: its measured maximal activation."),
]
Dtype = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
OwnCode = Annotated[bool, typer.Option("--trust-remote-code", help="Run the code that comes with the model.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Keep texts and tables in this folder, for `probeshift report`.",
        show_default="the cache",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")]


def steer(
    model: Model,
    vector: Vector,
    prompt: Prompt,
    strength: Strength,
    more: More = None,
    concept: Concept = None,
    layer: Layer = None,
    operator: OperatorName = "add",
    positions: PositionsName = "all",
    max_new_tokens: MaxNew = 64,
    temperature: Temperature = 0.0,
    seed: Seed = 0,
    chat: Chat = None,
    system: System = None,
    measure_on: MeasureOn = None,
    unit: Unit = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    trust_remote_code: OwnCode = False,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Write with and without a steering vector, side by side, with the KL from the unsteered model and the perplexity.

    Example: probeshift steer --model smollm2-135m --vector vectors.safetensors --strength 0.5 1 2 --prompt "Tell me about tea."
    """
    strengths = _strengths([*strength, *(more or [])])
    prompts = list(dict.fromkeys(prompt))
    _check_before_loading(model, vector, operator, unit, measure_on, output)
    from probeshift.models import describe, load_model
    from probeshift.provenance import cache_root
    from probeshift.steering.comparison import compare_strengths, save_comparison
    from probeshift.steering.contrasts import make_encoder
    from probeshift.steering.generation import Decoding
    from probeshift.steering.sweep import SweepSettings

    settings = SweepSettings(Decoding(max_new_tokens, temperature), positions, seed)
    found = _read_vector(vector, concept, layer)
    loaded = load_model(describe(model, trust_remote_code=trust_remote_code), dtype=dtype, device=device)
    found = _scaled(loaded, found, measure_on, unit)
    encoder = make_encoder(loaded.tokenizer, chat=chat, system=system)
    with progress() as bar:
        texts = compare_strengths(
            loaded,
            {found.concept: found},
            prompts,
            strengths,
            encoder=encoder,
            settings=settings,
            folder=output or cache_root() / "steering" / loaded.info.name,
            operator=operator,
            on_progress=lambda done, total: bar("writing", done, total),
        )
    if output is not None:
        asked = {
            "model": loaded.info.name, "vector": str(vector), "strengths": strengths, "prompts": prompts, "operator": operator,
            "positions": positions, "max_new_tokens": max_new_tokens, "temperature": temperature, "seed": seed, "system": system,
            "chat": encoder.chat, "dtype": str(loaded.dtype).removeprefix("torch."), "device": str(loaded.device),
            "measure_on": None if measure_on is None else str(measure_on),
        }  # fmt: skip
        save_comparison(output, found, texts, asked)
    if as_json:
        return print_json({"vector": _about(found), "texts": [_as_json(text) for text in texts]})
    print_texts(found, texts)
    if output is not None:
        offer_page(output)


def _check_before_loading(
    model: str, vector: Path, operator: str, unit: float | None, measure_on: Path | None, output: Path | None
) -> None:
    """Refuse what cannot be, before a model is loaded."""
    from probeshift.models.names import resolve
    from probeshift.steering.comparison import refuse_other_run
    from probeshift.steering.interventions import OPERATORS, require_known

    if unit is not None and not unit > 0:
        raise UsageError(f"--unit must be above 0, got {unit:g}.")
    resolve(model)
    if not vector.is_file():
        raise UsageError(f"there is no file {vector}. Give --vector a file of steering vectors or a saved probe.")
    require_known("operator", operator, OPERATORS)
    if measure_on is not None and unit is not None:
        raise UsageError("--unit says what strength 1 is, and --measure-on measures it. Give one of them.")
    if measure_on is not None and not measure_on.is_file():
        raise UsageError(f"there is no file {measure_on}. Give --measure-on a file of texts, one a line.")
    if output is not None:
        refuse_other_run(output)


def _strengths(words: list[str]) -> list[float]:
    """Numbers, each once, from words that may hold several."""
    try:
        found = list(dict.fromkeys(float(part) for word in words for part in word.replace(",", " ").split()))
    except ValueError:
        found = []
    if not found or not all(map(math.isfinite, found)):
        raise UsageError(f"--strength takes numbers such as 0.5 1 2, got `{' '.join(words)}`.")
    return found


def _read_vector(path: Path, concept: str | None, layer: int | None) -> SteeringVector:
    from dataclasses import replace

    from probeshift.steering.probe_vectors import saved_probe_vector
    from probeshift.steering.vectors import find_vector, load_vectors

    if path.with_suffix(".json").is_file() and path.parent.parent.name == "probes":
        return saved_probe_vector(path, layer)
    found = find_vector(load_vectors(path), concept)
    if layer is None or layer == found.layer:
        return found
    say(f"note: this vector was made after block {found.layer}, its unit too, and is applied after block {layer}.")
    return replace(found, card=replace(found.card, layer=layer))


def _scaled(
    model: LanguageModel, vector: SteeringVector, measure_on: Path | None, unit: float | None
) -> SteeringVector:
    """The vector with a unit of strength in this model."""
    from probeshift.datasets import load_dataset
    from probeshift.models import weight_hash
    from probeshift.steering.probe_vectors import measured_on_statements

    if vector.card.weights != weight_hash(model.info):
        say(
            f"note: this vector was made from `{vector.card.model}`, whose weights are not those of `{model.info.name}`."
        )
    if unit is not None:
        return vector.measured(unit, 0)
    if vector.card.max_activation is not None:
        if measure_on is not None:
            raise UsageError(
                f"vector `{vector.concept}` has its unit already, and --measure-on is for probes. Leave it out."
            )
        return vector
    train = (vector.card.details or {}).get("train")
    if measure_on is None and train is None:
        raise UsageError(
            f"vector `{vector.concept}` has no maximal activation. Name a file of texts with --measure-on."
        )
    lines = measure_on.read_text(encoding="utf-8").splitlines() if measure_on else None
    texts = lines or [statement.text for statement in load_dataset(str(train)).statements]
    return measured_on_statements(model, vector, [text for text in texts if text.strip()][:_MEASURED])


def _about(vector: SteeringVector) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(vector.card)


def _as_json(text: SteeredText) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(text), "perplexity": text.perplexity}


def print_texts(vector: SteeringVector, texts: list[SteeredText]) -> None:
    """Per prompt, columns of text: the model as it is, then the strengths."""
    from rich.console import Console

    console = Console() if sys.stdout.isatty() else Console(width=120)
    card = vector.card
    print(
        f"vector {card.concept} ({card.method}), layer {card.layer}, strength 1 = {vector.max_activation:.3g} along it"
    )
    for prompt in dict.fromkeys(text.prompt for text in texts):
        baseline, *steered = [text for text in texts if text.prompt == prompt]
        for start in range(0, len(steered), _BESIDE - 1):
            console.print(_table(prompt, [baseline, *steered[start : start + _BESIDE - 1]]))


def _table(prompt: str, texts: list[SteeredText]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(prompt, style="bold"), title_justify="left", expand=True, show_lines=True)
    for text in texts:
        table.add_column(
            "unsteered" if text.strength is None else f"strength {text.strength:g}", ratio=1, overflow="fold"
        )
    table.add_row(*(Text(text.text or "(nothing)") for text in texts))
    table.add_row(*(_costs(text) for text in texts))
    return table


def _costs(text: SteeredText) -> str:
    if text.kl is None or text.perplexity is None:
        return "no token was written"
    kl = "" if text.strength is None else f"KL {text.kl:.3g} nats a token, "
    return f"{kl}perplexity {text.perplexity:.3g}, {text.n_tokens} tokens"
