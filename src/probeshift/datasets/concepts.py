"""Concepts and the rows that show them or do not: AxBench parquet, CAA contrast pairs, your own table.

Each concept's rows are in two parts before anything is read: "vector" rows make its vector and the unit of its strength,
"detection" rows tell whether the vector separates texts it has not seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from probeshift.errors import MissingError, UsageError, nearest
from probeshift.provenance import sha256_json, sha256_text

PARTS = ("vector", "detection")
_COLUMNS = ("concept", "prompt", "response", "positive")
_YES, _NO = frozenset(("1", "true", "yes", "positive", "1.0")), frozenset(("0", "false", "no", "negative", "0.0"))
# One prompt in so many is kept for detection where the source has no rows of its own for it.
_DETECTION = 4


@dataclass(frozen=True)
class Concept:
    """`told` says what it is, for a judge; `request` asks for it in a prompt. Known by `id`, never by place."""

    id: str
    told: str
    request: str


@dataclass(frozen=True)
class ConceptRow:
    """What was asked and answered, and whether the answer shows the concept. `part` is vector or detection."""

    concept: str
    prompt: str
    response: str
    positive: bool
    part: str


@dataclass(frozen=True)
class ConceptData:
    """The concepts of a study and all their rows."""

    source: str
    concepts: tuple[Concept, ...]
    rows: tuple[ConceptRow, ...]

    @property
    def content_hash(self) -> str:
        """Hex sha256 over concepts and rows, whatever their order."""
        rows = sorted([r.concept, r.prompt, r.response, r.positive, r.part] for r in self.rows)
        return sha256_json([sorted([c.id, c.told, c.request] for c in self.concepts), rows])

    def of(self, part: str, concepts: Iterable[str] | None = None) -> list[ConceptRow]:
        """The rows of a part, of these concepts or of all."""
        wanted = None if concepts is None else set(concepts)
        return [r for r in self.rows if r.part == part and (wanted is None or r.concept in wanted)]


def told_request(told: str) -> str:
    """The sentence that asks for a concept in a prompt."""
    return f"Work this into your answer: {told.rstrip('.')}."


def load_axbench(folder: Path) -> ConceptData:
    """An AxBench partition: its training rows make vectors, its latent-eval rows are for detection.

    A concept's negatives are the shared ones of its genre (`concept_id` -1), and its own for detection; hard negatives are
    left out. Source: Wu et al. 2025.

    Raises:
        MissingError: a file is not there.
        UsageError: a file has other columns.
    """
    import pandas as pd

    tables = {}
    for part, name in zip(PARTS, ("generate/train_data.parquet", "inference/latent_eval_data.parquet"), strict=True):
        path = Path(folder) / name
        if not path.is_file():
            raise MissingError(
                f"{folder} is no AxBench partition: {name} is missing. Name the folder that holds generate/."
            )
        tables[part] = pd.read_parquet(path)
        _require(
            path, tables[part].columns, ("input", "output", "output_concept", "category", "concept_id", "concept_genre")
        )
    train, evaluated = tables["vector"], tables["detection"]
    concepts, rows = [], []
    for number, own in train[train["concept_id"] >= 0].groupby("concept_id"):
        told, identity = str(own["output_concept"].iloc[0]), f"axbench-{int(number)}"
        concepts.append(Concept(identity, told, told_request(told)))
        genres = set(own["concept_genre"])
        shared = train[(train["concept_id"] < 0) & train["concept_genre"].isin(genres)]
        rows += _rows(identity, own, positive=True, part="vector") + _rows(
            identity, shared, positive=False, part="vector"
        )
        ours = evaluated[evaluated["concept_id"] == number]
        for kind in (True, False):
            wanted = ours[ours["category"] == ("positive" if kind else "negative")]
            rows += _rows(identity, wanted, positive=kind, part="detection")
    return ConceptData(f"axbench:{Path(folder).name}", tuple(concepts), tuple(rows))


def _rows(concept: str, table, *, positive: bool, part: str) -> list[ConceptRow]:
    pairs = zip(table["input"], table["output"], strict=True)
    return [ConceptRow(concept, str(asked), str(said), positive, part) for asked, said in pairs if str(said).strip()]


def load_caa(folder: Path) -> ConceptData:
    """Contrast pairs in the layout of CAA: the question with both choices, answered either way.

    Pairs of `test/<concept>/test_dataset_ab.json` are for detection where that file is there; else every fourth question, by hash.
    Source: Rimsky et al. 2024.

    Raises:
        MissingError: no `generate/<concept>/generate_dataset.json`.
        UsageError: a file has other keys.
    """
    files = sorted(Path(folder).glob("generate/*/generate_dataset.json"))
    if not files:
        raise MissingError(
            f"{folder} holds no generate/<concept>/generate_dataset.json. Name the folder above generate/."
        )
    concepts, rows = [], []
    for path in files:
        name = path.parent.name
        told = name.replace("-", " ").replace("_", " ")
        concepts.append(Concept(name, told, told_request(told)))
        test = Path(folder) / "test" / name / "test_dataset_ab.json"
        asked = {asked for asked, *_ in _pairs(path)}
        if test.is_file():
            rows += _pair_rows(name, _pairs(path), lambda _: "vector")
            rows += _pair_rows(name, [p for p in _pairs(test) if p[0] not in asked], lambda _: "detection")
        else:
            rows += _pair_rows(name, _pairs(path), part_of)
    return ConceptData(f"caa:{Path(folder).name}", tuple(concepts), tuple(rows))


def _pairs(path: Path) -> list[tuple[str, str, str]]:
    from probeshift.datasets.reading import read_rows

    names = ("question", "answer_matching_behavior", "answer_not_matching_behavior")
    found = list(read_rows(path))
    _require(path, found[0] if found else (), names)
    return [(str(row[names[0]]), str(row[names[1]]).strip(), str(row[names[2]]).strip()) for row in found]


def _pair_rows(concept: str, pairs: Sequence[tuple[str, str, str]], part) -> list[ConceptRow]:
    return [
        ConceptRow(concept, asked, said, positive, part(asked))
        for asked, matching, other in dict.fromkeys(pairs)
        for said, positive in ((matching, True), (other, False))
    ]


def load_concept_table(path: Path) -> ConceptData:
    """Your own rows: a table with concept, prompt, response, positive, and `part` (vector or detection) if you split it.

    Without `part` every fourth prompt, by hash, is for detection (the response, where a concept has a single prompt).

    Raises:
        MissingError: no such file.
        UsageError: a column is missing, or a value of `positive` or `part` is not known.
    """
    from probeshift.datasets.reading import read_rows

    if not Path(path).is_file():
        raise MissingError(f"there is no file {path}. Give a table with the columns {', '.join(_COLUMNS)}.")
    found = list(read_rows(Path(path)))
    _require(Path(path), found[0] if found else (), _COLUMNS)
    single = {c for c in {r["concept"] for r in found} if len({r["prompt"] for r in found if r["concept"] == c}) == 1}
    rows = [_own_row(Path(path), row, single) for row in found]
    names = dict.fromkeys(row.concept for row in rows)
    concepts = [Concept(name, name.replace("_", " "), told_request(name.replace("_", " "))) for name in names]
    return ConceptData(f"file:{Path(path).name}", tuple(concepts), tuple(rows))


def _own_row(path: Path, row, single: set) -> ConceptRow:
    concept, prompt, response = (str(row[name] if row[name] is not None else "") for name in _COLUMNS[:3])
    said = str(row["positive"]).strip().lower()
    if said not in _YES | _NO:
        raise UsageError(f"{path.name}: `positive` is `{row['positive']}`. Use 1 or 0, true or false.")
    part = str(row.get("part") or part_of(response if row["concept"] in single else prompt))
    if part not in PARTS:
        raise UsageError(f"{path.name}: part `{part}` is unknown. {nearest(part, PARTS)}")
    return ConceptRow(concept, prompt, response, said in _YES, part)


def part_of(key: str) -> str:
    """Which part a prompt belongs to, by hash: three in four make the vector."""
    return "detection" if int(sha256_text(key)[:8], 16) % _DETECTION == 0 else "vector"


def _require(path: Path, columns: Iterable[str], wanted: Sequence[str]) -> None:
    there = [str(column) for column in columns]
    for name in wanted:
        if name not in there:
            raise UsageError(f"{path.name} has no column `{name}`. {nearest(name, there)}")
