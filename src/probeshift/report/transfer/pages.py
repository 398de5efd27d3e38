"""Figures, tables and the report of a transfer study, from the tables in its folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from probeshift.errors import StoreError
from probeshift.provenance import publish
from probeshift.report.figures import save_figure
from probeshift.report.tables import Pages, Table
from probeshift.report.transfer.figures import closeness_points, concept_matrix, score_points, strength_curves
from probeshift.report.transfer.wording import AT, markdown, sentences

TEST = "test"
# Mean scores beside the one that counts, where they were given.
_PARTS = {
    "strict": "strict",
    "loose": "loose",
    "judge_concept": "concept",
    "instruction": "instruction",
    "fluency": "fluency",
}


def draw(folder: Path) -> Pages:
    """Draw a study and write its report; nothing is run.

    Raises:
        StoreError: the folder holds no evaluated study.
    """
    read = _read(Path(folder))
    analysis = Path(folder) / "analysis"
    paths = [p for name, figure, table in _figures(read) for p in save_figure(figure, analysis / name, table)]
    tables = tuple(_tables(read))
    notes = tuple(sentences(read))
    report = analysis / "report.md"
    publish(report, markdown(read, tables, notes, [p.name for p in paths if p.suffix == ".png"]))
    numbers: dict[str, Any] = {
        name: json.loads(read[name].to_json(orient="records")) for name in ("conditions", "closeness") if name in read
    }
    return Pages(tables, notes, (*paths, report), numbers)


def _read(folder: Path) -> dict[str, Any]:
    """All saved tables by name, and the settings."""
    if not (folder / "analysis" / "closeness.parquet").exists():
        raise StoreError(f"{folder} holds no evaluated study. Run `probeshift transfer evaluate` or `run` first.")
    read: dict[str, Any] = {}
    for part in ("evaluation", "analysis"):
        for path in sorted((folder / part).glob("*.parquet")):
            read[path.stem] = pd.read_parquet(path)
    for name, file in (
        ("settings", "settings.json"),
        ("split", "vectors/split.json"),
        ("not_made", "analysis/not_made.json"),
    ):
        read[name] = json.loads((folder / file).read_text(encoding="utf-8"))
    judge = folder / "evaluation" / "judge.json"
    read["judge"] = json.loads(judge.read_text(encoding="utf-8")) if judge.exists() else {}
    read["score"] = read["settings"]["score"] or ("useful" if read["settings"]["concepts"]["rules"] else "overall")
    return read


def _figures(read: dict[str, Any]) -> Iterator[tuple[str, Any, pd.DataFrame]]:
    models = f"{read['settings']['source']} → {read['settings']['target']}"
    yield "closeness.png", closeness_points(read["closeness"], heading=f"Carried vectors, {models}"), read["closeness"]
    if "texts" not in read:
        return
    for at, part in read["conditions"].groupby("at", sort=False):
        name = "scores.png" if at == TEST else "scores_equal_side_effect.png"
        heading = f"{models}\ntest prompts, {AT[str(at)]}"
        yield name, score_points(part, score=read["score"], heading=heading), part
    curves, methods = read["curves"], tuple(read["settings"]["methods"])
    shown = ("native", *(m for m in methods if m in set(curves["condition"])), "random")
    yield "strength_curves.png", strength_curves(curves, conditions=shown, score=read["score"], heading=models), curves
    own = read["concepts"][read["concepts"]["split"] == TEST]
    yield "concepts.png", concept_matrix(own, score=read["score"], heading=f"{models}: {read['score']} by concept"), own


def _tables(read: dict[str, Any]) -> Iterator[Table]:
    yield _closeness(read["closeness"])
    if "texts" not in read:
        return
    parts = {column: name for column, name in _PARTS.items() if column in read["conditions"]}
    columns = (
        "condition",
        read["score"],
        "gain over none",
        "p",
        "p Holm",
        "recovery",
        "harmed",
        *parts.values(),
        "KL",
        "perplexity",
    )
    for at, part in read["conditions"].groupby("at", sort=False):
        yield f"Test prompts, {AT[str(at)]}", columns, [_line(row, tuple(parts)) for _, row in part.iterrows()]


def _closeness(table: pd.DataFrame) -> Table:
    columns = ("condition", "draws", "cosine", "over ceiling", "mean taken out", "over ceiling", "top-1", "AUROC")
    lines = [
        (row["condition"], f"{row['n_draws']:.0f}", _number(row["cosine"]), _number(row["cosine_over_ceiling"]),
         _number(row.get("cosine_specific")), _number(row["cosine_specific_over_ceiling"]), _number(row["top1"]),
         _number(row["auroc"], row["auroc_low"], row["auroc_high"]))
        for _, row in table.iterrows()
    ]  # fmt: skip
    ceiling = _number(table["split_half_cosine"].iloc[0])
    return f"Carried vectors beside native ones (two halves of the native data: cosine {ceiling})", columns, lines


def _line(row: pd.Series, parts: tuple[str, ...]) -> tuple[str, ...]:
    recovery = _number(row["recovery"], row["recovery_low"], row["recovery_high"])
    if pd.isna(row["recovery"]):
        recovery = "n/a" if row["condition"] not in ("none", "native") else "-"
    return (
        row["condition"], _number(row["score"], row["score_low"], row["score_high"]),
        _number(row["gain"], row["gain_low"], row["gain_high"], sign=True), _number(row["p_none"], digits=3),
        _number(row["p_none_holm"], digits=3), recovery, _number(row["harmed"]), *(_number(row[part]) for part in parts),
        _number(row["kl"]), _number(row["perplexity"], digits=1),
    )  # fmt: skip


def _number(value: Any, low: Any = None, high: Any = None, *, digits: int = 2, sign: bool = False) -> str:
    """A number with its interval; a dash where it is not defined."""
    if value is None or pd.isna(value):
        return "-"
    told = f"{value:{'+' if sign else ''}.{digits}f}"
    return f"{told} [{low:.{digits}f}, {high:.{digits}f}]" if low is not None and pd.notna(low) else told
