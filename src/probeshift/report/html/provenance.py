"""A manifest as short tables: command, models, data with their hashes, versions, seeds, and everything else it holds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from probeshift.report.html.plain_text import shown_name, shown_text
from probeshift.report.html.run_folder import RunFolder

Section = dict[str, Any]
_LONGEST_LIST = 40


def provenance(run: RunFolder) -> list[Section]:
    """Sections of a title, column names and rows of text, most asked for first; nothing of the manifest is left out."""
    rest = dict(run.manifest)
    made = dict(rest.pop("made", {})) if isinstance(rest.get("made"), Mapping) else {}
    sections = [_section("How it was made", _made(run, made))]
    for name, title in (("model", "Model"), ("settings", "Settings")):
        if name in rest:
            sections.append(_section(title, flat(rest.pop(name))))
    for name, title in (("datasets", "Data"), ("stores", "Activation stores")):
        if name in rest:
            sections.append(_table(title, rest.pop(name)))
    if made.get("versions"):
        sections.insert(1, _section("Versions", flat(made["versions"])))
    return [section for section in [*sections, _section("Also in the manifest", flat(rest))] if section["rows"]]


def _made(run: RunFolder, made: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "folder", run.folder
    for key, value in made.items():
        if key != "versions":
            yield key, " ".join(map(str, value)) if key == "command" and isinstance(value, list) else value


def _section(title: str, rows: Any) -> Section:
    return {"title": title, "columns": ["what", "value"], "rows": [[shown_name(k), shown_text(v)] for k, v in rows]}


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a JSON value with the path to it."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from flat(part, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        more = f" … and {len(value) - _LONGEST_LIST} more" if len(value) > _LONGEST_LIST else ""
        yield path, ", ".join(map(str, value[:_LONGEST_LIST])) + more
    elif value is not None:
        yield path, value


def _table(title: str, value: Any) -> Section:
    """Records of the same kind, by name or in a list, as a table of their fields."""
    records = (
        [{"name": k, **_leaves(v)} for k, v in value.items()]
        if isinstance(value, Mapping)
        else list(map(_leaves, value))
    )
    columns = list(dict.fromkeys(key for record in records for key in record))
    rows = [[shown_text(record.get(key, "")) for key in columns] for record in records]
    return {"title": title, "columns": [shown_name(c) for c in columns], "rows": rows}


def _leaves(value: Any) -> dict[str, Any]:
    return dict(flat(value)) if isinstance(value, Mapping) else {"value": value}
