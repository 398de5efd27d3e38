"""`probeshift extract` and `probeshift train`: one probe per layer and token position."""

from __future__ import annotations

from typing import Any

from probeshift.cli.console import duration, offer_page, print_json, print_pages, progress, say, size
from probeshift.cli.crossdata import AsJson, DryRun
from probeshift.cli.options import checked, options_from, pick
from probeshift.experiments.inputs import ModelSettings
from probeshift.experiments.positions.extract import ExtractSettings, Reading, open_reading, plan_reading, run_reading
from probeshift.experiments.positions.settings import TrainSettings


@options_from(ExtractSettings, ModelSettings)
def extract(given: dict[str, Any], dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Read the activations of a table of questions at every layer and post-instruction token.

    Example: probeshift extract --model smollm2-135m --dataset-path MATH.parquet --label-column success_rate
    --use-chat-template --output-path activations/train
    """
    settings = checked(ExtractSettings, {**pick(given, ExtractSettings), "model": pick(given, ModelSettings)})
    reading = open_reading(settings)
    for line in reading.decisions:
        say(line)
    if dry_run:
        return _print_plan(plan_reading(reading), as_json)
    with progress() as on_progress:
        store = run_reading(reading, on_progress)
    report = _report(reading, len(store.rows))
    if as_json:
        return print_json(report)
    cut = f"; {report['truncated_rows']} prompts cut" if report["truncated_rows"] else ""
    say(f"{report['rows']:,} rows, {len(report['layers'])} layers, {len(report['positions'])} positions{cut}")
    print(settings.output_path)


@options_from(TrainSettings)
def train(given: dict[str, Any], as_json: AsJson = False) -> None:
    """Fit and cross-validate a probe at every layer and position, choose one, and judge it on test rows.

    Example: probeshift train --train-activations activations/train --test-activations activations/test --output-dir results/run_1
    """
    from probeshift.experiments.positions.train import train as run
    from probeshift.report.positions.pages import draw

    settings = checked(TrainSettings, pick(given, TrainSettings))
    with progress() as on_progress:
        trained = run(settings, on_progress)
    say(trained.decision)
    paths = _write(trained)
    pages = draw(settings.output_dir)
    offer_page(settings.output_dir)
    print_pages(pages, as_json, also=paths)


def _write(trained: Any) -> list[Any]:
    from probeshift.experiments.positions.documents import write_documents, write_probes
    from probeshift.experiments.positions.rows import save_tables

    return [*write_documents(trained), write_probes(trained), *save_tables(trained)]


def _report(reading: Reading, n_rows: int) -> dict[str, Any]:
    plan = reading.job.plan
    return {
        "output": str(reading.settings.output_path), "rows": n_rows, "layers": list(plan.header["layers"]),
        "positions": list(reading.positions), "template": plan.header["template"], "truncated_rows": plan.truncated,
        "decisions": list(reading.decisions),
    }  # fmt: skip


def _print_plan(report: dict[str, Any], as_json: bool) -> None:
    if as_json:
        return print_json(report)
    print(f"rows         {report['rows']:,}, {len(report['layers'])} layers, {len(report['positions'])} positions")
    twice = ", and as much again at the output path" if report["tensor_file"] else ""
    print(f"to store     {size(report['bytes'])}{twice} (free: {size(report['bytes_free'])})")
    print(
        f"to compute   {report['tokens_left']:,} tokens, about {duration(report['seconds'])} by {report['seconds_basis']}"
    )
    print(f"peak memory  about {size(report['memory_bytes'])}")
