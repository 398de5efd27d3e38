"""What is different between sources before any probe is fitted: how active their features are, and which texts they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import sparse

from probeshift.datasets.near_duplicates import THRESHOLD, TextSketches, near_duplicates

NOT_HOW = (
    "elapsed_seconds",
    "all_layers_extracted",
)  # of the study's extraction_config: says nothing about the numbers
REFERENCE_OFF = 0.05
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


def extraction_by_set(
    made_with: Mapping[str, Mapping[str, Any] | None], references: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """Per set: whether what is on record about its extraction equals that of the first set, None where nothing is.

    `references` are [prompt, feature] rows of prompts that every set's extraction has read (None: it has not). They agree when no
    prompt is further off than 5 % of its length; another order of a batch in 16 bits moves about 1 %.
    """
    first = next(iter(made_with))
    return [
        {"set": name, **_against(made_with[name], made_with[first], references[name], references[first])}
        for name in made_with
    ]


def _against(own: Mapping | None, first: Mapping | None, reference: Any, first_reference: Any) -> dict[str, Any]:
    named = {} if own is None or first is None else {
        key: [str(first[key]), str(own[key])] for key in first if key in own and key not in NOT_HOW
    }  # fmt: skip
    differs = {key: pair for key, pair in named.items() if pair[0] != pair[1]}
    off = _reference_off(reference, first_reference)
    unlike = bool(differs) or (off is not None and off > REFERENCE_OFF)
    known = bool(named) or off is not None
    return {"same": not unlike if known else None, "differs": differs, "reference_off": off}


def _reference_off(own: Any, first: Any) -> float | None:
    """The largest distance of a reference prompt's rows, as a share of the first one's length."""
    if own is None or first is None or own.shape != first.shape:
        return None
    lengths = np.linalg.norm(first, axis=1)
    return float((np.linalg.norm(own - first, axis=1) / np.where(lengths > 0, lengths, 1.0)).max())


def duplicates_across(
    train: Mapping[str, Sequence[str] | None],
    tests: Mapping[str, Sequence[str] | None],
    trained: Mapping[str, Sequence[int]],
    held_out: Mapping[str, Sequence[int]],
    *,
    threshold: float = THRESHOLD,
) -> list[dict[str, Any]]:
    """Per pair of a source and a test set: how many training rows nearly repeat a test text, and which ones.

    `train` holds all texts of the sources, `trained` and `held_out` the places of those that are trained on and held out; the
    held-out rows of a source are a test set of its name for the other sources: in its own rows, what is one thing was kept on one side
    by groups. Sets whose texts are not known are listed with the reason; nothing is said about them.
    """
    found = []
    sketches, test_sketches = _sketched(train), _sketched(tests)
    judged = {**{name: sketches[name] for name, places in held_out.items() if places}, **test_sketches}
    for source, texts in sketches.items():
        for test, others in judged.items():
            if test == source:
                continue
            about: dict[str, Any] = {"source": source, "test": test}
            if texts is None or others is None:
                found.append({**about, "n_train_rows": None, "reason": "texts_not_known"})
                continue
            used, asked = set(trained[source]), None if test in tests else set(held_out[test])
            pairs = [
                pair
                for pair in near_duplicates(texts, others, threshold=threshold)
                if pair.first in used and (asked is None or pair.second in asked)
            ]
            rows = sorted({p.first for p in pairs})
            worst = pairs[0].similarity if pairs else None
            found.append({**about, "n_train_rows": len(rows), "n_test_rows": len({p.second for p in pairs}),
                          "most_similar": worst, "train_rows": rows})  # fmt: skip
    return found


def _sketched(sets: Mapping[str, Sequence[str] | None]) -> dict[str, TextSketches | None]:
    return {name: None if texts is None else TextSketches.of(texts) for name, texts in sets.items()}
