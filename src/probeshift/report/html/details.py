"""What the page shows of single rows, from `details/*.parquet`: shapes of the scores per cell and the rows gone most wrong.

Its size grows with cells, not with rows: a text is carried only where it is among the worst errors of some cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd

from probeshift.errors import StoreError
from probeshift.report.html.run_folder import RunFolder
from probeshift.summaries.score_shapes import score_shapes

CELL = ["test", "method", "train", "layer", "position", "protocol"]
NEEDED = {"test", "method", "train", "layer", "row_id", "text", "label", "score"}
_TYPES = {"true_rows": np.uint16, "false_rows": np.uint16, "part_rows": np.uint16, "worst": np.int32}


@dataclass(frozen=True)
class Details:
    """`cells` [cell] with `vectors` [cell, width] of what is drawn; `texts` are the rows that `worst` numbers."""

    cells: pd.DataFrame
    vectors: Mapping[str, np.ndarray]
    texts: pd.DataFrame


def read_details(run: RunFolder) -> Details | None:
    """The details of a run, or None when it has none.

    Raises:
        StoreError: a side file lacks a column.
    """
    cells, vectors, texts, start = [], [], [], 0
    for table in map(_read, run.details):
        for names, scores, rows in _blocks(table):
            shapes = _shapes(scores, rows["label"].to_numpy(dtype=bool))
            shapes, kept = _number_texts(shapes, rows, start)
            start += len(kept)
            cells.append(names.assign(rows=len(rows), true=int(rows["label"].sum())))
            vectors.append(shapes)
            texts.append(kept)
    if not cells:
        return None
    joined = {name: np.concatenate([part[name] for part in vectors]) for name in vectors[0]}
    return Details(pd.concat(cells, ignore_index=True), joined, pd.concat(texts, ignore_index=True))


def _read(path: Path) -> pd.DataFrame:
    table = pd.read_parquet(path)
    missing = NEEDED - set(table.columns)
    if missing:
        raise StoreError(
            f"{path} lacks {', '.join(sorted(missing))}. Delete it: it is made again from stored activations."
        )
    return table


def _blocks(table: pd.DataFrame) -> Iterator[tuple[pd.DataFrame, np.ndarray, pd.DataFrame]]:
    """Cells, scores [cell, row] and rows of each test set and layer; cells that lack a row are left out."""
    key = [name for name in CELL if name in table]
    for _, part in table.groupby(["test", "layer"], observed=True, sort=True):
        rows = part[["test", "row_id", "text", "label"]].drop_duplicates("row_id").reset_index(drop=True)
        place = pd.Series(rows.index, index=rows["row_id"].astype(object))
        cell = part.groupby(key, observed=True, sort=False).ngroup().to_numpy()
        scores = np.full((cell.max() + 1, len(rows)), np.nan)
        scores[cell, place[part["row_id"].astype(object)].to_numpy()] = part["score"].to_numpy(dtype=np.float64)
        names = part[key].assign(cell=cell).drop_duplicates("cell").sort_values("cell")[key].reset_index(drop=True)
        whole = np.isfinite(scores).all(axis=1)
        if whole.any():
            yield names[whole].reset_index(drop=True), scores[whole], rows


def _shapes(scores: np.ndarray, labels: np.ndarray) -> dict[str, np.ndarray]:
    found = score_shapes(scores, labels)
    shapes = {f.name: getattr(found, f.name) for f in fields(found)}
    wrong = np.take_along_axis(scores, np.maximum(shapes["worst"], 0), axis=1)
    shapes["worst_score"] = np.where(shapes["worst"] >= 0, wrong, np.nan)
    return {name: values.astype(_TYPES.get(name, np.float32)) for name, values in shapes.items()}


def _number_texts(
    shapes: dict[str, np.ndarray], rows: pd.DataFrame, start: int
) -> tuple[dict[str, np.ndarray], pd.DataFrame]:
    """Number the worst rows among those that are carried at all, from `start` on."""
    used = np.unique(shapes["worst"][shapes["worst"] >= 0])
    numbers = np.full(len(rows) + 1, -1)
    numbers[used] = start + np.arange(len(used))
    return {**shapes, "worst": numbers[shapes["worst"]].astype(np.int32)}, rows.iloc[used]
