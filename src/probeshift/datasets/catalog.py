"""Every dataset there is. A new one is one entry in its family's file and one line here."""

from __future__ import annotations

from pathlib import Path

from probeshift.datasets import dlk, facts, got, repe
from probeshift.datasets.dataset import Dataset, DatasetSpec
from probeshift.datasets.loading import load
from probeshift.datasets.truthfulqa import TRUTHFUL_QA
from probeshift.errors import UsageError, nearest

_MISSION = (
    dlk.IMDB,
    dlk.AMAZON_POLARITY,
    dlk.AG_NEWS,
    dlk.DBPEDIA_14,
    dlk.RTE,
    dlk.COPA,
    dlk.BOOLQ,
    repe.OPEN_BOOK_QA,
    repe.COMMON_SENSE_QA,
    repe.RACE,
    repe.ARC_CHALLENGE,
    repe.ARC_EASY,
    got.GOT_CITIES,
    got.GOT_SP_EN_TRANS,
    got.GOT_LARGER_THAN,
    got.GOT_CITIES_CITIES_CONJ,
    got.GOT_CITIES_CITIES_DISJ,
)
_FACTS = (
    facts.FACTS_CITIES,
    facts.FACTS_TRANSLATIONS,
    facts.FACTS_COMPARISONS,
    facts.FACTS_CITIES_CONJ,
    facts.FACTS_CITIES_DISJ,
)
_FACTS_BY_SIDE = (
    facts.FACTS_CITIES_AFFIRMED,
    facts.FACTS_CITIES_NEGATED,
    facts.FACTS_TRANSLATIONS_AFFIRMED,
    facts.FACTS_TRANSLATIONS_NEGATED,
    facts.FACTS_COMPARISONS_AFFIRMED,
    facts.FACTS_COMPARISONS_NEGATED,
)

DATASETS: tuple[DatasetSpec, ...] = (*_MISSION, dlk.PIQA, TRUTHFUL_QA, *_FACTS, *_FACTS_BY_SIDE)
MISSION_DATASETS: tuple[str, ...] = tuple(spec.name for spec in _MISSION)
FACTS_DATASETS: tuple[str, ...] = tuple(spec.name for spec in _FACTS)


def find_spec(name: str) -> DatasetSpec:
    """The entry of a dataset.

    Raises:
        UsageError: there is no dataset of this name.
    """
    for spec in DATASETS:
        if spec.name == name:
            return spec
    names = [spec.name for spec in DATASETS]
    raise UsageError(
        f"no dataset is called `{name}`. {nearest(name, names)} `probeshift datasets` lists all; --data reads a "
        "file of your own."
    )


def load_dataset(
    name: str, *, data_dir: Path | None = None, source: str = "auto", split_by: str = "question"
) -> Dataset:
    """A dataset with its splits.

    `source` "auto" reads what is bundled, else the files in `data_dir` (or PROBESHIFT_DATA), else the hub. `split_by`
    "entity" keeps a city, word or article on one side of the split, "question" is the procedure of the literature.

    Raises:
        UsageError: there is no dataset of this name.
        MissingError: its files are in none of these places.
    """
    return load(find_spec(name), data_dir=data_dir, source=source, split_by=split_by)
