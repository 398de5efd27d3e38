"""The sets of a sweep, read from wherever their settings say: the study's cache, activation stores, or texts through a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from probeshift.activations import ActivationStore
from probeshift.datasets.near_duplicates import duplicate_groups, near_duplicates
from probeshift.errors import UsageError
from probeshift.experiments.sweep_settings import SetSettings, SweepSettings
from probeshift.experiments.sweep_texts import table_of_store, text_reader
from probeshift.feature_tables import FeatureTable, read_cache, read_texts, stacked

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class SweepInputs:
    """Sources and tests as given; near-duplicates across them are still in."""

    sources: tuple[FeatureTable, ...]
    tests: tuple[FeatureTable, ...]


def read_sets(settings: SweepSettings, on_progress: Progress | None = None) -> SweepInputs:
    """All sets, checked; texts are read through the model, which is loaded once if anything is missing.

    Raises:
        MissingError: a file, dataset or model is not there.
        UsageError: a set that cannot be used.
    """
    with text_reader(settings, on_progress) as read_text:
        tables = [_read(one, settings, read_text) for one in (*settings.sources, *settings.tests)]
    tables, n = _with_duplicate_groups(tables), len(settings.sources)
    return SweepInputs(tuple(tables[:n]), tuple(tables[n:]))


def _read(one: SetSettings, settings: SweepSettings, read_text: Callable[[SetSettings], FeatureTable]) -> FeatureTable:
    if one.cache is not None:
        table = read_cache(settings.cache, one.cache, name=one.name, labels=settings.labels)
    elif one.store is not None:
        table = _from_store(one.name, one.store, settings)
    else:
        table = read_text(one)
    return replace(table, texts=read_texts(one.texts)) if one.texts else table


def _from_store(name: str, folders: Path | tuple[Path, ...], settings: SweepSettings) -> FeatureTable:
    if settings.layer is None:
        raise UsageError(f"set `{name}` is an activation store: say which `layer:` of it to read.")
    stores = [ActivationStore.open(folder) for folder in ([folders] if isinstance(folders, Path) else folders)]
    return stacked([table_of_store(name, store, settings.layer, settings.position) for store in stores])


def _with_duplicate_groups(tables: Sequence[FeatureTable]) -> list[FeatureTable]:
    """Sets whose texts are known and that have no groups: near-duplicates, also across sets, become one group."""
    chosen = [t for t in tables if t.texts is not None and t.groups is None]
    texts = [text for table in chosen for text in table.texts or ()]
    pairs = near_duplicates(texts)
    if not pairs:
        return list(tables)
    names = iter(f"duplicates of {leader}" for leader in duplicate_groups(len(texts), pairs))
    named = {t.name: tuple(next(names) for _ in t.labels) for t in chosen}
    return [replace(t, groups=named[t.name]) if t.name in named else t for t in tables]
