"""What the published procedure adds: its headline numbers beside the strict ones of the same activations.

Source of the headlines: "How well do truth probes generalise?" (2024).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from probeshift.errors import UsageError
from probeshift.metrics.intervals import NO_INTERVAL
from probeshift.summaries.blocks import NO_CELLS, Blocks
from probeshift.summaries.counted import CELL, beside
from probeshift.summaries.headline import SHARED_QUESTIONS, Headline, headline, mean_recovered, share
from probeshift.summaries.rows import pick
from probeshift.summaries.study import RECOVERED_WELL, Study
from probeshift.summaries.validation import TRUTHFUL_QA, TRUTHFUL_QA_LINES, share_above, truthful_qa

NO_TRUTHFUL_QA = f"`{TRUTHFUL_QA}` was not evaluated"
NO_GOOD_PROBES = "no probe recovers above 80 % on the other sets"
NOT_RESAMPLED = "no interval: only means of recovered accuracy are resampled"

# Rows of the table by `key`.
AWAY_DEEP, WITH_OWN_ALL, NUMBER_TURNED, CONTROL = (
    "mean_away_deep",
    "mean_with_own_all_layers",
    "number_turned",
    "control",
)

_PROBE = ["method", "train", "layer"]
_SIGN = "Published picks the sign (and where there are no questions the threshold) on the evaluation labels and clips to [0, 1]"


def protocol_table(strict: Study, published: Study) -> pd.DataFrame:
    """The headline numbers of one set of activations, read strictly and as published: one row each.

    `difference` is published - strict. Bounds are 95 % and only of means of recovered accuracy, whose questions are resampled;
    shares of cells and probes have none, since these share questions.
    `n_cells` (strict) and `published_n_cells` count `n_kind`. `words` say what makes the two differ, `reason` what is undefined.
    `key` names the row for programs, `quantity` for readers.

    Raises:
        UsageError: the two are not a strict and a published study of the same probes and test sets.
    """
    _refuse_unlike(strict, published)
    pair = (strict, published)
    rows = [
        *_mean_rows(pair),
        _share_row(pair),
        _best_row(pair),
        _accuracy_row(pair),
        *_turned_rows(pair),
        _control_row(pair),
    ]
    rows.append(_truthful_row(pair))
    return pd.DataFrame(rows).assign(
        reason=pd.Series([row["reason"] for row in rows], dtype=object), model=strict.model
    )


def away_and_deep(study: Study) -> pd.DataFrame:
    """The strict rule's cells, whatever the protocol: learned probes from `cut_layer` on, own set excluded."""
    return _cells(study, own=False, deep=True)


def _cells(study: Study, *, own: bool, deep: bool) -> pd.DataFrame:
    cells = study.learned[study.learned["layer"] >= study.cut_layer] if deep else study.learned
    return cells if own else cells[~cells["in_distribution"].astype(bool)]


def _row(key: str, quantity: str, words: str, strict: Headline, published: Headline) -> dict[str, Any]:
    row: dict[str, Any] = {"key": key, "quantity": quantity}
    for name, side in (("strict", strict), ("published", published)):
        row |= {name: side.value, f"{name}_low": side.low, f"{name}_high": side.high}
    said = [f"{name}: {side.reason}" for name, side in (("strict", strict), ("published", published)) if side.reason]
    alike = strict.reason if strict.reason == published.reason else "; ".join(said)
    kinds = [side.ci_kind for side in (strict, published) if side.ci_kind != NO_INTERVAL]
    return row | {
        "difference": published.value - strict.value,
        "n_cells": strict.n,
        "published_n_cells": published.n,
        "n_kind": strict.n_kind,
        "ci_kind": kinds[0] if kinds else NO_INTERVAL,
        "reason": alike,
        "words": words,
    }


def _mean_rows(pair) -> list[dict[str, Any]]:
    """Means with and without the own set and the layers above the cut: the four unions of one resampling's blocks."""
    blocks = [_blocks(study) for study in pair]
    rows = []
    for own, deep in ((False, True), (True, True), (False, False), (True, False)):
        where = _deep(pair) if deep else "all layers"
        key = f"mean_{'with_own' if own else 'away'}_{'deep' if deep else 'all_layers'}"
        rule = {AWAY_DEEP: " (the strict rule)", WITH_OWN_ALL: " (the published rule)"}.get(key, "")
        name = f"mean recovered, own set {'included' if own else 'excluded'}, {where}{rule}"
        means = [found.union(_of_rule(found.groups, own=own, deep=deep)) for found in blocks]
        rows.append(_row(key, name, f"{_SIGN}.", *map(headline, means)))
    return rows


def _blocks(study: Study) -> Blocks:
    cells = study.learned
    return Blocks.of(study, cells.assign(deep=cells["layer"] >= study.cut_layer), ["in_distribution", "deep"])


def _of_rule(groups: pd.DataFrame, *, own: bool, deep: bool) -> np.ndarray:
    return ((groups["deep"] | (not deep)) & (~groups["in_distribution"].astype(bool) | own)).to_numpy(dtype=bool)


def _share_row(pair) -> dict[str, Any]:
    def one(study: Study) -> Headline:
        cells = _cells(study, own=study.published, deep=True)
        means = cells.groupby(_PROBE)[study.measure].mean().dropna()
        value = float((means > RECOVERED_WELL).mean()) if len(means) else np.nan
        return Headline(value, n=len(means), n_kind="probes", reason=SHARED_QUESTIONS if len(means) else NO_CELLS)

    name = f"share of probes above 80 % recovered, {_deep(pair)}"
    return _row("share_of_probes", name, f"{_SIGN}, and counts each probe's own set.", *map(one, pair))


def _best_row(pair) -> dict[str, Any]:
    def one(study: Study) -> Headline:
        best = study.best
        cells = pick(study.learned, method=best.method, train=best.train, layer=best.layer)
        return mean_recovered(study, cells if study.published else cells[~cells["in_distribution"].astype(bool)])

    names = [f"{s.protocol} {s.best.method} on {s.best.train} at layer {s.best.layer}" for s in pair]
    words = f"Each protocol chose its probe on the selection split: {names[0]}, {names[1]}; published counts its own set too."
    return _row("best_probe", "best probe: mean recovered", words, *map(one, pair))


def _accuracy_row(pair) -> dict[str, Any]:
    def one(study: Study) -> Headline:
        accuracy = away_and_deep(study)["accuracy"].dropna()
        return Headline(float(accuracy.mean()), n=len(accuracy), reason=NOT_RESAMPLED if len(accuracy) else NO_CELLS)

    name = f"mean accuracy, own set excluded, {_deep(pair)}"
    words = "Published picks the sign on the evaluation labels, so accuracy hardly falls below chance."
    return _row("mean_accuracy", name, words, *map(one, pair))


def _turned_rows(pair) -> list[dict[str, Any]]:
    """How many cells the published flip turned from below chance, and their share; strict turns none by definition."""
    strict, published = (away_and_deep(study).set_index(["method", *CELL]) for study in pair)
    both = strict[strict["accuracy"].notna()].join(published["flipped"], rsuffix="_published", how="inner")
    # Without questions the flip goes by AUROC: turned means that it was below 0.5.
    below = both["n_kind"].eq("rows") | (both["accuracy"] < both["chance_accuracy"])
    turned = both["flipped_published"].astype(bool) & below
    found = share(turned)
    none = Headline(0.0, n=found.n, reason="no interval: none is turned by definition")
    number = Headline(float(turned.sum()), n=found.n, reason="no interval: a count, see its share")
    words = "Published turns a probe that points the wrong way on the evaluated set; strict keeps it and shows it below chance."
    name = f"of cells turned from below chance, own set excluded, {_deep(pair)}"
    return [
        _row(NUMBER_TURNED, f"number {name}", words, none, number),
        _row("share_turned", f"share {name}", words, none, found),
    ]


def _control_row(pair) -> dict[str, Any]:
    means = [mean_recovered(study, beside(study, away_and_deep(study))) for study in pair]
    words = "A random direction knows nothing: what it gains is granted by choosing signs and thresholds on the evaluation labels."
    return _row(CONTROL, f"random control: mean recovered, own set excluded, {_deep(pair)}", words, *means)


def _truthful_row(pair) -> dict[str, Any]:
    line = TRUTHFUL_QA_LINES["standard prompt"]

    def one(study: Study) -> Headline:
        if not (study.rows["test"] == TRUTHFUL_QA).any():
            return Headline(n_kind="probes", reason=NO_TRUTHFUL_QA)
        found = share_above(truthful_qa(study), line)
        reason = SHARED_QUESTIONS if found["n"] else NO_GOOD_PROBES
        return Headline(found["value"], n=int(found["n"]), n_kind="probes", reason=reason)

    name = f"share of probes above 80 % recovered (own set excluded) that exceed {line:.1%} on TruthfulQA"
    return _row("truthful_qa", name, "Published picks the sign on the TruthfulQA labels themselves.", *map(one, pair))


def _deep(pair) -> str:
    return f"layers {pair[0].cut_layer} and deeper"


def _refuse_unlike(strict: Study, published: Study) -> None:
    if strict.published or not published.published:
        raise UsageError(
            f"the table sets a strict study beside a published one, got {strict.protocol} and {published.protocol}. "
            "Evaluate once with --protocol strict and once with --protocol published."
        )
    keys = [
        set(study.cells[["model", "method", *CELL]].itertuples(index=False, name=None)) for study in (strict, published)
    ]
    if keys[0] != keys[1]:
        raise UsageError(
            f"the two studies do not hold the same probes and test sets ({len(keys[0] - keys[1])} cells only in the strict one, "
            f"{len(keys[1] - keys[0])} only in the published one). Evaluate both with the same --datasets, --methods and --layers."
        )
