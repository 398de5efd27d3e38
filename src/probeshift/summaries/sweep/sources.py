"""What is different between sources before any probe is fitted: how active their features are, and which texts they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from probeshift.datasets.near_duplicates import THRESHOLD, TextSketches, near_duplicates

PARITY_RATIO = 3.0  # levels further apart than this are more likely two extractions than two kinds of text


def activity_by_source(values: Any, sets: Sequence[str]) -> list[dict[str, Any]]:
    """Per set: active features per row, mean and largest value, and how far that is from the first set.

    `values` is [example, feature], `sets` names the set of each row. A set is a `mismatch` when its share of active features,
    its mean size or its largest value is more than three times, or less than a third, of the first set's.
    """
    names = np.asarray(sets)
    rows: list[dict[str, Any]] = [
        {"set": name, **_activity(values[np.flatnonzero(names == name)])} for name in dict.fromkeys(sets)
    ]
    measured = ("share_active", "mean_size", "largest")
    for row in rows:
        ratios = {what: row[what] / rows[0][what] if rows[0][what] else None for what in measured}
        row["ratio_to_first"] = ratios
        row["mismatch"] = [w for w, r in ratios.items() if r is not None and not 1 / PARITY_RATIO <= r <= PARITY_RATIO]
    return rows


def _activity(values: Any) -> dict[str, float | int]:
    held = values.data if sparse.issparse(values) else np.asarray(values)
    n_rows, n_features = values.shape
    active, size = np.count_nonzero(held), np.abs(held)
    return {
        "n_rows": n_rows,
        "active_per_row": float(active / n_rows),
        "share_active": float(active / (n_rows * n_features)),
        "mean_size": float(size.sum() / (n_rows * n_features)),
        "largest": float(size.max(initial=0.0)),
    }


def duplicates_across(
    train: Mapping[str, Sequence[str] | None],
    tests: Mapping[str, Sequence[str] | None],
    *,
    threshold: float = THRESHOLD,
) -> list[dict[str, Any]]:
    """Per pair of a source and a test set: how many training rows nearly repeat a test text, and which ones.

    Sets whose texts are not known are listed with the reason; nothing is said about them.
    """
    found = []
    sketches, test_sketches = _sketched(train), _sketched(tests)
    for source, texts in sketches.items():
        for test, others in test_sketches.items():
            about: dict[str, Any] = {"source": source, "test": test}
            if texts is None or others is None:
                found.append({**about, "n_train_rows": None, "reason": "texts_not_known"})
                continue
            pairs = near_duplicates(texts, others, threshold=threshold)
            rows = sorted({p.first for p in pairs})
            worst = pairs[0].similarity if pairs else None
            found.append({**about, "n_train_rows": len(rows), "n_test_rows": len({p.second for p in pairs}),
                          "most_similar": worst, "train_rows": rows})  # fmt: skip
    return found


def _sketched(sets: Mapping[str, Sequence[str] | None]) -> dict[str, TextSketches | None]:
    return {name: None if texts is None else TextSketches.of(texts) for name, texts in sets.items()}
