"""Step 3: evaluate carried vectors in the target, beside native ones and controls; and all steps in a row."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from probeshift.experiments.transfer import analysis
from probeshift.experiments.transfer.closeness import cosine_rows, detection_rows
from probeshift.experiments.transfer.conditions import NATIVE, NONE, Condition, build, missing_conditions
from probeshift.experiments.transfer.costs import costs, equal_strengths
from probeshift.experiments.transfer.maps import CONTROL, fit
from probeshift.experiments.transfer.scoring import Scorer, check_score
from probeshift.experiments.transfer.study import ANALYSIS, EVALUATION, Study
from probeshift.experiments.transfer.vectors import make_vectors
from probeshift.experiments.transfer.writing import (
    EQUAL_KL,
    SELECTION,
    TEST,
    Text,
    asks_at,
    base_asks,
    choose,
    selection_asks,
    write,
)
from probeshift.provenance import publish

if TYPE_CHECKING:
    import pandas as pd


def run(study: Study) -> dict[str, Any]:
    """All steps; each takes over what is finished.

    Raises:
        ProbeshiftError: any step's; what is finished is kept.
    """
    if study.settings.is_steered:
        check_score(study)
    make_vectors(study)
    fit(study, [*study.settings.methods, CONTROL], skip_impossible=True)
    return evaluate(study)


def evaluate(study: Study) -> dict[str, Any]:
    """Cosines, detection, texts, scores and their analysis, from saved vectors and maps.

    Raises:
        StoreError: vectors were not made.
        UsageError: nobody can give the score.
        JudgeError: the judge cannot go on; texts and answers are kept.
    """
    if study.settings.is_steered:
        check_score(study)
    fitted = fit(study, [*study.settings.methods, CONTROL], skip_impossible=True)
    study.drop(study.settings.source)
    conditions = build(study, fitted)
    tables = {
        "cosines": cosine_rows(study, conditions, fitted),
        "detection": detection_rows(study, conditions),
        "maps": analysis.map_rows(fitted, missing_conditions(study)),
        "units": analysis.unit_rows(conditions),
    }
    for name, table in tables.items():
        _save(study, EVALUATION, name, table)
    if study.settings.is_steered:
        texts, strengths = _steer(study, conditions)
        for name, table in (("texts", texts), ("strengths", strengths)):
            _save(study, EVALUATION, name, table)
            tables[name] = table
    else:
        _remove_tables_of_texts(study)
    found = analysis.analyse(tables, study.settings)
    for name, table in found.items():
        _save(study, ANALYSIS, name, table)
    publish(study.folder(ANALYSIS) / "not_made.json", json.dumps(missing_conditions(study), indent=1))
    return {"conditions": found["conditions"], "folder": study.settings.output_dir}


def _steer(study: Study, conditions: list[Condition]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All texts with scores and costs, and the strengths they were written at."""
    import pandas as pd

    base = write(study, base_asks(study), "unsteered and prompted texts")
    tried = write(study, selection_asks(study, conditions), "texts to choose strengths on")
    scorer = Scorer.open(study)
    selection = scorer.table([*(t for t in base if t.ask.split == SELECTION), *tried])
    chosen = choose(selection, study.settings.scored_by)
    test = [t for t in base if t.ask.split == TEST]
    test += write(study, asks_at(study, conditions, chosen, TEST), "test texts")
    rows = [analysis.strength_row(key, TEST, {"strength": value}) for key, value in chosen.items()]
    if study.settings.kl_target is not None:
        plain = [t for t in base if t.ask.split == SELECTION and t.ask.condition == NONE]
        equal = dict(equal_strengths(study, conditions, plain))
        rows += [analysis.strength_row(key, EQUAL_KL, value) for key, value in equal.items()]
        found = {key: value["strength"] for key, value in equal.items() if value["strength"] is not None}
        test += write(study, asks_at(study, conditions, found, EQUAL_KL), "texts at equal side effect")
    table = pd.concat([selection, scorer.table(test)], ignore_index=True)
    scorer.save()
    curve = [t for t in tried if t.ask.condition == NATIVE]
    plain = [t for t in base if t.ask.split == SELECTION]
    return _with_costs(study, table, [*test, *curve, *plain]), pd.DataFrame(rows)


def _with_costs(study: Study, table: pd.DataFrame, texts: list[Text]) -> pd.DataFrame:
    """The table with `nll` and `kl`; NaN where they were not measured (selection texts of other conditions than native)."""
    measured = costs(study, texts)
    for name in ("nll", "kl"):
        table[name] = [measured.get(key, {}).get(name) for key in table["key"]]
    return table.astype({"nll": float, "kl": float})


def _remove_tables_of_texts(study: Study) -> None:
    """What an earlier run of this folder said of texts this one has not; the texts themselves are kept."""
    of_texts = {EVALUATION: ("texts", "strengths"), ANALYSIS: ("concepts", "curves")}
    for part, names in of_texts.items():
        for path in (study.folder(part) / f"{name}.{kind}" for name in names for kind in ("parquet", "csv")):
            path.unlink(missing_ok=True)


def _save(study: Study, part: str, name: str, table: pd.DataFrame) -> None:
    """A table as parquet and as csv."""
    folder = study.folder(part)
    publish(folder / f"{name}.parquet", table.to_parquet(index=False))
    publish(folder / f"{name}.csv", table.to_csv(index=False))
