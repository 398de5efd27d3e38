"""Published result files as result rows."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from probeshift.metrics import clopper_pearson
from probeshift.metrics.intervals import CLOPPER_PEARSON, NO_INTERVAL
from probeshift.published_results import read_reference_files, sets_of_counts, warnings_about
from probeshift.results import ROW_COLUMNS

IMPORTED = "imported: no interval can be made"
REPEATS_ACCURACY = "imported file repeats accuracy"
NO_COUNT = "imported: ROC-AUC, for value x n is no whole number"
_log = logging.getLogger(__name__)


def import_reference(path: Path) -> pd.DataFrame:
    """Result rows from a published `probe_evaluate-v2.jsonl`, or from every one below a folder.

    The protocol is "published"; what the files do not tell (`chance`, `seed`, `n_train`, families) is null. Accuracy
    has an exact interval on sets where value x n is a whole number throughout. On the others the file has a ROC-AUC
    under that name: the number is kept, without an interval, and `reason` says so. An `auc` that repeats `accuracy` is
    null. `attrs["warnings"]` lists what is wrong with the files.

    Raises:
        MissingError: no such file, or none below the folder.
        UsageError: a line that is no such record, named by file and line.
    """
    results = read_reference_files(path)
    table = pd.DataFrame([asdict(result) for result in results])
    counts = sets_of_counts(results)
    counted = np.array([(result.model, result.test) in counts for result in results], dtype=bool)
    rows = pd.concat([_imported_accuracy(table, counted), _imported_auroc(table)], ignore_index=True)
    rows.attrs["warnings"] = warnings_about(results)
    for warning in rows.attrs["warnings"]:
        _log.warning("%s: %s", path, warning)
    return rows


def _imported_rows(table, **columns) -> pd.DataFrame:
    rows = table.reindex(columns=list(ROW_COLUMNS)).astype(object)
    rows[["layer", "n"]] = table[["layer", "n"]]
    rows[["value", "ci_low", "ci_high", "chance"]] = np.nan
    same = {"split": "test", "protocol": "published", "sign_source": "evaluation labels", "limited": False}
    return rows.assign(in_distribution=table["train"] == table["test"], ci_kind=NO_INTERVAL, **same).assign(**columns)


def _imported_accuracy(table, counted) -> pd.DataFrame:
    low, high = clopper_pearson((table["accuracy"] * table["n"]).to_numpy(), table["n"].to_numpy(dtype=float))
    return _imported_rows(
        table,
        metric="accuracy",
        value=table["accuracy"],
        ci_low=np.where(counted, low, np.nan),
        ci_high=np.where(counted, high, np.nan),
        ci_kind=np.where(counted, CLOPPER_PEARSON, NO_INTERVAL),
        n_kind=np.where(counted, "questions", "rows"),
        reason=[None if fine else NO_COUNT for fine in counted],
    )


def _imported_auroc(table) -> pd.DataFrame:
    copied = (table["auc"] - table["accuracy"]).abs() <= 1e-12
    reason = np.where(copied, REPEATS_ACCURACY, IMPORTED)
    return _imported_rows(
        table, metric="auroc", value=table["auc"].where(~copied), n=np.nan, n_kind="rows", reason=reason
    )
