"""What a sweep found beyond its curves, as flat tables beside its figures: left-out sources, source gains, equal sizes, leakage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd


def flat_tables(found: Mapping[str, Any]) -> dict[str, pd.DataFrame]:
    """The tables by file name; one without rows is left out."""
    rows = {
        "left_out_source": _left_out(found), "source_gains": _gains(found), "same_size": _same_size(found),
        "training_mixtures": _training(found), "near_copies": _copies(found),
    }  # fmt: skip
    tables = {name: pd.DataFrame(lines) for name, lines in rows.items()}
    return {name: table for name, table in tables.items() if len(table)}


def _left_out(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for row in found["leave_one_out"]:
        low, high = row.get("auroc_ci") or (None, None)
        yield {
            "left_out": row["left_out"], "n": row.get("n"), "n_positive": row.get("n_positive"), "n_shared": row.get("n_shared"),
            "auroc": row["auroc"], "ci_low": low, "ci_high": high, "ci_kind": row.get("auroc_ci_kind"), "reason": row.get("auroc_reason"),
        }  # fmt: skip


def _gains(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Over orders of adding: no interval, but where the gain lies in the best and in the worst of them."""
    over = ", ".join(found["marginal"]["over"])
    for row in found["marginal"]["gains"]:
        yield {
            "source": row["source"], "on_average": row["shapley"], "lowest": row["lowest"], "highest": row["highest"],
            "added_last": row["add_last"], "n_pairs": row["n_pairs"], "n_pairs_in_all": row["n_pairs_in_all"], "mean_over": over,
        }  # fmt: skip


def _same_size(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for row in found["size_matched"]:
        low, high = row["more_sources_ci"] or (None, None)
        yield {
            "step": row["step"], "set": row["set"], "own_source": row["own_source"], "n_rows": row["n_rows"], "n_draws": row["n_draws"],
            "first_step": row["first_step"], "same_size": row["size_matched"], "all_rows": row["full"], "more_rows": row["more_rows"],
            "difference": row["more_sources"], "ci_low": low, "ci_high": high,
        }  # fmt: skip


def _training(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for row in found["step_values"]:
        leak = row["source_predicts_label"]
        yield {
            "step": row["step"], "name": row["name"], "rows": row["n_training_samples"],
            "positive": sum(row["training_positives"].values()),
            "cv_auroc": row["cv_auroc_mean"], "sd_of_folds": row["cv_auroc_std"], "train_accuracy": row["train_accuracy"],
            "source_only_auroc": leak["source_only_auroc"], "cramers_v": leak["cramers_v"],
        }  # fmt: skip


def _copies(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for row in found["duplicates"]:
        yield {
            "source": row["source"], "test": row["test"], "training_rows_with_a_near_copy": row["n_train_rows"],
            "left_out": found["duplicates_removed"],
        }  # fmt: skip
