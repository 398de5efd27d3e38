"""Published per-layer result files (`probe_evaluate-v2.jsonl`) and what their numbers can bear.

One JSON object per line: key, and value with llm_id, train_dataset, eval_dataset, probe_method, point_name (`h` and the
layer), token_idx, accuracy, accuracy_n, auc. The files hold neither scores nor labels, so only their own consistency
can be checked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from probeshift.errors import MissingError, UsageError
from probeshift.metrics.alarms import identical_columns

FILE_NAME = "probe_evaluate-v2.jsonl"
_KEYS = "llm_id, train_dataset, eval_dataset, probe_method, point_name, token_idx, accuracy, accuracy_n, auc"


@dataclass(frozen=True, slots=True)
class ReferenceResult:
    """One line: a probe on a test set, as the file has it. `position` is "last" or a token index as text."""

    model: str
    method: str
    train: str
    test: str
    layer: int
    position: str
    accuracy: float
    n: int
    auc: float


def read_reference_files(path: Path) -> list[ReferenceResult]:
    """The lines of one file, or of every `probe_evaluate-v2.jsonl` below a folder, in the order of paths.

    Raises:
        MissingError: no such file, or none below the folder.
        UsageError: a line that is no such record, named by file and line; or no lines at all.
    """
    files = sorted(path.rglob(FILE_NAME)) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise MissingError(f"no `{FILE_NAME}` at {path}. Name the file, or a folder that holds some.")
    results = [result for file in files for result in _lines(file)]
    if not results:
        raise UsageError(f"{path} holds no result records.")
    return results


def sets_of_counts(results: Sequence[ReferenceResult]) -> set[tuple[str, str]]:
    """The (model, test set) whose accuracy x n is a whole number in every cell, so that it can be a count of questions.

    Where it is not, the number cannot be a share of n; the program that wrote these files put ROC-AUC there.
    """
    broken = {(r.model, r.test) for r in results if abs(r.accuracy * r.n - round(r.accuracy * r.n)) >= 1e-6}
    return {(r.model, r.test) for r in results} - broken


def warnings_about(results: Sequence[ReferenceResult]) -> list[str]:
    """What is wrong with the numbers, one sentence each."""
    found = []
    columns = {name: np.array([getattr(r, name) for r in results], dtype=float) for name in ("accuracy", "auc")}
    if identical_columns(columns):
        found.append("columns `accuracy` and `auc` hold the same numbers: one is a copy, so no AUROC is read")
    counts = sets_of_counts(results)
    odd = dict.fromkeys(r.test for r in results if (r.model, r.test) not in counts)
    if odd:
        names = ", ".join(f"`{name}`" for name in odd)
        found.append(
            f"accuracy x n is no whole number on {names}: no share of n, but ROC-AUC under the name of accuracy"
        )
    return found


def _lines(file: Path) -> Iterator[ReferenceResult]:
    for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            yield _parse(json.loads(line)["value"])
        except (ValueError, TypeError, KeyError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise UsageError(
                f"{file}, line {number}: not a result record ({what}). "
                f"Expected a JSON object with key and value, value holding {_KEYS}."
            ) from error


def _parse(value) -> ReferenceResult:
    point, n = value["point_name"], value["accuracy_n"]
    if not (isinstance(point, str) and point.startswith("h") and point[1:].isdigit()):
        raise ValueError(f"point_name {point!r} is not h and a layer number")
    if not (isinstance(n, int) and n > 0):
        raise ValueError(f"accuracy_n {n!r} is not a count")
    shares = {name: float(value[name]) for name in ("accuracy", "auc")}
    if not all(0.0 <= share <= 1.0 for share in shares.values()):
        raise ValueError(f"accuracy or auc outside 0..1: {shares}")
    return ReferenceResult(
        model=str(value["llm_id"]),
        method=str(value["probe_method"]),
        train=str(value["train_dataset"]),
        test=str(value["eval_dataset"]),
        layer=int(point[1:]),
        position="last" if value["token_idx"] == -1 else str(int(value["token_idx"])),
        n=n,
        **shares,
    )
