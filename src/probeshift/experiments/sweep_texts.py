"""Sets given as texts, read through the sweep's model: raw activations at a position, or pooled features of an SAE."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probeshift.activations import ActivationStore
from probeshift.datasets import Statement, load_dataset
from probeshift.datasets.dataset import first_questions
from probeshift.datasets.label_maps import label_truths
from probeshift.datasets.reading import read_rows
from probeshift.errors import MissingError, UsageError, nearest
from probeshift.experiments.inputs import ModelSettings, Workspace
from probeshift.experiments.sweep_settings import SetSettings, SweepSettings
from probeshift.feature_tables import FeatureTable, check_finite

if TYPE_CHECKING:
    from probeshift.features import SparseEncoder
    from probeshift.models import LanguageModel

log = logging.getLogger(__name__)
Progress = Callable[[str, int, int], None]
Load = Callable[[], "LanguageModel"]


@contextmanager
def text_reader(
    settings: SweepSettings, on_progress: Progress | None
) -> Iterator[Callable[[SetSettings], FeatureTable]]:
    """A function that reads a set of texts; the model is loaded at most once and forgotten when the `with` ends."""
    workspace = Workspace(ModelSettings(model=settings.model or "", max_tokens=settings.max_tokens))
    with workspace.loader() as load:
        yield _TextReader(settings, workspace, load, on_progress).read


@dataclass(frozen=True)
class _TextReader:
    settings: SweepSettings
    workspace: Workspace
    load: Load
    on_progress: Progress | None

    def read(self, one: SetSettings) -> FeatureTable:
        """Features of one set's texts.

        Raises:
            UsageError: texts, labels or an SAE that cannot be used.
        """
        statements = _statements(one, self.settings)
        return self._raw(one.name, statements) if self.settings.sae is None else self._encoded(one.name, statements)

    def _raw(self, name: str, statements: Sequence[Statement]) -> FeatureTable:
        from probeshift.extraction import extract

        layer, position, space = self.settings.layer or 0, self.settings.position, self.workspace
        options = replace(space.options((layer,)), positions=(position,))
        job = space.plan(statements, options, label=name)
        return table_of_store(name, extract(job, self.load, on_progress=self.on_progress), layer, position)

    @cached_property
    def _encoder(self) -> SparseEncoder:
        from probeshift.features import POOLS, load_encoder

        if self.settings.position not in POOLS:
            raise UsageError(
                f"SAE features have no position `{self.settings.position}`. {nearest(self.settings.position, POOLS)}"
            )
        encoder, asked = load_encoder(self.settings.sae or Path()), self.settings.layer
        if asked is None and encoder.layer is None:
            raise UsageError(f"SAE `{encoder.name}` does not say which layer it reads. Add `layer:` to the config.")
        if asked is not None and encoder.layer not in (None, asked) and not self.settings.allow_misfit:
            raise UsageError(
                f"SAE `{encoder.name}` reads layer {encoder.layer} and the config says {asked}. "
                "Leave `layer:` out, or set allow_misfit: true."
            )
        return encoder

    def _encoded(self, name: str, statements: Sequence[Statement]) -> FeatureTable:
        """Pooled SAE features; which layer is read the SAE says, unless the settings do."""
        from probeshift.extraction.sae_features import SaeExtraction, read_sae_features

        settings, space, encoder = self.settings, self.workspace, self._encoder
        layer = encoder.layer if settings.layer is None else settings.layer
        options = space.options((layer or 0,))
        job = SaeExtraction.prepare(statements, space.info, space.tokenizer, options=options, encoder=encoder)
        found = read_sae_features(
            job,
            self.load,
            pool=settings.position,
            allow_misfit=settings.allow_misfit,
            label=name,
            on_progress=self.on_progress,
        )
        log.warning("%s: %s", name, found.check.words())
        return FeatureTable(
            name,
            found.values,
            np.array([s.label for s in statements], dtype=bool),
            f"{found.content_id}:{settings.position}",
            texts=tuple(s.text for s in statements),
            groups=_groups((s.entity, s.dataset, s.group) for s in statements),
            n_tokens=found.n_tokens,
            made_with={
                "model": space.info.name,
                "layer": layer,
                "position": settings.position,
                "sae": encoder.fingerprint,
            },
            sae_fit=asdict(found.check),
        )


def _statements(one: SetSettings, settings: SweepSettings) -> list[Statement]:
    """The rows of a dataset (all splits) or of an own table.

    Raises:
        MissingError: no such file.
        UsageError: no text or label in a row, an unknown label, no rows.
    """
    if one.dataset is not None:
        rows = load_dataset(one.dataset, data_dir=settings.data_dir).statements
        return list(rows if one.limit is None else first_questions(rows, one.limit))
    found = _table_rows(one, settings.data_dir)
    truths = label_truths([row["label"] for row in found], where=str(one.table), also=settings.labels)
    return [
        Statement(one.name, str(number), str(row["text"]), bool(truth), "train")
        for number, (row, truth) in enumerate(zip(found, truths, strict=True))
    ]


def _table_rows(one: SetSettings, data_dir: Path | None) -> list[dict[str, Any]]:
    path = (data_dir or Path()) / (one.table or "")
    if not path.exists():
        raise MissingError(
            f"{path} is missing. Point `table:` of set `{one.name}` at a table with `text` and `label` columns, or --data-dir "
            "at the folder that holds it."
        )
    rows = list(read_rows(path))
    columns = set(rows[0]) if rows else set()
    for needed in ("text", "label", *one.where) if rows else ():
        if needed not in columns:
            raise UsageError(f"{path} has no column `{needed}`. {nearest(needed, columns)}")
    for column, wanted in one.where.items():
        there = {str(row[column]) for row in rows}
        rows = [row for row in rows if str(row[column]) == str(wanted)]
        if not rows:
            raise UsageError(f"{path} has no row with {column} = {wanted}. {nearest(str(wanted), there)}")
    return rows


def table_of_store(name: str, store: ActivationStore, layer: int, position: str) -> FeatureTable:
    """One layer and position of a store; rows about one entity (else of one question) are a group."""
    rows = store.rows
    table = FeatureTable(
        name,
        store.read(layer, position),
        store.labels,
        f"{store.plan['plan_id']}:{layer}:{position}",
        texts=tuple(rows["text"]),
        groups=_groups(zip(rows["entity"], rows["dataset"], rows["group"], strict=True)),
        n_tokens=tuple(map(int, rows["n_tokens"])),
        made_with={**store.space, "dtype": store.dtype, "layer": layer, "position": position},
    )
    check_finite(table, str(store.folder))
    return table


def _groups(rows: Iterable[tuple[Any, str, Any]]) -> tuple[str, ...] | None:
    """What rows are about, where all of them say it: (entity, dataset, question) each, None and NaN saying nothing.

    Entities are the same in every dataset; numbers of questions are not.
    """
    names = [
        entity if isinstance(entity, str) else f"{dataset} {question}" if isinstance(question, str) else None
        for entity, dataset, question in rows
    ]
    return None if None in names else tuple(name for name in names if name is not None)
