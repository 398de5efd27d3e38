"""What a run is in a few lines, and where its page opens."""

from __future__ import annotations

from typing import Any

import pandas as pd

from probeshift.report.html.plain_text import shown_name, shown_text
from probeshift.report.html.run_folder import RunFolder

_COUNTED = (
    ("model", "model"), ("method", "methods"), ("train", "training sets"), ("test", "test sets"), ("layer", "layers"),
    ("position", "positions"), ("protocol", "protocols"), ("metric", "metrics"),
)  # fmt: skip
_NAMED = 9
MATRIX = "cross_dataset_matrix_auc"


def facts(run: RunFolder) -> list[list[str]]:
    """Pairs of words: what there is of models, methods, sets, layers."""
    rows = run.results
    found = [
        [title, _values(rows[column])] for column, title in _COUNTED if column in rows and rows[column].notna().any()
    ]
    return [*found, ["measured values", f"{int(rows['value'].notna().sum()):,}"]] if len(rows) else found


def starting_view(run: RunFolder) -> dict[str, Any]:
    """Method, training set and layer the run itself chose without looking at test rows; empty where it chose none.

    Where it drew a matrix of AUROC, that of the matrix, which is also what the page's introduction tells of.
    """
    matrix = run.tables.get(MATRIX)
    if matrix is not None and len(matrix):
        row = matrix.iloc[0]
        return {"method": str(row["method"]), "train": str(row["train"]), "layer": int(row["layer"]), "metric": "auroc"}
    for table in run.tables.values():
        if {"best_method", "best_train", "best_layer"} <= set(table.columns) and len(table):
            row = table.iloc[0]
            return {"method": str(row["best_method"]), "train": str(row["best_train"]), "layer": int(row["best_layer"])}
    rows = run.results
    if "selected" in rows:
        chosen = rows[rows["selected"].astype(object).eq(True)]
        if len(chosen):
            return {name: chosen[name].iloc[0] for name in ("method", "train", "position") if name in chosen} | {
                "layer": int(chosen["layer"].iloc[0])
            }
    return {}


def _values(column: pd.Series) -> str:
    values = [value for value in column.unique().tolist() if not pd.isna(value)]
    if len(values) > 1 and all(isinstance(v, (int, float)) for v in values):
        return f"{len(values)} ({min(values):g} to {max(values):g})"
    names = ", ".join(shown_name(v) for v in values[:_NAMED])
    return names if len(values) == 1 else shown_text(f"{len(values)}: {names}{' …' if len(values) > _NAMED else ''}")
