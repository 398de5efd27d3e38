"""`probeshift datasets`: the list of all datasets, and what one of them holds."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, no_type_check

import typer

from probeshift.cli.console import print_json, print_table

if TYPE_CHECKING:
    from probeshift.datasets import Dataset, DatasetAudit

app = typer.Typer(no_args_is_help=False, help="List the datasets, or show one: its splits, leaks and examples.")

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", help="Folder with dataset files (default: PROBESHIFT_DATA).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.callback(invoke_without_command=True)
@no_type_check  # typer hands over the parent class of the Context it wants named here
def list_datasets(context: typer.Context, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List every dataset and where it can be read.

    Example: probeshift datasets --data-dir data
    """
    if context.invoked_subcommand:
        return
    from probeshift.datasets import DATASETS
    from probeshift.datasets.loading import availability

    rows = [{**spec.describe(), "available": availability(spec, data_dir)} for spec in DATASETS]
    if as_json:
        print_json({"datasets": rows})
    else:
        _print_list(rows)


@app.command("show")
def show(
    name: Annotated[str | None, typer.Argument(help="A dataset of the list; leave it out with --data.")] = None,
    data_dir: DataDir = None,
    source: Annotated[str, typer.Option("--source", help="auto, local or hub.")] = "auto",
    split_by: Annotated[
        str, typer.Option("--split-by", help="question, or entity (city, word, article).")
    ] = "question",
    data: Annotated[
        Path | None, typer.Option("--data", help="A file of your own: csv, tsv, jsonl, json, parquet.")
    ] = None,
    text_column: Annotated[str, typer.Option("--text-column", help="Column with the text.")] = "text",
    label_column: Annotated[str, typer.Option("--label-column", help="Column with the label.")] = "label",
    group_column: Annotated[
        str | None, typer.Option("--group-column", help="Column with the question a row answers.")
    ] = None,
    split_column: Annotated[
        str | None, typer.Option("--split-column", help="Column with train, selection or test.")
    ] = None,
    true_label: Annotated[str | None, typer.Option("--true-label", help="The label value that means true.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show a dataset: origin, splits, repeated and contradictory texts, leaks, two examples.

    Example: probeshift datasets show got_cities --data-dir data --split-by entity

    Example: probeshift datasets show --data mine.csv --text-column statement
    """
    from probeshift.datasets import audit, load_dataset, load_file
    from probeshift.errors import UsageError

    if (name is None) == (data is None):
        raise UsageError("give either the name of a dataset or --data FILE: `probeshift datasets` lists the names.")
    if data is not None:
        load = partial(
            load_file,
            data,
            text_column=text_column,
            label_column=label_column,
            group_column=group_column,
            split_column=split_column,
            true_label=true_label,
        )
    else:
        load = partial(load_dataset, str(name), data_dir=data_dir, source=source)
    dataset = load(split_by=split_by)
    report = _report(dataset, audit(dataset))
    report["entity_leak_by_question"] = audit(load(split_by="question")).as_dict()["entity_leak"]
    if as_json:
        print_json(report)
    else:
        _print_report(report)


def _report(dataset: Dataset, counts: DatasetAudit) -> dict[str, Any]:
    first = dataset.split("train") or dataset.split("test")
    return {
        **dataset.spec.describe(),
        "source": dataset.source,
        "stand_in": dataset.stand_in,
        "split_by": dataset.split_by,
        "split_rule": dataset.split_rule,
        "entity": dataset.spec.entity_name,
        "content_hash": dataset.content_hash,
        "dropped": dataset.dropped,
        **counts.as_dict(),
        "examples": [
            {"label": row.label, "answer_type": row.answer_type, "text": row.text} for row in _two_examples(first)
        ],
    }


def _two_examples(rows: tuple[Any, ...]) -> list[Any]:
    """The first row, and the first of its question with the other label, else the first such row."""
    others = [row for row in rows if row.label != rows[0].label]
    same = [row for row in others if row.group is not None and row.group == rows[0].group]
    return [*rows[:1], *(same or others)[:1]]


def _print_list(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("name", "family", "options", "grouping", "hub id", "licence", "available", box=None, pad_edge=False)
    for row in rows:
        hub = " ".join(part for part in (row["hub_id"], row["hub_config"]) if part) or "-"
        grouping = "question" if row["grouped"] else "none"
        table.add_row(row["name"], row["family"], row["options"], grouping, hub, row["licence"], row["available"])
    console = Console()
    # a list that is piped or read on a narrow screen keeps one line for each dataset
    Console(width=max(console.width, 150), soft_wrap=True).print(table)


def _print_report(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape

    console = Console(highlight=False)
    lines = [f"{title + ':':<24}{text}" for title, text in _lines(report)]
    console.print(escape("\n".join([f"{report['name']} ({report['family']})", *lines])), soft_wrap=True)
    print_table("Splits", ("split", "rows", "questions", "true"), [_split_cells(row) for row in report["splits"]])
    for example in report["examples"]:
        shown = f"--- an example, {'true' if example['label'] else 'false'}\n{_shortened(example['text'])}"
        console.print(escape(shown), soft_wrap=True)


def _split_cells(row: dict[str, Any]) -> tuple[str, ...]:
    share = "-" if row["positive_share"] is None else f"{row['positive_share']:.1%}"
    return row["split"], f"{row['n_rows']:,}", f"{row['n_questions']:,}", share


def _lines(report: dict[str, Any]) -> list[tuple[str, str]]:
    hub = " ".join(part for part in (report["hub_id"], report["hub_config"]) if part) or "none known"
    lines = [
        ("read from", report["source"]),
        ("hub", hub),
        ("licence", report["licence"]),
        ("split rule", report["split_rule"]),
        (
            "options per question",
            ", ".join(f"{k}: {n:,} questions" for k, n in report["options_per_question"].items()) or "no questions",
        ),
        ("answer types", ", ".join(report["answer_types"]) or "none"),
        ("related", ", ".join(report["related"]) or "none"),
        ("left out", ", ".join(f"{n:,} {reason}" for reason, n in report["dropped"].items()) or "nothing"),
        (
            "repeated texts",
            f"{report['duplicate_statements']:,} rows; {report['test_rows_in_train']:,} test rows are in train",
        ),
        ("contradictory texts", _contradictions(report)),
        ("entity leak", _leaks(report)),
        ("content hash", report["content_hash"]),
    ]
    lines += (
        [("unrankable questions", f"{report['one_label_questions']:,} have one label only")]
        if report["one_label_questions"]
        else []
    )
    lines += [("note", report["note"])] if report["note"] else []
    lines += [("STAND-IN", report["stand_in"])] if report["stand_in"] else []
    return lines


def _contradictions(report: dict[str, Any]) -> str:
    across = f"{report['test_rows_contradicted_in_train']:,} test rows have the other label in train"
    return f"{report['contradictory_statements']:,} with both labels; {across}"


def _leaks(report: dict[str, Any]) -> str:
    limited, whole = report["entity_leak"], report["entity_leak_whole_train"]
    if limited is None or limited["share"] is None:
        return "rows have no entity apart from their question"
    first = f"the first {limited['train_questions']:,} train questions"
    entity = f"{'an' if report['entity'][0] in 'aeiou' else 'a'} {report['entity']}"
    many = f"{limited['share']:.1%} of test rows share {entity} with {first}"
    by_question = report["entity_leak_by_question"]["share"] or 0.0
    compared = f" (split by question: {by_question:.1%})" if report["split_by"] == "entity" else ""
    return f"{many}, {whole['share']:.1%} with all {whole['train_questions']:,}{compared}"


def _shortened(text: str, limit: int = 900) -> str:
    half = limit // 2
    return text if len(text) <= limit else f"{text[:half]} [...] {text[-half:]}"
