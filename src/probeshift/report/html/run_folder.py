"""What a page reads of a run folder: its result tables, the small tables beside its figures, its manifest and its reading.

Any folder with a tidy `results.parquet` is a run; so is one that holds small tables of carried vectors or of steered texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeshift.errors import StoreError, UsageError

if TYPE_CHECKING:
    import pandas as pd

MAIN = "results"
LARGEST_TABLE = 4 << 20  # bytes of a file; larger ones stay beside the report
TABLES_ONLY = {"analysis/closeness.parquet": "model", "curves.parquet": "steering"}
"""Files by which a run without result rows is known, and what such a run moves a direction to."""
_FOLDERS = ("", "analysis/", "evaluation/")
_NEEDED = ("method", "test", "split", "metric", "value")
_ORDER = ["split", "metric", "protocol", "test", "method", "train", "position", "layer"]


@dataclass(frozen=True)
class RunFolder:
    """One run on disk. `name` tells it from the others of a report."""

    folder: Path
    name: str

    @classmethod
    def open(cls, path: Path, name: str = "") -> RunFolder:
        """A run by its folder, or by its results.parquet.

        Raises:
            UsageError: there is no such folder, or it holds no results.
        """
        folder = path.parent if path.name == f"{MAIN}.parquet" else path
        if any((folder / file).exists() for file in (f"{MAIN}.parquet", *TABLES_ONLY)):
            return cls(folder, name or folder.resolve().name)
        below = sorted(p.parent for p in folder.glob(f"*/{MAIN}.parquet")) if folder.is_dir() else []
        found = f" Runs below it: {', '.join(f'`{p}`' for p in below[:6])}." if below else ""
        raise UsageError(
            f"`{path}` holds no {MAIN}.parquet, so it is no finished run.{found or ' Name the folder a run wrote its results to.'}"
        )

    @cached_property
    def kind(self) -> str:
        """What it moves a direction to: dataset, mixture, position or model; steering; "" where that cannot be told."""
        rows = self.results
        if not len(rows):
            return next(kind for file, kind in TABLES_ONLY.items() if (self.folder / file).exists())
        if (self.folder / "comparison.json").exists():
            return "mixture"
        several = {name: name in rows and rows[name].nunique() > 1 for name in ("position", "train", "test")}
        if several["position"] and "selected" in rows:
            return "position"
        return "dataset" if several["train"] or several["test"] else ""

    @cached_property
    def results(self) -> pd.DataFrame:
        """All result rows: the main table and those of other protocols beside it, in one order; none where a run has only tables.

        Raises:
            StoreError: a table cannot be read.
        """
        import pandas as pd

        if not (self.folder / f"{MAIN}.parquet").exists():
            return pd.DataFrame(columns=list(_NEEDED))
        paths = [self.folder / f"{MAIN}.parquet", *sorted(self.folder.glob(f"{MAIN}-*.parquet"))]
        parts = [_read(path).assign(table=path.stem) for path in paths]
        missing = [name for name in _NEEDED if name not in parts[0]]
        if missing or not len(parts[0]):
            what = f"lacks the columns {', '.join(missing)}" if missing else "has no rows"
            raise StoreError(f"{paths[0]} {what}, so there is nothing to report. Run the command that wrote it again.")
        rows = pd.concat([part.dropna(axis=1, how="all") for part in parts], ignore_index=True)
        rows = rows.assign(**{name: float("nan") for name in _NEEDED if name not in rows})  # all values undefined
        texts = [name for name in rows if not pd.api.types.is_numeric_dtype(rows[name].dtype)]
        rows = rows.assign(**{name: _in_order(rows[name]) for name in texts})
        return rows.sort_values([c for c in _ORDER if c in rows], kind="stable", ignore_index=True)

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """What the run wrote about itself; empty where it wrote nothing."""
        path = self.folder / "manifest.json"
        found = _json(path) if path.exists() else {}
        found = found if isinstance(found, dict) else {"manifest": found}
        settings = self.folder / "settings.json"
        return found if "settings" in found or not settings.exists() else {**found, "settings": _json(settings)}

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The small tables: every csv and parquet of the folder (a study's parts among them) that holds no result rows, by name.

        Raises:
            StoreError: a table cannot be read.
        """
        return {path.stem: _read(path) for path in self._others() if path.stat().st_size <= LARGEST_TABLE}

    @property
    def tables_left_out(self) -> list[str]:
        """Names of tables too large for a page."""
        return [path.name for path in self._others() if path.stat().st_size > LARGEST_TABLE]

    def _others(self) -> list[Path]:
        found = {path.stem: path for part in _FOLDERS for kind in ("csv", "parquet") for path in self._of(part, kind)}
        return [found[stem] for stem in sorted(found)]

    def _of(self, part: str, kind: str) -> list[Path]:
        return [path for path in self.folder.glob(f"{part}*.{kind}") if not path.stem.startswith(MAIN)]

    @property
    def reading(self) -> list[str]:
        """The sentences of `reading.md`, in its order."""
        path = self.folder / "reading.md"
        lines = path.read_text(errors="replace").splitlines() if path.exists() else []
        return [line[2:] for line in lines if line.startswith("- ")]

    @property
    def written(self) -> str:
        """The run's own report in plain text, "" where it wrote none."""
        path = self.folder / "report.txt"
        return path.read_text(errors="replace") if path.exists() else ""

    @property
    def details(self) -> list[Path]:
        """The side files with the scores of single rows; one made from probes that were fitted anew since is left out."""
        fits = {_json(card).get("fit_id") for card in self.folder.glob("probes/*/*.json")}
        return [path for path in sorted((self.folder / "details").glob("*.parquet")) if _made_from(path) <= fits]


def open_runs(paths: list[Path]) -> list[RunFolder]:
    """The runs in the given order, each with a name of its own.

    Raises:
        UsageError: a path that is no run, or one named twice.
    """
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError("a run is named twice. Name each run once.")
    runs = [RunFolder.open(path) for path in paths]
    names = [run.name for run in runs]
    twice = {name for name in names if names.count(name) > 1}
    return [
        RunFolder(run.folder, f"{run.folder.resolve().parent.name}/{run.name}") if run.name in twice else run
        for run in runs
    ]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise StoreError(f"{path} is no readable JSON ({error}). Run the command that wrote it again.") from error


def _made_from(path: Path) -> set[str]:
    """The fits a side file names in its metadata; one of another kind names none."""
    import pyarrow.parquet as pq

    stamp = (pq.read_schema(path).metadata or {}).get(b"probeshift", b"{}")
    return set(json.loads(stamp).get("fits", ()))


def _in_order(column: pd.Series) -> pd.Series:
    """The column as categories that keep the order the run wrote them in."""
    import pandas as pd

    codes, values = column.factorize()
    return pd.Series(pd.Categorical.from_codes(codes, values), index=column.index)


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise StoreError(f"{path} is no readable table ({error}). Run the command that wrote it again.") from error
