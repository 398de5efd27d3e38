"""`probeshift crossdata ...` and `probeshift plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probeshift.cli.console import duration, offer_page, print_json, print_pages, print_table, progress, say, size
from probeshift.cli.options import checked, options_from, pick
from probeshift.errors import UsageError
from probeshift.experiments import crossdata
from probeshift.experiments.compare import OTHER, CompareSettings, open_study
from probeshift.experiments.compare import compare as run_study
from probeshift.experiments.crossdata import Comparison, CrossdataSettings
from probeshift.experiments.inputs import DataSettings, ModelSettings, OwnFile

if TYPE_CHECKING:
    from probeshift.experiments.crossdata import Progress
    from probeshift.report.tables import Pages

app = typer.Typer(help="Truth probes across datasets: train on one, test on every other.", no_args_is_help=True)

OwnData = Annotated[
    list[Path] | None,
    typer.Option(
        "--data",
        help="Your own table of statements (csv, tsv, json, jsonl, parquet); repeatable.",
        rich_help_panel="Your own data",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]
_ALL = (ModelSettings, DataSettings, OwnFile, CrossdataSettings)
_SKIP = ("path",)


def _settings(
    given: dict[str, Any],
    data: list[Path] | None,
    *,
    continues: bool = False,
    model: type[CrossdataSettings] = CrossdataSettings,
    own: tuple[str, ...] = (),
) -> Any:
    """Command line over (when the step continues an `extract`) the settings saved by it over defaults.

    `own` names settings that the step does not take over from an `extract`.
    """
    if "model" not in given:
        raise UsageError("--model is missing. Try --model smollm2-135m, or see `probeshift models`.")
    saved = crossdata.saved_settings(given["model"], given.get("output_dir")) if continues else {}
    merged = {**{k: v for k, v in saved.items() if k not in own}, **pick(given, model)}
    merged["model"] = {**saved.get("model", {}), **pick(given, ModelSettings)}
    merged["data"] = {**saved.get("data", {}), **pick(given, DataSettings)}
    if data:
        merged["data"]["files"] = [{"path": path, **pick(given, OwnFile)} for path in data]
        if "datasets" not in given and not saved:
            merged["data"]["datasets"] = ()
    return checked(model, merged)


@app.command()
@options_from(*_ALL, skip=_SKIP)
def extract(given: dict[str, Any], data: OwnData = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Read training activations and fit every probe.

    Example: probeshift crossdata extract --model qwen3-4b --layer-skip 2
    """
    settings = _settings(given, data)
    if dry_run:
        return _print_plan(crossdata.plan(Comparison.open(settings), ("train", "selection")), as_json)
    with progress() as on_progress:
        comparison = Comparison.open(settings)
        probes = crossdata.extract(comparison, on_progress=on_progress)
    say_tokens(comparison)
    path = comparison.results.folder / "probe_vectors.jsonl"
    layers = probes[0].card.layers
    n_probes = len(probes) * len(layers)
    if as_json:
        return print_json({"probes": n_probes, "layers": layers, "tokens": comparison.tokens(), "paths": [path]})
    say(f"{n_probes} probes: {len(probes)} (method, dataset) pairs at {len(layers)} layers")
    print(path)


LayerDepth = Annotated[
    float | None,
    typer.Option("--layer-depth", help="Evaluate the layer at this fraction of the depth.", show_default="0.75"),
]
Layers = Annotated[
    str | None, typer.Option("--layers", help="Layers to evaluate instead: all (that are stored), -1, 4,8 or 0:32:2.")
]


@app.command()
@options_from(*_ALL, skip=_SKIP)
def evaluate(
    given: dict[str, Any],
    layer_depth: LayerDepth = None,
    layers: Layers = None,
    data: OwnData = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Score every probe on every test set, with intervals.

    Example: probeshift crossdata evaluate --model qwen3-4b --eval-limit 200 --layers all
    """
    settings = _settings(given, data, continues=True)
    asked = layers or (str(float(layer_depth)) if layer_depth is not None else "0.75")
    if dry_run:
        comparison = Comparison.open(settings)
        return _print_plan(crossdata.plan(comparison, also=comparison.layers_to_score(asked)), as_json)
    with progress() as on_progress:
        comparison = Comparison.open(settings)
        rows = crossdata.evaluate(comparison, layers=asked, on_progress=on_progress)
    say_tokens(comparison)
    undefined = int(rows["value"].isna().sum())
    names = ("probe_evaluate-v2.jsonl", "results.parquet", "results.csv")
    paths = [comparison.results.folder / name for name in names]
    if as_json:
        return print_json({"rows": len(rows), "undefined": undefined, "tokens": comparison.tokens(), "paths": paths})
    say(f"{len(rows)} rows, {undefined} undefined (the reason is in each row)")
    for path in paths:
        print(path)


FigureLayer = Annotated[
    int | None, typer.Option("--layer", help="Layer to draw.", show_default="auto: best on the selection split")
]
FigureMethod = Annotated[str, typer.Option("--method", help="Probe method to draw.")]
Import = Annotated[
    Path | None,
    typer.Option("--import", help="Draw original result files (probe_evaluate-v2.jsonl or a folder of them) instead."),
]
Model = Annotated[str | None, typer.Option("--model", "-m", help="Model whose results are drawn.")]
OutputDir = Annotated[
    Path | None, typer.Option("--output-dir", help="Where results are.", show_default="output/comparison")
]


@app.command()
def visualize(
    model: Model = None, layer: FigureLayer = None, method: FigureMethod = "dim", imported: Import = None,
    output_dir: OutputDir = None, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Draw the train x eval matrices and the layer curve from saved rows.

    Example: probeshift crossdata visualize --model qwen3-4b --layer 35
    """
    from probeshift.report.crossdata import draw, draw_imported

    if imported is not None:
        print_pages(draw_imported(imported, output_dir or Path("output/imported"), layer), as_json)
        return
    if model is None:
        raise UsageError("--model is missing. Name the model you evaluated, or --import a result file.")
    settings = checked(
        CrossdataSettings, {"model": {"model": model}, **({"output_dir": output_dir} if output_dir else {})}
    )
    print_pages(draw(crossdata.result_folder(settings), method=method, layer=layer), as_json)


@app.command()
@options_from(ModelSettings, DataSettings, OwnFile, CompareSettings, skip=_SKIP)
def compare(given: dict[str, Any], data: OwnData = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """The whole study: eight probe methods, all stored layers, all datasets and TruthfulQA; 14 figures with their tables.

    Example: probeshift crossdata compare --model qwen3-4b
    """
    settings = _settings(given, data, continues=True, model=CompareSettings, own=("methods",))
    if dry_run:
        return _print_plan(crossdata.plan(open_study(settings)), as_json)
    _compare(settings, as_json)


def _compare(settings: CrossdataSettings, as_json: bool) -> None:
    with progress() as on_progress:
        comparison, pages = run_and_draw(settings, on_progress)
    say_tokens(comparison)
    print_pages(pages, as_json)
    offer_page(comparison.results.folder)


def run_and_draw(settings: CrossdataSettings, on_progress: Progress) -> tuple[Comparison, Pages]:
    """The whole study and its pages."""
    from probeshift.report.comparison.pages import draw_study

    comparison = open_study(settings)
    studies = run_study(comparison, on_progress=on_progress)
    study, other = studies[settings.protocol], studies[OTHER[settings.protocol]]
    return comparison, draw_study(study, other, comparison.results.folder, on_progress)


@app.command()
@options_from(*_ALL, skip=_SKIP)
def run(
    given: dict[str, Any], data: OwnData = None, layers: Layers = None, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """extract, evaluate and visualize in one go.

    Example: probeshift crossdata run --model ./my-model --data mine.csv --text-column claim --datasets facts_cities
    """
    settings = _settings(given, data)
    if dry_run:
        comparison = Comparison.open(settings)
        return _print_plan(crossdata.plan(comparison, also=comparison.layers_to_score(layers or "all")), as_json)
    _run(settings, layers or "all", as_json)


def _run(settings: CrossdataSettings, layers: str, as_json: bool) -> None:
    from probeshift.report.crossdata import draw

    with progress() as on_progress:
        comparison = Comparison.open(settings)
        crossdata.run(comparison, layers=layers, on_progress=on_progress)
    say_tokens(comparison)
    print_pages(draw(comparison.results), as_json)
    offer_page(comparison.results.folder)


def say_tokens(comparison: Comparison) -> None:
    """How much text was read (stderr)."""
    tokens = comparison.tokens()
    padding = 1 - tokens["needed"] / tokens["computed"]
    cut = f"; {tokens['truncated_rows']} prompts cut" if tokens["truncated_rows"] else ""
    say(f"tokens: {tokens['text']:,} in text, {tokens['computed']:,} computed, {padding:.1%} of them padding{cut}")


@options_from(*_ALL, skip=_SKIP)
def plan(given: dict[str, Any], data: OwnData = None, as_json: AsJson = False) -> None:
    """Rows, tokens, bytes, time and memory of a comparison, without loading weights.

    Example: probeshift plan --model smollm2-135m --datasets facts_cities,facts_translations
    """
    _print_plan(crossdata.plan(Comparison.open(_settings(given, data))), as_json)


def _print_plan(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        return print_json(report)
    rows = [
        (f"{p['dataset']} {p['split']}", f"{p['questions']:,}", f"{p['rows']:,}", f"{p['tokens_text']:,}", f"{p['tokens_computed']:,}",
         f"{p['padding_share']:.1%}", size(p["bytes"]), "ready" if p["tokens_left"] == 0 else f"{p['tokens_left']:,} left")
        for p in report["parts"]
    ]  # fmt: skip
    columns = ("extraction", "questions", "rows", "tokens in text", "computed", "padding", "stored", "state")
    print_table(
        f"{report['model']}, {len(report['layers'])} layers, {report['dtype']} on {report['device']}", columns, rows
    )
    print(f"to store     {size(report['bytes_left'])} of {size(report['bytes'])} (free: {size(report['bytes_free'])})")
    print(
        f"to compute   {report['tokens_left']:,} tokens, about {duration(report['seconds'])} by {report['seconds_basis']}"
    )
    print(f"peak memory  about {size(report['memory_bytes'])}")
    print(f"probes       {report['probes']:,}, cells {report['cells']:,}")
