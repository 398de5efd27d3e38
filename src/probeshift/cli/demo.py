"""`probeshift demo`: a direction moved in four ways on a real model, and one page that tells it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probeshift.cli.console import print_json, print_table, progress

if TYPE_CHECKING:
    from probeshift.experiments.crossdata import Comparison, CrossdataSettings
    from probeshift.experiments.positions.extract import ExtractSettings
    from probeshift.experiments.positions.settings import TrainSettings
    from probeshift.experiments.transfer.settings import TransferSettings
    from probeshift.report.tables import Pages

    Progress = Callable[[str, int, int], None]

PAGE, SHOWN = "report.html", "shown.json"

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]
OutputDir = Annotated[Path | None, typer.Option("--output-dir", help="Where it goes.", show_default="output/demo")]
Steering = Annotated[bool, typer.Option("--steering", help="Only steer the model with one rule's vector, and look.")]


def demo(as_json: AsJson = False, output_dir: OutputDir = None, steering: Steering = False) -> None:
    """A direction moved to other datasets, mixtures, tokens and another model, told in one page. A real model; no network, key, GPU.

    Example: probeshift demo
    """
    if steering:
        from probeshift.cli.transfer import steering_demo

        return steering_demo(as_json)
    from probeshift.experiments import demo as recipe
    from probeshift.experiments.crossdata import result_folder

    settings = recipe.settings(output_dir)
    folder, page = result_folder(settings).folder, settings.output_dir / PAGE
    key = recipe.fingerprint(settings.model.model, settings, *_later(folder))
    if not recipe.is_finished(folder, key):
        with progress() as on_progress:
            made = _make(settings, folder, on_progress)
            said = _write_page(folder, page, on_progress)
        _keep(folder / SHOWN, made, said)
        recipe.mark_finished(folder, key, [*made.paths, page, folder / SHOWN])
    _show(json.loads((folder / SHOWN).read_text(encoding="utf-8")), folder, page, as_json)


def _later(folder: Path) -> tuple[ExtractSettings, TrainSettings, TransferSettings]:
    """Settings of the parts that stand beside the comparison."""
    from probeshift.experiments import demo as recipe

    asked = folder / "positions"
    return recipe.extract_settings(asked), recipe.train_settings(asked), recipe.transfer_settings(folder / "transfer")


def _make(settings: CrossdataSettings, folder: Path, on_progress: Progress) -> Pages:
    """All parts, each taking over what is finished."""
    from probeshift.cli.crossdata import run_and_draw, say_tokens
    from probeshift.report.crossdata import draw

    comparison, study = run_and_draw(settings, on_progress)
    matrices = draw(comparison.results)
    say_tokens(comparison)
    swept = _mixtures(comparison, matrices.numbers["layer"], on_progress)
    comparison.opened.clear()
    return (
        matrices.then(study)
        .then(swept)
        .then(_positions(settings, folder, on_progress))
        .then(_models(settings, folder, on_progress))
    )


def _mixtures(comparison: Comparison, layer: int, on_progress: Progress) -> Pages:
    from probeshift.experiments import demo as recipe
    from probeshift.experiments import sweep
    from probeshift.report.sweep import draw_sweep, write_report
    from probeshift.report.tables import Pages

    settings = recipe.sweep_settings(comparison, layer)
    found = sweep.finished(settings) or sweep.run(settings, on_progress=on_progress)
    drawn = draw_sweep(found, settings.output_dir, brief=True)
    report = write_report(found, settings.output_dir / "report.txt")
    return Pages(drawn.tables, drawn.notes, (*drawn.paths, report), {"sweep": found})


def _positions(settings: CrossdataSettings, whole: Path, on_progress: Progress) -> Pages:
    from probeshift.experiments import demo as recipe
    from probeshift.experiments.positions.documents import write_documents, write_probes
    from probeshift.experiments.positions.extract import open_reading, run_reading
    from probeshift.experiments.positions.rows import save_tables
    from probeshift.experiments.positions.train import train
    from probeshift.report.positions.pages import draw
    from probeshift.report.tables import Pages

    extraction, training, _ = _later(whole)
    folder, key = whole / "positions", recipe.fingerprint(settings.model.model, extraction, training)
    if not recipe.is_finished(folder, key):
        recipe.write_questions(folder)
        run_reading(open_reading(extraction), on_progress)
        trained = train(training, on_progress)
        recipe.mark_finished(folder, key, [*write_documents(trained), write_probes(trained), *save_tables(trained)])
    drawn = draw(folder)
    return Pages(drawn.tables, drawn.notes, drawn.paths, {"positions": drawn.numbers})


def _models(settings: CrossdataSettings, whole: Path, on_progress: Progress) -> Pages:
    """Vectors carried to another model, and put to use there."""
    from probeshift.experiments import demo as recipe
    from probeshift.experiments.transfer.evaluate import run
    from probeshift.experiments.transfer.study import Study
    from probeshift.report.tables import Pages
    from probeshift.report.transfer.pages import draw

    *_, asked = _later(whole)
    folder, key = whole / "steering", recipe.fingerprint(settings.model.model, asked)
    if not recipe.is_finished(folder, key):
        run(Study.open(asked, on_progress))
        recipe.mark_finished(folder, key, recipe.steer(asked, folder, on_progress))
    drawn = draw(asked.output_dir)
    return Pages(drawn.tables, drawn.notes, drawn.paths, {"transfer": drawn.numbers})


def _write_page(folder: Path, page: Path, on_progress: Progress) -> dict[str, Any]:
    """The page over all parts; gives what its introduction says."""
    from probeshift.experiments.details import write_details
    from probeshift.report.html import write_report
    from probeshift.report.html.introduction import told
    from probeshift.report.html.run_folder import open_runs

    write_details(folder, on_progress=on_progress)
    paths = [folder, *(folder / part for part in ("sweep", "positions", "transfer", "steering"))]
    write_report(paths, page)
    return {run.kind: told(run) for run in open_runs(paths)}


def _keep(path: Path, pages: Pages, said: dict[str, Any]) -> None:
    from probeshift.provenance import publish

    kept = {"tables": pages.tables, "json": pages.to_json(), "said": said}
    publish(path, json.dumps(kept, ensure_ascii=False, default=str))


def _show(shown: dict[str, Any], folder: Path, page: Path, as_json: bool) -> None:
    """Tables, then what each part asked and found, then where things are; the page comes last."""
    if as_json:
        return print_json({**shown["json"], "introduction": shown["said"], "report": str(page)})
    for title, columns, rows in shown["tables"]:
        print_table(title, columns, rows)
    for part in shown["said"].values():
        print(f"\n{part['title']}. {part['asked']}")
        for sentence in part["found"]:
            print(f"- {sentence}")
    print(f"\nfigures, tables and probes: {folder}")
    print("the page, with what may not be concluded; open it in any browser:")
    print(page)
