"""`probeshift report`: one page over saved runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from probeshift.cli.console import print_json, progress, say, size
from probeshift.errors import ProbeshiftError, UsageError

if TYPE_CHECKING:
    from probeshift.report.html.run_folder import RunFolder

LARGEST = 15e6  # bytes that open quickly from disk
_WITH_DETAILS = ("dataset", "")

Runs = Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders; two or more are also compared.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="The page to write.", show_default="report.html in the first run")
]
Details = Annotated[
    str,
    typer.Option(
        help="Scores and texts of single rows: `auto` uses those saved and makes them where activations are at hand; "
        "a layer makes them there; `none` leaves single rows out."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def report(runs: Runs, output: Output = None, details: Details = "auto", as_json: AsJson = False) -> None:
    """Write one self-contained report.html: it opens offline from disk and holds every number of the runs.

    Example: probeshift report output/comparison/smollm2-135m
    """
    from probeshift.report.html import write_report
    from probeshift.report.html.run_folder import open_runs

    opened = open_runs(runs)
    for run in opened:
        _make_details(run, details)
    say("reading and packing the rows")
    path = write_report(runs, output or opened[0].folder / "report.html", with_details=details != "none")
    _say(path, path.stat().st_size, as_json)


def _make_details(run: RunFolder, asked: str) -> None:
    """Side files with scores of single rows; with `auto`, a run that cannot have them goes without and says so."""
    from probeshift.experiments.details import write_details

    if asked == "none":
        return
    if asked != "auto" and not asked.isdigit():
        raise UsageError(f"--details is `auto`, `none` or a layer, got `{asked}`. Try --details auto.")
    if asked == "auto" and (run.details or run.kind not in _WITH_DETAILS):
        return
    try:
        with progress() as on_progress:
            write_details(run.folder, int(asked) if asked.isdigit() else None, on_progress)
    except ProbeshiftError as error:
        if asked != "auto":
            raise
        say(f"no scores of single rows: {error}")


def _say(path: Path, n_bytes: int, as_json: bool) -> None:
    if as_json:
        return print_json({"report": str(path), "bytes": n_bytes})
    if n_bytes > LARGEST:
        say(f"{size(n_bytes)} opens slowly. Fewer runs in one page, or `--details none`, make it smaller.")
    say(f"{size(n_bytes)}; open it in any browser, no server needed")
    print(path)
