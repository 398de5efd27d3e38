"""Finding a dataset in a local folder: by words in the path, then by what the first row of a file looks like."""

from __future__ import annotations

import logging
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from probeshift.datasets.questions import Layout, Row
from probeshift.datasets.reading import read_rows, readable
from probeshift.errors import MissingError, ProbeshiftError

log = logging.getLogger(__name__)

_SOURCES = {
    "train": "train",
    "training": "train",
    "dev": "validation",
    "devel": "validation",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}
_NUMBERED = re.compile(r"\d+(_\d+)?")  # one text a file: reviews `17_9.txt`, articles `1043.txt`
_SHARD = re.compile(r"[-_.]\d{4,5}[-_]of[-_]\d{4,5}")


@dataclass(frozen=True)
class Piece:
    """One source split of a dataset in one layout: the files that hold it, in reading order."""

    source: str
    paths: tuple[Path, ...]
    layout: Layout

    def rows(self) -> Iterator[Row]:
        """The raw rows of all files, in order."""
        read = self.layout.read or read_rows
        return chain.from_iterable(read(path) for path in self.paths)


def data_folder(data_dir: Path | None) -> Path | None:
    """The folder to look in: the one given, else `PROBESHIFT_DATA`; None when neither names one.

    Raises:
        MissingError: the folder named does not exist.
    """
    named = data_dir or (Path(os.environ["PROBESHIFT_DATA"]) if os.environ.get("PROBESHIFT_DATA") else None)
    if named is not None and not named.is_dir():
        origin = "--data-dir" if data_dir else "PROBESHIFT_DATA"
        raise MissingError(f"the data folder {named} does not exist: correct {origin} or create the folder.")
    return named


def data_files(root: Path) -> list[Path]:
    """Every readable file below the folder, sorted; hidden folders and the caches of other tools are not entered."""
    found = []
    for folder, inner, names in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith((".", "__")))
        found += [
            Path(folder, name)
            for name in sorted(names)
            if readable(Path(name)) and not name.startswith(("cache-", "."))
        ]
    return found


def words(path: Path) -> str:
    """A path as lower-case words between single spaces, for matching."""
    return " " + re.sub(r"[^a-z0-9]+", " ", path.as_posix().lower()).strip() + " "


def mentions(path: Path, keywords: Iterable[str]) -> bool:
    """Whether one of the keywords stands in the path as whole words."""
    text = words(path)
    return any(f" {keyword} " in text for keyword in keywords)


def matching_files(root: Path, keywords: tuple[str, ...]) -> list[Path]:
    """The files whose path below the folder mentions the dataset; all files when the folder is named after it."""
    files = data_files(root)
    found = [path for path in files if mentions(path.relative_to(root), keywords)]
    return found or (files if mentions(Path(root.resolve().name), keywords) else [])


def source_of(relative: Path) -> str:
    """The source split a path names: the last such word of the file name, else of the nearest folder, else `all`."""
    for part in reversed(relative.parts):
        spoken = [_SOURCES[word] for word in words(Path(part)).split() if word in _SOURCES]
        if spoken:
            return spoken[-1]
    return "all"


def find_pieces(root: Path, keywords: tuple[str, ...], layouts: tuple[Layout, ...]) -> dict[str, Piece]:
    """For each source split the best layout that holds it: first by the order of `layouts`, then by the shorter path.

    A folder often holds the same questions several times (original, hub, benchmark copies): one copy is read.
    """
    ranked: dict[str, list[tuple[int, int, str, Piece]]] = defaultdict(list)
    for source, paths in _bundles(root, matching_files(root, keywords)):
        layout = _recognise(paths[0], layouts)
        if layout:
            source = layout.sources.get(source, source)
            name = paths[0].relative_to(root).as_posix()
            ranked[source].append((layouts.index(layout), len(name), name, Piece(source, paths, layout)))
    pieces = {}
    for source, candidates in sorted(ranked.items()):
        candidates.sort(key=lambda c: c[:3])
        pieces[source] = candidates[0][3]
        for *_, name, _piece in candidates[1:]:
            log.info("%s repeats source split %s and was not read", name, source)
    return pieces


def _bundles(root: Path, files: list[Path]) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """Files that are read as one: the shards of a table, and all the single-text files of a source split."""
    bundles: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in files:
        relative = path.relative_to(root)
        source = source_of(relative)
        if path.suffix == ".txt" and not _NUMBERED.fullmatch(path.stem):
            continue  # word lists, class names, read-me files
        bundles[source, ".txt" if path.suffix == ".txt" else _SHARD.sub("", relative.as_posix())].append(path)
    for (source, _), paths in sorted(bundles.items()):
        yield source, tuple(sorted(paths, key=_natural))


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts numbers in names by value: 2.txt before 10.txt."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.as_posix())]


def _recognise(path: Path, layouts: tuple[Layout, ...]) -> Layout | None:
    try:
        plain = next(iter(read_rows(path)), None)
        for layout in layouts:
            row = next(iter(layout.read(path)), None) if layout.read else plain
            if row is not None and layout.accepts(row):
                return layout
    except (ProbeshiftError, OSError) as error:
        log.warning("%s was passed over: %s", path.name, error)
    return None


def shown(root: Path, piece: Piece) -> str:
    """The files of a piece, relative to the data folder, as read in the `source` of a dataset."""
    names = [path.relative_to(root).as_posix() for path in piece.paths]
    return names[0] if len(names) == 1 else f"{os.path.commonpath(names) or '.'} ({len(names)} files)"
