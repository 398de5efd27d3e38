"""`probeshift transfer ...`: steering vectors of one model in another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probeshift.cli.console import offer_page, print_json, print_pages, progress, say
from probeshift.errors import UsageError

if TYPE_CHECKING:
    from probeshift.experiments.transfer.settings import TransferSettings
    from probeshift.experiments.transfer.study import Study

app = typer.Typer(
    help="Steering vectors of one model in another: made, carried, evaluated against controls.", no_args_is_help=True
)

Config = Annotated[
    Path | None,
    typer.Option("--config", help="YAML file with models, concepts, maps.", show_default="that of the last `vectors`"),
]
OutputDir = Annotated[Path | None, typer.Option("--output-dir", help="Where results go.", show_default="results")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]


@app.command()
def vectors(config: Config = None, output_dir: OutputDir = None, as_json: AsJson = False) -> None:
    """Make a DiffMean vector of every concept in both models; the split of concepts is written first.

    Example: probeshift transfer vectors --config examples/transfer-smollm2.yaml
    """
    from probeshift.experiments.transfer.study import VECTORS
    from probeshift.experiments.transfer.vectors import make_vectors

    with progress() as on_progress:
        study = _open(_settings(config, output_dir), on_progress)
        layers = make_vectors(study)
    files = [study.folder(VECTORS) / f"{name}.safetensors" for name in layers]
    if as_json:
        return print_json({"layers": layers, "files": list(map(str, files))})
    for name, layer in layers.items():
        say(f"{name}: {len(study.data.concepts)} vectors at layer {layer}")
    for path in files:
        print(path)


Source = Annotated[str | None, typer.Option("--source-model", help="Model whose vectors are carried.")]
Target = Annotated[str | None, typer.Option("--target-model", help="Model they are carried to.")]
Method = Annotated[str, typer.Option("--method", help="identity, linear, procrustes, lowrank or mlp.")]


@app.command()
def fit(
    method: Method = "linear",
    source_model: Source = None,
    target_model: Target = None,
    config: Config = None,
    output_dir: OutputDir = None,
    as_json: AsJson = False,
) -> None:
    """Fit a map between the models on generic text that shares nothing with the concepts.

    Example: probeshift transfer fit --source-model gemma-2-2b --target-model llama-3.1-8b --method linear
    """
    from probeshift.experiments.transfer.analysis import map_rows
    from probeshift.experiments.transfer.maps import fit as fit_map
    from probeshift.experiments.transfer.maps import map_path
    from probeshift.steering.maps import find_map

    name = find_map(method).name
    given = {"source": source_model, "target": target_model}
    settings = _settings(config, output_dir, **{k: v for k, v in given.items() if v is not None})
    with progress() as on_progress:
        study = _open(settings, on_progress)
        fitted = fit_map(study, [name])
    row = map_rows(fitted, {}).iloc[0].to_dict()
    if as_json:
        return print_json(row)
    told = "not defined" if row["r_squared"] is None else f"{row['r_squared']:.3f}"
    say(
        f"layer {row['source_layer']} to {row['target_layer']} ({row['layer_choice']}), {row['n_train']:,} pairs by {row['pairing']}"
    )
    say(f"held-out variance explained by {row['r_squared_of']}: {told}")
    print(map_path(study, name, fitted[name][0].card.seed))


@app.command()
def evaluate(
    config: Config = None, output_dir: OutputDir = None, dry_run: DryRun = False, as_json: AsJson = False
) -> None:
    """Steer the target with carried and native vectors and with controls; score, compare, draw.

    Example: probeshift transfer evaluate --config examples/transfer-smollm2.yaml
    """
    from probeshift.experiments.transfer.evaluate import evaluate as run_evaluation

    _carry_out(run_evaluation, _settings(config, output_dir), dry_run, as_json)


@app.command()
def run(config: Config = None, output_dir: OutputDir = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """All steps in a row: vectors, maps, evaluation, analysis. The same command continues a stopped run.

    Example: probeshift transfer run --config examples/transfer-smollm2.yaml --dry-run
    """
    from probeshift.experiments.transfer.evaluate import run as run_all

    _carry_out(run_all, _settings(config, output_dir), dry_run, as_json)


@app.command()
def report(output_dir: OutputDir = None, as_json: AsJson = False) -> None:
    """Draw the pages again from saved tables; no model is needed.

    Example: probeshift transfer report --output-dir results
    """
    _show(output_dir or Path("results"), as_json)


def steering_demo(as_json: bool) -> None:
    """`probeshift demo --steering`: one rule's vector, made and applied, beside the model as it is."""
    from dataclasses import asdict

    from probeshift.cli.steer import print_texts
    from probeshift.experiments.demo.one_rule import RULE, demonstrate

    with progress() as on_progress:
        vector, texts, followed = demonstrate(on_progress)
    if as_json:
        return print_json(
            {
                "vector": asdict(vector.card),
                "texts": [asdict(t) | {"follows": f} for t, f in zip(texts, followed, strict=True)],
            }
        )
    print_texts(vector, texts)
    for text, kept in zip(texts, followed, strict=True):
        name = "unsteered" if text.strength is None else f"strength {text.strength:g}"
        print(f"{name}: {'follows' if kept else 'does not follow'} the rule `{RULE}`")


def _carry_out(step: Any, settings: TransferSettings, dry_run: bool, as_json: bool) -> None:
    from probeshift.experiments.transfer.plan import plan

    with progress() as on_progress:
        study = _open(settings, on_progress, writes=not dry_run)
        planned = plan(study)
        if dry_run:
            return _print_plan(planned, as_json)
        _say_plan(planned)
        step(study)
    _show(settings.output_dir, as_json)


def _open(settings: TransferSettings, on_progress: Any, *, writes: bool = True) -> Study:
    from probeshift.experiments.transfer.study import Study

    return Study.open(settings, on_progress, writes=writes)


def _settings(config: Path | None, output_dir: Path | None, **given: Any) -> TransferSettings:
    """Command line over file; without a file those of the last run in the output folder."""
    from probeshift.experiments.config_file import read_config
    from probeshift.experiments.transfer.settings import SETTINGS_FILE, TransferSettings

    if output_dir is not None:
        given["output_dir"] = output_dir
    path = config or (output_dir or Path("results")) / SETTINGS_FILE
    if config is None and not path.exists():
        raise UsageError(
            f"--config is missing, and there are no settings of an earlier run in {path.parent}/. Give --config."
        )
    return read_config(path, TransferSettings, **given)


def _plan_line(planned: dict[str, Any]) -> str:
    kept = f" ({planned['texts_kept']:,} already written)" if planned["texts_kept"] else ""
    return f"plan: at most {planned['texts_at_most']:,} texts{kept}, {planned['tokens_at_most']:,} tokens"


def _judge_lines(planned: dict[str, Any]) -> list[str]:
    judge = planned["judge"]
    if judge is None:
        return []
    lines = [f"judge, for as many texts: {judge['told']}"]
    if judge["lacks_key"]:
        lines.append(
            f"note: the judge needs a key, and {judge['lacks_key']} is not set: the run would write the texts that strengths are "
            "chosen on, keep them and stop; set it, and the same command goes on"
        )
    return lines


def _say_plan(planned: dict[str, Any]) -> None:
    for line in (_plan_line(planned), *_judge_lines(planned)):
        say(line)


def _print_plan(planned: dict[str, Any], as_json: bool) -> None:
    if as_json:
        return print_json(planned)
    for part, names in planned["concepts"].items():
        print(f"{part:<10} {len(names)} concepts: {', '.join(names)}")
    print(f"rows       {planned['vector_rows']:,} make vectors, {planned['detection_rows']:,} are for detection")
    print(f"alignment  {planned['alignment_texts']:,} texts")
    for line in (_plan_line(planned), *_judge_lines(planned)):
        print(line)


def _show(folder: Path, as_json: bool) -> None:
    from probeshift.report.transfer.pages import draw

    print_pages(draw(folder), as_json)
    if not as_json:
        offer_page(folder)
