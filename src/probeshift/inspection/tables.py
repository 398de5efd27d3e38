"""Saved rows as people want them: filtered, long or wide, as csv, parquet, markdown or json."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from probeshift.errors import UsageError, nearest

RESULTS = "results.parquet"
_CONDITION = re.compile(r"\s*([\w.]+)\s*(!=|>=|<=|=|>|<)\s*(.*?)\s*")
_COMPARE = {">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le}
_WITH_VALUE = ("ci_low", "ci_high", "n")


def read_runs(paths: Sequence[Path]) -> pd.DataFrame:
    """The rows of runs (folders or files), with a column `run` first where there are several.

    Raises:
        UsageError: a path holds no rows.
    """
    frames = [_read(path) for path in paths]
    if len(frames) == 1:
        return frames[0]
    names = [str(path) for path in paths]
    return pd.concat(
        [f.assign(run=name)[["run", *f.columns]] for f, name in zip(frames, names, strict=True)], ignore_index=True
    )


def _read(path: Path) -> pd.DataFrame:
    file = path / RESULTS if path.is_dir() else path
    readers = {".parquet": pd.read_parquet, ".csv": pd.read_csv}
    if not file.is_file() or file.suffix not in readers:
        raise UsageError(
            f"{path} holds no rows: expected a run folder with {RESULTS}, or a .parquet or .csv file. See `probeshift ls`."
        )
    try:
        return readers[file.suffix](file)  # type: ignore[operator]
    except (ValueError, OSError) as error:
        raise UsageError(f"{file} is not readable as a table ({str(error).splitlines()[0]}).") from error


def where(rows: pd.DataFrame, conditions: Sequence[str]) -> pd.DataFrame:
    """The rows that meet all conditions: `column=value`, `column=a,b`, `!=`, `>`, `<`, `>=`, `<=`; an empty value means undefined.

    Raises:
        UsageError: a condition is not understood, or names a column or value that does not occur.
    """
    for condition in conditions:
        rows = rows[_meets(rows, condition)]
    return rows


def _meets(rows: pd.DataFrame, condition: str) -> pd.Series:
    matched = _CONDITION.fullmatch(condition)
    if not matched:
        raise UsageError(
            f"--where `{condition}` is not understood. Write column=value, such as method=dim, layer>=10 or metric!=auroc."
        )
    column, sign, text = matched.groups()
    if column not in rows:
        raise UsageError(f"--where: there is no column `{column}`. {nearest(column, map(str, rows.columns))}")
    values = rows[column]
    if sign in _COMPARE:
        return _COMPARE[sign](pd.to_numeric(values, errors="coerce"), _number(text, condition))
    if text == "":
        return values.isna() if sign == "=" else values.notna()
    found = _among(values, text.split(","), condition)
    return found if sign == "=" else ~found


def _number(text: str, condition: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--where `{condition}` compares with `{text}`, which is no number.") from None


def _among(values: pd.Series, wanted: Sequence[str], condition: str) -> pd.Series:
    if pd.api.types.is_bool_dtype(values):
        return values.isin([text.strip().lower() in ("true", "yes", "1") for text in wanted])
    if pd.api.types.is_numeric_dtype(values):
        return values.isin([_number(text, condition) for text in wanted])
    known = set(values.dropna().astype(str))
    for text in wanted:
        if text not in known and known:
            raise UsageError(f"--where `{condition}`: no row has {text!r} there. {nearest(text, known)}")
    return values.astype(str).isin(wanted)


def wide(rows: pd.DataFrame, index: str, columns: str, value: str = "value") -> pd.DataFrame:
    """One row per `index`, one column per entry of `columns`, and beside each its interval and n.

    Raises:
        UsageError: a column is missing, or several rows fall into one cell.
    """
    for name in (index, columns, value):
        if name not in rows:
            raise UsageError(f"there is no column `{name}`. {nearest(name, map(str, rows.columns))}")
    twice = rows.duplicated([index, columns], keep=False)
    if twice.any():
        raise UsageError(
            f"several rows fall into one cell of {index} x {columns}; they differ in {_varying(rows[twice], index, columns)}."
        )
    beside = [name for name in _WITH_VALUE if name in rows and name != value]
    table = rows.pivot(index=index, columns=columns, values=[value, *beside])
    order = [(name, entry) for entry in dict.fromkeys(rows[columns]) for name in (value, *beside)]
    table = table[order].reindex(list(dict.fromkeys(rows[index])))
    table.columns = pd.Index([str(entry) if name == value else f"{entry} {name}" for name, entry in order])
    return table.infer_objects().reset_index()


def _varying(rows: pd.DataFrame, index: str, columns: str) -> str:
    """The columns to fix, with how many values each has; measured ones are no choice."""
    measured = {index, columns, "value", "reason", "chance", "flipped", "ci_kind", "n_kind", *_WITH_VALUE}
    counts = {
        name: rows.groupby([index, columns])[name].nunique(dropna=False).max() for name in rows if name not in measured
    }
    named = [f"{name} ({count} values)" for name, count in counts.items() if count > 1]
    first = next((name for name, count in counts.items() if count > 1), "column")
    return f"{', '.join(named) or 'nothing'}. Choose with --where {first}=..."


def to_markdown(table: pd.DataFrame, limit: int | None = None) -> str:
    """A pipe table; what is undefined is an empty cell."""
    shown = table if limit is None else table.head(limit)
    lines = [[_cell(v) for v in row] for row in shown.itertuples(index=False)]
    head = [_cell(c) for c in table.columns]
    rule = ["---:" if pd.api.types.is_numeric_dtype(dtype) else "---" for dtype in table.dtypes]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *lines)) + "\n"


def _cell(value: Any) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def to_records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Plain values for JSON; null where undefined."""
    return [
        {str(k): None if pd.isna(v) else getattr(v, "item", lambda v=v: v)() for k, v in row.items()}
        for row in table.to_dict("records")
    ]
