"""Tables that check a study against what is known: accuracy at home by layer, LDA against DIM, TruthfulQA.

Source: the validation figures of "How well do truth probes generalise?" (2024), v1 to v4 and r4.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from probeshift.errors import UsageError
from probeshift.summaries.generalisation import SUPERVISED
from probeshift.summaries.rows import CONTROLS, listed, pick
from probeshift.summaries.study import RECOVERED_WELL, Study

TRUTHFUL_QA = "truthful_qa"
# Llama-2-13B-chat in the RepE paper (arXiv 2310.01405), asked with a standard and with a calibrated prompt.
TRUTHFUL_QA_LINES = {"standard prompt": 0.359, "calibrated prompt": 0.503}
# Llama-2-13B-chat in the RepE paper, as the study draws them beside LAT.
REPE_LINES = {"race": 0.459, "open_book_qa": 0.547, "arc_easy": 0.803, "arc_challenge": 0.532}

GOT = ("got_cities", "got_sp_en_trans", "got_larger_than")
LDA_METHODS = ("dim", "lda", "lda-shrunk")
ON_ITSELF = "each evaluated set"  # what the second half of the LDA table was trained on

_PART = ["method", "train", "test", "layer", "value", "ci_low", "ci_high", "n", "n_kind", "chance", "reason"]


def arc_easy_by_layer(study: Study) -> pd.DataFrame:
    """v1: accuracy of every method trained and evaluated on arc_easy, by layer."""
    return own_accuracy(study, methods=None, sets=("arc_easy",))


def got_by_layer(study: Study) -> pd.DataFrame:
    """v2: accuracy of DIM and LDA on three GoT sets, trained on the same, by layer."""
    return own_accuracy(study, methods=("dim", "lda"), sets=GOT)


def repe_by_layer(study: Study) -> pd.DataFrame:
    """v3: accuracy of LAT on four RepE sets, trained on the same, by layer; `literature` is the RepE paper's number."""
    table = own_accuracy(study, methods=("lat",), sets=tuple(REPE_LINES))
    return table.assign(literature=table["test"].map(REPE_LINES))


def own_accuracy(study: Study, *, methods: Sequence[str] | None, sets: Sequence[str]) -> pd.DataFrame:
    """Test accuracy in distribution by layer: one row per method, set and layer; controls only when named.

    `missing` names in words what was asked for and not evaluated.

    Raises:
        UsageError: nothing of what was asked for was evaluated.
    """
    cells = _accuracy(study)
    cells = cells[cells["in_distribution"].astype(bool) & cells["test"].isin(sets)]
    wanted = [m for m in dict.fromkeys(study.rows["method"]) if m not in CONTROLS] if methods is None else methods
    cells = cells[cells["method"].isin(wanted)]
    if not len(cells):
        raise UsageError(
            f"no probe of {listed(wanted)} was trained and evaluated on {listed(sets)}. "
            f"Evaluate with --methods {','.join(wanted)} --datasets {','.join(sets)}."
        )
    return _with_ceilings(_stamped(cells[_PART], study, missing=_missing(cells, wanted, sets)), study)


def lda_against_dim(study: Study) -> pd.DataFrame:
    """v4: accuracy by evaluated set at the reference layer (of the best probe), of DIM, LDA and shrunk LDA.

    `trained_on` is boolq (else the best probe's training set, `substitute` says so), or the evaluated set itself.

    Raises:
        UsageError: none of the methods was evaluated at that layer.
    """
    cells = _accuracy(study)
    cells = cells[cells["layer"].eq(study.best.layer) & cells["test"].isin(set(cells["train"]))]
    cells = cells[cells["method"].isin(LDA_METHODS)]
    source = "boolq" if (cells["train"] == "boolq").any() else study.best.train
    parts = [
        cells[cells["train"] == source].assign(trained_on=source),
        cells[cells["in_distribution"].astype(bool)].assign(trained_on=ON_ITSELF),
    ]
    table = pd.concat(parts, ignore_index=True)
    if not len(table):
        raise UsageError(
            f"none of {listed(LDA_METHODS)} was evaluated at layer {study.best.layer}. "
            f"Evaluate with --methods {','.join(LDA_METHODS)} --layers {study.best.layer}."
        )
    absent = [method for method in ("dim", "lda") if method not in set(table["method"])]
    words = "" if source == "boolq" else f"boolq was not trained on: {source} (of the best probe) in its place"
    columns = [*_PART, "trained_on", "test_family"]
    table = _stamped(table[columns], study, missing=", ".join(absent)).assign(substitute=words)
    return _with_ceilings(table, study)


def truthful_qa(study: Study) -> pd.DataFrame:
    """r4: one row per learned probe: mean recovered accuracy on the other sets, and accuracy on TruthfulQA.

    Raises:
        UsageError: TruthfulQA was not evaluated.
    """
    truthful = pick(_accuracy(study), test=TRUTHFUL_QA)
    if not len(truthful):
        raise UsageError(
            f"`{TRUTHFUL_QA}` was not evaluated. Add it to --datasets; it is for evaluation only, nothing is trained on it."
        )
    probe = ["method", "train", "layer"]
    away = study.learned[~study.learned["in_distribution"].astype(bool)]
    means = away.groupby(probe, sort=False)[study.measure].agg(recovered="mean", n_cells="count", n_asked="size")
    table = means.reset_index().merge(truthful[[*probe, *_PART[4:]]], on=probe, how="left")
    known = table["value"].notna() | table["reason"].notna()
    table["reason"] = table["reason"].astype(object).where(known, f"not evaluated on {TRUTHFUL_QA}")
    return _stamped(table, study, missing="")


def share_above(table: pd.DataFrame, line: float) -> dict[str, float]:
    """Share of the probes above 80 % recovered whose TruthfulQA accuracy is above `line`, of rows of `truthful_qa`.

    It has no interval: probes answer the same questions. Without such probes `value` is NaN and `n` is 0.
    """
    well = table[(table["recovered"] > RECOVERED_WELL) & table["value"].notna()]
    wins = int((well["value"] > line).sum())
    return {"value": wins / len(well) if len(well) else np.nan, "wins": wins, "n": len(well)}


def _accuracy(study) -> pd.DataFrame:
    return pick(study.rows, metric="accuracy", split="test", protocol=study.protocol)


def _stamped(table, study, *, missing) -> pd.DataFrame:
    stamp = {"model": study.model, "protocol": study.protocol, "missing": missing}
    return table.reset_index(drop=True).assign(supervised=table["method"].isin(SUPERVISED).to_numpy(), **stamp)


def _with_ceilings(table, study) -> pd.DataFrame:
    return table.assign(ceiling=table["test"].map(study.ceilings.set_index("test")["value"]))


def _missing(cells, methods, sets) -> str:
    """Methods and sets without any cell by name; of the others, the pairs without one."""
    there = set(zip(cells["method"], cells["test"], strict=True))
    gone = [name for name in methods if name not in set(cells["method"])]
    gone += [name for name in sets if name not in set(cells["test"])]
    pairs = [(m, s) for m in methods for s in sets if not {m, s} & set(gone) and (m, s) not in there]
    return ", ".join([*gone, *(f"{method} on {name}" for method, name in pairs)])
