"""Tables as compact bytes a browser unpacks: one typed array per column, whole numbers split in byte planes, then deflate.

Kinds of columns, in the words of the header that goes with the bytes:

    category   codes (uint8, uint16 or uint32) into `values`; the code `len(values)` is null
    integer    int32 in four byte planes, lowest byte first; null is -2**31
    decimal    as integer, in units of 10**-`places`
    real       float64, for numbers a decimal cannot hold; null is NaN
    vector     `width` numbers per row of the given `type`
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probeshift.report.html.plain_text import shown_name

if TYPE_CHECKING:
    import pandas as pd

NULL = -(2**31)
PLACES = 5
SHOWN = (2, 3, 4)  # decimals a page shows; each must be the rounding of the saved value, not of the packed one


@dataclass(frozen=True)
class Packed:
    """`header` says how to read `data`: rows, and per column its name, kind, offset and whatever the kind needs."""

    header: dict[str, Any]
    data: bytes


def pack(table: pd.DataFrame, vectors: Mapping[str, np.ndarray] | None = None) -> Packed:
    """A table, and arrays [row, width] that belong to its rows, as header and bytes.

    Decimals keep five places; shown with fewer they read as the saved values do. Texts are made safe to show.
    """
    columns, parts, offset = [], [], 0
    for name, (about, raw) in {**_columns(table), **_vectors(vectors or {})}.items():
        columns.append({"name": shown_name(name), "offset": offset, **about})
        padded = raw + bytes(-len(raw) % 8)
        parts.append(padded)
        offset += len(padded)
    return Packed({"rows": len(table), "columns": columns}, b"".join(parts))


def compressed(data: bytes) -> str:
    """Raw deflate, then base64: letters that mean nothing to an HTML parser."""
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    return base64.b64encode(deflate.compress(data) + deflate.flush()).decode()


def _columns(table: pd.DataFrame) -> dict[str, tuple[dict[str, Any], bytes]]:
    return {str(name): _column(table[name]) for name in table.columns}


def _vectors(vectors: Mapping[str, np.ndarray]) -> dict[str, tuple[dict[str, Any], bytes]]:
    return {
        name: ({"kind": "vector", "width": values.shape[1], "type": str(values.dtype)}, _little(values))
        for name, values in vectors.items()
    }


def _column(column: pd.Series) -> tuple[dict[str, Any], bytes]:
    from pandas.api.types import is_bool_dtype, is_numeric_dtype

    if is_numeric_dtype(column.dtype) and not is_bool_dtype(column.dtype):
        about, raw = _numbers(column.to_numpy(dtype=np.float64, na_value=np.nan))
        return {**about, "distinct": int(column.nunique())}, raw
    return _category(column)


def _numbers(values: np.ndarray) -> tuple[dict[str, Any], bytes]:
    known = values[~np.isnan(values)]
    places = 0 if (known == np.round(known)).all() else PLACES
    if len(known) and np.abs(known).max() * 10**places > 2**31 - 2:
        return {"kind": "real"}, _little(values.astype(np.float64))
    whole = np.where(np.isnan(values), NULL, _units(np.nan_to_num(values), places)).astype("<i4")
    planes = whole.view(np.uint8).reshape(-1, 4).T
    return ({"kind": "decimal", "places": places} if places else {"kind": "integer"}), planes.tobytes()


def _units(values: np.ndarray, places: int) -> np.ndarray:
    """Nearest whole units, moved by one where rounding twice would show another last digit than rounding once."""
    nearest = np.round(values * 10**places)
    if not places:
        return nearest
    steps = np.stack([nearest, nearest - 1, nearest + 1])
    alike = np.ones(steps.shape, dtype=bool)
    for shown in SHOWN:
        unit = 10 ** (places - shown)
        alike &= np.floor(steps / unit + 0.5) == np.floor(values * 10**shown + 0.5)
        alike &= (np.abs(steps) % unit != unit / 2) | (
            steps / 10**places == values
        )  # a tie only where it is the value itself
    return steps[alike.argmax(axis=0), np.arange(len(values))]


def _category(column: pd.Series) -> tuple[dict[str, Any], bytes]:
    codes, values = column.factorize()
    codes = np.where(codes < 0, len(values), codes)
    kind = next(t for t in (np.uint8, np.uint16, np.uint32) if len(values) <= np.iinfo(t).max)
    names = [_word(value) for value in values]
    return {"kind": "category", "type": np.dtype(kind).name, "values": names}, _little(codes.astype(kind))


def _word(value: Any) -> str:
    return ("no", "yes")[int(value)] if isinstance(value, (bool, np.bool_)) else shown_name(value)


def _little(values: np.ndarray) -> bytes:
    return np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).tobytes()
