"""`probeshift table`, `ls`, `show`, `diff` and `doctor`."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from probeshift.cli.console import print_json, print_table, say, size
from probeshift.cli.crossdata import AsJson
from probeshift.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

Runs = Annotated[list[Path], typer.Argument(help="Run folders, or files of rows (.parquet, .csv).")]
Where = Annotated[
    list[str] | None, typer.Option("--where", help="column=value, =a,b, !=, >, <, >=, <=; repeatable, all must hold.")
]
Wide = Annotated[
    str | None, typer.Option("--wide", help="A matrix instead: row column x column column, such as train,test.")
]
Columns = Annotated[str | None, typer.Option("--columns", help="Columns to keep, separated by commas.")]
Sort = Annotated[str | None, typer.Option("--sort", help="Column to sort by; a minus before it: largest first.")]
Limit = Annotated[int | None, typer.Option("--limit", min=1, help="Most rows to print.")]
AsFormat = Annotated[str, typer.Option("--format", help="markdown, csv or json, for standard output.")]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Write all rows to a .csv, .parquet, .md or .json file instead.")
]


def table(
    runs: Runs, where: Where = None, wide: Wide = None, columns: Columns = None, sort: Sort = None, limit: Limit = None,
    format: AsFormat = "markdown", output: Output = None,
) -> None:  # fmt: skip
    """Print or save the rows of runs, filtered, long or as a matrix with intervals and n.

    Example: probeshift table output/comparison/smollm2-135m --where method=dim --where metric=auroc --where layer=14
    --where split=test --wide train,test
    """
    from probeshift.inspection import tables

    rows = tables.where(tables.read_runs(runs), where or [])
    if wide:
        index, comma, across = wide.partition(",")
        if not comma:
            raise UsageError(f"--wide `{wide}` is not understood. Write two columns, such as train,test.")
        rows = tables.wide(rows, index, across)
    rows = _arranged(rows, columns, sort)
    if output is not None:
        _save(rows, output)
        return print(output)
    _print_rows(rows if limit is None else rows.head(limit), format)
    if limit is not None and len(rows) > limit:
        say(f"{limit:,} of {len(rows):,} rows")


def _arranged(rows: pd.DataFrame, columns: str | None, sort: str | None) -> pd.DataFrame:
    from probeshift.errors import nearest

    wanted = columns.split(",") if columns else list(rows.columns)
    for name in [*wanted, *([sort.lstrip("-")] if sort else [])]:
        if name not in rows:
            raise UsageError(f"there is no column `{name}`. {nearest(name, map(str, rows.columns))}")
    if sort:
        rows = rows.sort_values(sort.lstrip("-"), ascending=not sort.startswith("-"), kind="stable")
    return rows[wanted]


def _print_rows(rows: pd.DataFrame, format: str) -> None:
    from probeshift.errors import nearest
    from probeshift.inspection.tables import to_markdown, to_records

    if format == "json":
        return print_json({"rows": to_records(rows)})
    if format not in ("markdown", "csv"):
        raise UsageError(
            f"--format `{format}` is not known. {nearest(format, ('markdown', 'csv', 'json'))} A .parquet needs --output."
        )
    sys.stdout.write(to_markdown(rows) if format == "markdown" else rows.to_csv(index=False))


def _save(rows: pd.DataFrame, path: Path) -> None:
    import json

    from probeshift.inspection.tables import to_markdown, to_records
    from probeshift.provenance import publish

    if path.suffix == ".parquet":
        return publish(path, rows.to_parquet(index=False))
    if path.suffix == ".json":
        return publish(path, json.dumps(to_records(rows), ensure_ascii=False))
    if path.suffix not in (".csv", ".md"):
        raise UsageError(f"--output {path.name} must end in .csv, .parquet, .md or .json.")
    publish(path, rows.to_csv(index=False) if path.suffix == ".csv" else to_markdown(rows))


Folder = Annotated[Path, typer.Argument(help="Where to look.")]
Cache = Annotated[bool, typer.Option("--cache/--no-cache", help="List the cache too (PROBESHIFT_CACHE).")]
All = Annotated[bool, typer.Option("--all", help="All items, not the thirty largest of each kind.")]
_MANY = 30


def ls(folder: Folder = Path("."), cache: Cache = True, all_items: All = False, as_json: AsJson = False) -> None:
    """List runs, activation stores, probes and models below a folder and in the cache, with their sizes.

    Example: probeshift ls output
    """
    from probeshift.inspection.finding import find
    from probeshift.provenance import cache_root

    places = [folder, *([cache_root()] if cache and cache_root().is_dir() else [])]
    items = list({item.path.resolve(): item for place in places for item in find(place)}.values())
    if as_json:
        told = [{"kind": i.kind, "path": str(i.path), "bytes": i.n_bytes, "what": i.what} for i in items]
        return print_json({"items": told, "bytes": sum(i.n_bytes for i in items)})
    for kind in dict.fromkeys(i.kind for i in items):
        of_kind = sorted((i for i in items if i.kind == kind), key=lambda i: -i.n_bytes)
        shown = of_kind if all_items else of_kind[:_MANY]
        left = f", the {_MANY} largest shown" if len(shown) < len(of_kind) else ""
        title = f"{kind}: {len(of_kind)}, {size(sum(i.n_bytes for i in of_kind))}{left}"
        print_table(title, ("path", "size", "what"), [(str(i.path), size(i.n_bytes), i.what) for i in shown])
    if not items:
        say(f"nothing below {folder}")


Thing = Annotated[Path, typer.Argument(help="A run folder, a probe file or an activation store.")]


def show(path: Thing, as_json: AsJson = False) -> None:
    """Tell what a run, probe file or activation store holds and where it came from.

    Example: probeshift show output/comparison/smollm2-135m/probes/dim/got_cities.safetensors
    """
    from probeshift.inspection.showing import show as tell

    about = tell(path)
    if as_json:
        return print_json(about)
    layers = about.pop("layers") if about["kind"] == "probe" else []
    for key, value in about.items():
        print(f"{key.replace('_', ' '):<22} {size(value) if key == 'bytes' else _words(value)}")
    if layers:
        print_table("layers", list(layers[0]), [[_words(v) for v in layer.values()] for layer in layers])


def _words(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, dict):
        return "; ".join(f"{k} {_words(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_words, value)) or "none"
    return (
        f"{value:.6g}"
        if isinstance(value, float)
        else "yes"
        if value is True
        else "no"
        if value is False
        else str(value)
    )


First = Annotated[Path, typer.Argument(metavar="RUN", help="The run to start from.")]
Second = Annotated[Path, typer.Argument(metavar="RUN", help="The run to compare with it.")]
Top = Annotated[int, typer.Option("--top", help="Cells to print, those beyond noise first, then by size of change.")]
CellsTo = Annotated[Path | None, typer.Option("--output", "-o", help="Write all cells to a .csv or .parquet file.")]


def diff(a: First, b: Second, top: Top = 20, output: CellsTo = None, as_json: AsJson = False) -> None:
    """Tell what changed between two runs, and whether by more than noise: paired by question where both kept them.

    Example: probeshift diff output/before output/after
    """
    from probeshift.inspection.comparing import compare_runs
    from probeshift.inspection.tables import to_records

    found = compare_runs(a, b)
    if output is not None:
        _save(found.cells, output)
    order = found.cells.assign(size=found.cells["difference"].abs(), sure=found.cells["beyond_noise"].eq(True))
    shown = (
        order[order["size"] > 0].sort_values(["sure", "size"], ascending=False).head(top).drop(columns=["size", "sure"])
    )
    if as_json:
        settings = [{"name": n, "a": x, "b": y} for n, x, y in found.settings]
        return print_json({"counts": found.counts(), "settings": settings, "cells": to_records(shown)})
    for name, x, y in found.settings:
        print(f"{name}: {_words(x)} -> {_words(y)}")
    print(_counted(found.counts()))
    if len(shown):
        _print_cells(shown, [c for c in found.cells if found.cells[c].nunique(dropna=False) == 1])
    if output is not None:
        print(output)


_WORDS = {"only_a": "only in the first", "only_b": "only in the second"}
_ALWAYS = ("cells", "equal", "changed", "beyond_noise")


def _counted(counts: Mapping[str, int]) -> str:
    """Counts as words; what did not occur is left out but for what a reader looks for."""
    told = {name: count for name, count in counts.items() if count or name in _ALWAYS}
    return ", ".join(f"{count:,} {_WORDS.get(name, name.replace('_', ' '))}" for name, count in told.items())


_MEASURED = ("difference", "ci_low", "ci_high", "p", "q")


def _print_cells(cells: pd.DataFrame, constant: list[str]) -> None:
    keys = [c for c in cells if c not in (*constant, *_MEASURED) and not c.endswith(("_a", "_b"))]
    rows = [
        [
            *(_words(row[k]) for k in keys),
            _range(row, "_a"),
            _range(row, "_b"),
            f"{row['difference']:+.3f}",
            _or_none(row["q"]),
        ]
        for row in cells.to_dict("records")
    ]
    print_table("largest changes", [*keys, "a", "b", "b - a", "q"], rows)


def _range(row: dict[Any, Any], side: str) -> str:
    value, low, high, n = (row[f"{name}{side}"] for name in ("value", "ci_low", "ci_high", "n"))
    interval = f" [{low:.2f}, {high:.2f}]" if low == low and low is not None else ""
    return f"{value:.3f}{interval}" + (f" n={n:.0f}" if n == n and n is not None else "")


def _or_none(value: float) -> str:
    return "" if value != value else f"{value:.2g}"


ModelName = Annotated[
    str | None, typer.Option("--model", "-m", help="Load this model and prove that its layers can be read.")
]


def doctor(model: ModelName = None, as_json: AsJson = False) -> None:
    """Check this machine: versions, torch build, GPU, caches, disk; with --model the residual stream against the model's own.

    Example: probeshift doctor --model smollm2-135m
    """
    from dataclasses import asdict

    from probeshift.inspection.doctor import examine

    found = examine(model)
    if as_json:
        print_json({"findings": [asdict(f) for f in found]})
    else:
        for f in found:
            print(f"{'' if f.level == 'ok' else f.level:<8} {f.name:<18} {f.told}")
            if f.remedy:
                print(f"{'':<27} {f.remedy}")
    if any(f.level == "problem" for f in found):
        raise typer.Exit(1)
