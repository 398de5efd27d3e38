"""`probeshift sweep ...`: the same tests while the training mixture grows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from probeshift.cli.console import offer_page, print_pages, progress, say
from probeshift.errors import UsageError

app = typer.Typer(
    help="Distribution sweep: one probe, the same tests, a training mixture that grows.", no_args_is_help=True
)

Config = Annotated[
    Path | None,
    typer.Option("--config", help="YAML file with sources, tests and steps.", show_default="the study's four steps"),
]
Cache = Annotated[
    Path | None, typer.Option("--cache", help="Folder of cached activations.", show_default="cache/layer_40")
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Folder that holds the tables of the config.")]
OutputDir = Annotated[
    Path | None, typer.Option("--output-dir", help="Where results go.", show_default="results/distribution_sweep")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]


@app.command()
def run(
    more: Annotated[list[str] | None, typer.Argument(hidden=True)] = None,
    config: Config = None,
    steps: Annotated[
        list[str] | None, typer.Option("--steps", help="Steps to run: 0 1 or 0,1.", show_default="all")
    ] = None,
    compare_only: Annotated[bool, typer.Option("--compare-only", help="Train nothing, compare what is there.")] = False,
    cache: Cache = None,
    data_dir: DataDir = None,
    output_dir: OutputDir = None,
    as_json: AsJson = False,
) -> None:
    """Train and test every step, then compare them.

    Example: probeshift sweep run --cache cache/layer_40 --steps 0 1
    """
    from probeshift.experiments import sweep

    if more and not steps:
        raise UsageError(f"`{more[0]}` is not an option. Steps are given as --steps {' '.join(more)}.")
    settings = _settings(config, output_dir, cache=cache, data_dir=data_dir)
    if compare_only:
        return _show(sweep.compare(settings.output_dir), settings.output_dir, as_json)
    with progress() as on_progress:
        found = sweep.run(settings, _numbers([*(steps or ()), *(more or ())]), on_progress)
    _show(found, settings.output_dir, as_json)


@app.command()
def compare(config: Config = None, output_dir: OutputDir = None, as_json: AsJson = False) -> None:
    """Compare the steps that were run: gains, gaps, controls and what may be concluded.

    Example: probeshift sweep compare
    """
    from probeshift.experiments import sweep

    folder = _settings(config, output_dir).output_dir
    _show(sweep.compare(folder), folder, as_json)


@app.command()
def report(
    output: Annotated[
        Path | None, typer.Option("--output", help="Text file to write.", show_default="report.txt beside the results")
    ] = None,
    config: Config = None,
    output_dir: OutputDir = None,
) -> None:
    """Write the comparison as a text report.

    Example: probeshift sweep report --output report.txt
    """
    from probeshift.experiments import sweep
    from probeshift.report.sweep import write_report

    folder = _settings(config, output_dir).output_dir
    print(write_report(sweep.compare(folder), output or folder / "report.txt"))


def _settings(config: Path | None, output_dir: Path | None, **folders: Path | None) -> Any:
    from probeshift.experiments.sweep_settings import read_sweep

    given = {"output_dir": output_dir, **folders}
    return read_sweep(config, **{k: v for k, v in given.items() if v is not None})


def _numbers(words: list[str]) -> list[int]:
    parts = [part for word in words for part in word.split(",") if part]
    wrong = next((part for part in parts if not part.isdigit()), None)
    if wrong is not None:
        raise UsageError(f"--steps takes whole numbers such as 0 1, got `{wrong}`.")
    return [int(part) for part in parts]


def _show(found: dict[str, Any], folder: Path, as_json: bool) -> None:
    from probeshift.report.sweep import draw_sweep, write_report

    pages = draw_sweep(found, folder)
    text = write_report(found, folder / "report.txt")
    print_pages(pages, as_json)
    if as_json:
        return
    print(text)
    n_steps = len(found["step_values"])
    say(f"{n_steps} step{'s' * (n_steps != 1)} compared")
    offer_page(folder)
