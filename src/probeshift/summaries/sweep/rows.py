"""The step files as rows of the native results table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

METHOD = "lr-standardised"


def result_rows(steps: Mapping[int, Mapping[str, Any]], about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row per step, test set and metric; `about` holds model, layer, position and seed."""
    return [
        row
        for step in steps.values()
        for name, found in step["evaluation"].items()
        for row in _rows(step, name, found, about)
    ]


def _rows(
    step: Mapping[str, Any], name: str, found: Mapping[str, Any], about: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    shared = {
        **about, "method": METHOD, "train": step["name"], "test": name, "split": "test", "protocol": "strict",
        "sign_source": "training data", "flipped": False, "n_train": step["n_training_samples"], "related": found["source_trained_on"],
        "in_distribution": not found["shifted"], "train_family": "mixture", "test_family": "mixture", "limited": False,
    }  # fmt: skip
    plain = {"n": found["n_samples"], "n_kind": "rows", "threshold_source": "training data"}
    for metric, name, chance in (("auroc", "auroc", 0.5), ("accuracy", "accuracy_row", None)):
        low, high = found.get(f"{metric}_ci") or (None, None)
        yield {**shared, **plain, "metric": name, "value": found[metric], "ci_low": low, "ci_high": high, "chance": chance,
               "ci_kind": found.get(f"{metric}_ci_kind"), "reason": found.get(f"{metric}_reason")}  # fmt: skip
    for at in found.get("detection", ()):
        rate = at["detected"] or {}
        yield {**shared, "metric": f"detection_at_fpr_{at['target_fpr']:g}", "value": rate.get("value"), "ci_low": rate.get("low"),
               "ci_high": rate.get("high"), "ci_kind": rate.get("ci_kind"), "n": rate.get("n", 0),
               "n_kind": "rows", "chance": at["target_fpr"], "reason": rate.get("reason") or at.get("reason"),
               "threshold_source": step["control"]}  # fmt: skip
