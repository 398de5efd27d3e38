"""Rows out of a file of any format: csv, tsv, json, jsonl, xml, txt, parquet, arrow. No dataset is known here."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, TextIO

from probeshift.datasets.questions import Row
from probeshift.errors import UsageError

_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_LONGEST_CELL = 2**31 - 1  # the csv module's default of 128 KiB is shorter than some passages


def read_rows(path: Path, *, header: bool | None = None) -> Iterator[Row]:
    """The rows of a file, one dict each. Columns of a csv without a header row are named "0", "1", ...

    `header` says whether a csv or tsv has a header row; None looks: a first row with a number in it is no header. A table
    said to have one is a user's own: a cell too many, or quotes that do not match, would cut texts short and are refused.

    Raises:
        UsageError: the format is unknown, or the file is not what its name says.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{path.name} is in no known format: use one of {', '.join(sorted(_READERS))}.")
    yield from _read_delimited(path, header) if reader is _read_delimited else reader(path)


def readable(path: Path) -> bool:
    """Whether the name ends like a format that can be read."""
    return path.suffix.lower() in _READERS


def text_encoding(path: Path) -> str:
    """The encoding of a text file: by its byte order mark, else the first of utf-8, cp1252, latin-1 that decodes."""
    with open(path, "rb") as file:
        start = file.read(4)
    for bom, name in _BOMS:
        if start.startswith(bom):
            return name
    return next((name for name in ("utf-8", "cp1252") if _decodes(path, name)), "latin-1")


def _decodes(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    with open(path, "rb") as file:
        try:
            while block := file.read(1 << 20):
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _open(path: Path) -> TextIO:
    # newline="" leaves line ends inside quoted csv cells alone
    return open(path, encoding=text_encoding(path), newline="")


def _read_delimited(path: Path, header: bool | None = None) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_CELL)
    with _open(path) as file:
        delimiter = "\t" if path.suffix.lower() == ".tsv" else _delimiter(file)
        reader = csv.reader(file, delimiter=delimiter)
        first = next((cells for cells in reader if any(map(str.strip, cells))), None)
        if first is None:
            return
        headerless = any(cell.strip().isdigit() for cell in first) if header is None else not header
        names = [str(i) for i in range(len(first))] if headerless else [name.strip() for name in first]
        above = 0 if headerless else reader.line_num
        if headerless:
            file.seek(0)
        if header:
            _check_header(path, names)
        # skipinitialspace: tables without a header are also published as `1, Title, "Text"`
        plain = delimiter == "\t" and _has_stray_quotes(path, len(names))
        quoting: Literal[0, 3] = csv.QUOTE_NONE if plain else csv.QUOTE_MINIMAL
        reader = csv.reader(
            file, delimiter=delimiter, skipinitialspace=headerless, quoting=quoting, strict=bool(header)
        )
        for cells in _records(path, reader, len(names) if header else None, above):
            if any(cells):
                yield {name: cells[i] if i < len(cells) else None for i, name in enumerate(names)}


def _check_header(path: Path, names: list[str]) -> None:
    doubled = next((name for name in names if name and names.count(name) > 1), None)
    if doubled:
        raise UsageError(f"{path.name} has {names.count(doubled)} columns called `{doubled}`: rename or remove one.")


def _records(path: Path, reader: Any, width: int | None, above: int) -> Iterator[list[str]]:
    """The cells of each row below the first `above` lines; no more than `width` of them, if that is given."""
    lines = above
    try:
        for cells in reader:
            if width is not None and any(cells[width:]):
                raise UsageError(
                    f"{path.name} line {lines + 1} has {len(cells)} cells, its header {width}: put double quotes around a cell "
                    "that holds the separator."
                )
            yield cells
            lines = above + reader.line_num
    except csv.Error as error:
        raise UsageError(
            f"{path.name} line {lines + 1} is not valid csv ({error}): double quotes stand around a whole cell, and are "
            "doubled inside it."
        ) from error


def _has_stray_quotes(path: Path, n_columns: int) -> bool:
    """Whether a tab-separated table has quotes as plain characters: each line is a row, some cell has an odd number."""
    unpaired = False
    with _open(path) as file:
        for line in file:
            cells = line.rstrip("\r\n").split("\t")
            if len(cells) != n_columns and cells != [""]:
                return False
            unpaired = unpaired or any(cell.count('"') % 2 for cell in cells)
    return unpaired


def _delimiter(file: TextIO) -> str:
    line = file.readline()
    file.seek(0)
    return "," if "," in line else next((d for d in (";", "\t", "|") if d in line), ",")


def _read_json(path: Path) -> Iterator[Row]:
    """A list of objects, an object that holds one such list, one object, or one object a line."""
    with _open(path) as file:
        text = file.read()
    try:
        yield from _objects(path, json.loads(text)) if text.strip() else ()
    except json.JSONDecodeError:
        yield from json_lines(path, iter(text.splitlines()))


def _objects(path: Path, value: Any) -> Iterator[Row]:
    if isinstance(value, dict):
        lists = [inner for inner in value.values() if isinstance(inner, list) and inner and isinstance(inner[0], dict)]
        value = lists[0] if len(lists) == 1 else [value]
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise UsageError(
            f"{path.name} holds no list of objects: give a JSON list with one object a row, or JSON lines."
        )
    yield from value


def _read_json_lines(path: Path) -> Iterator[Row]:
    with _open(path) as file:
        first = next((line for line in file if line.strip()), "")
        file.seek(0)
        if first.lstrip().startswith("["):
            yield from _objects(path, json.load(file))
        else:
            yield from json_lines(path, file)


def json_lines(path: Path, lines: Iterable[str]) -> Iterator[Row]:
    """One row a line; `path` is named in errors.

    Raises:
        UsageError: a line is no JSON object.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UsageError(
                f"{path.name} line {number} is not JSON ({error.msg}): mend or remove that line."
            ) from error
        if not isinstance(row, dict):
            raise UsageError(
                f"{path.name} line {number} is not a JSON object: each line must hold one row as an object."
            )
        yield row


def _read_xml(path: Path) -> Iterator[Row]:
    """One row for each child of the root: its attributes, and the text of its own children by tag."""
    from xml.etree import ElementTree

    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as error:
        raise UsageError(f"{path.name} is not well-formed XML ({error}): fetch the file again.") from error
    for item in root:
        yield {**item.attrib, **{child.tag: (child.text or "").strip() for child in item}}


def _read_text(path: Path) -> Iterator[Row]:
    """One row for the whole file: the JSON object it holds, else its text; `path` says which file it was."""
    with _open(path) as file:
        text = file.read()
    if text.lstrip().startswith("{"):
        try:
            yield {**json.loads(text), "path": path.as_posix()}
            return
        except json.JSONDecodeError:
            pass
    yield {"text": text, "path": path.as_posix()}


def _read_parquet(path: Path) -> Iterator[Row]:
    import pyarrow
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UsageError(
            f"{path.name} cannot be read as parquet ({_first_line(error)}): fetch or save the file again."
        ) from error


def _read_arrow(path: Path) -> Iterator[Row]:
    """Arrow as `save_to_disk` writes it (stream), or the arrow file format."""
    import pyarrow

    try:
        with pyarrow.memory_map(str(path)) as source:
            for batch in _batches(pyarrow, source):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise UsageError(
            f"{path.name} cannot be read as arrow ({_first_line(error)}): fetch or save the file again."
        ) from error


def _batches(pyarrow: Any, source: Any) -> Iterator[Any]:
    try:
        stream = pyarrow.ipc.open_stream(source)
    except pyarrow.ArrowInvalid:
        file = pyarrow.ipc.open_file(source)
        yield from (file.get_batch(i) for i in range(file.num_record_batches))
        return
    yield from stream


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


_READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".csv": _read_delimited,
    ".tsv": _read_delimited,
    ".json": _read_json,
    ".jsonl": _read_json_lines,
    ".xml": _read_xml,
    ".txt": _read_text,
    ".parquet": _read_parquet,
    ".arrow": _read_arrow,
}
