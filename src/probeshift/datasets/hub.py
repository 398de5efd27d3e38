"""Datasets from the hub through the `datasets` library (extra `[hf]`). Code in a repository is never run."""

from __future__ import annotations

import heapq
import importlib.util
import os
from typing import Any

from probeshift.datasets.dataset import DatasetSpec
from probeshift.datasets.questions import Row
from probeshift.datasets.records import Source, read_source
from probeshift.datasets.splits import shuffle_key
from probeshift.errors import MissingError


def hub_installed() -> bool:
    """Whether the `datasets` library is there."""
    return importlib.util.find_spec("datasets") is not None


def hub_name(spec: DatasetSpec) -> str:
    """The hub id with its configuration, in words."""
    return f"{spec.hub_id} ({spec.hub_config})" if spec.hub_config else str(spec.hub_id)


def read_hub(spec: DatasetSpec, key_of: Any) -> list[Source]:
    """The source splits the dataset is defined on, read from the hub or its local cache.

    Raises:
        MissingError: the library is not installed, or the hub cannot be reached and nothing is cached.
    """
    if not hub_installed():
        raise MissingError(
            f"dataset `{spec.name}` comes from the hub ({hub_name(spec)}): pip install 'probeshift[hf]' or "
            f"{_by_hand(spec)}."
        )
    return [_read_split(spec, name, _table(spec, name), key_of) for name in spec.source_splits]


def _table(spec: DatasetSpec, split: str) -> Any:
    import datasets

    try:
        return datasets.load_dataset(spec.hub_id, spec.hub_config, split=split, revision=spec.hub_revision)
    # the library reports an unreachable hub by any of these, depending on its version and on what is cached
    except (OSError, ValueError, RuntimeError) as error:
        offline = " while HF_HUB_OFFLINE is set" if os.environ.get("HF_HUB_OFFLINE") else ""
        raise MissingError(
            f"dataset `{spec.name}` could not be read from the hub ({hub_name(spec)}, split {split}){offline}: "
            f"connect and run again, or {_by_hand(spec)}."
        ) from error


def _by_hand(spec: DatasetSpec) -> str:
    return f"put {spec.files} in a folder and name it with --data-dir or PROBESHIFT_DATA"


def _read_split(spec: DatasetSpec, name: str, table: Any, key_of: Any) -> Source:
    n_found, rows = len(table), iter(table)
    if spec.cap is not None and key_of is None:
        # millions of rows: the rows that come first in shuffled order are known from their numbers alone
        kept = sorted(heapq.nsmallest(spec.cap, range(n_found), key=lambda index: shuffle_key(str(index))))
        rows = iter(table.select(kept))
        numbers = kept
    else:
        numbers = list(range(n_found))
    source = read_source(name, rows, _converter(spec, table[0]), key_of=key_of, cap=spec.cap, numbers=numbers)
    source.n_found = n_found
    return source


def _converter(spec: DatasetSpec, first: Row) -> Any:
    layout = next((layout for layout in spec.layouts if layout.read is None and layout.accepts(first)), None)
    if layout is None:
        raise MissingError(
            f"{hub_name(spec)} has the fields {', '.join(first)}, which is no known layout of `{spec.name}`: "
            f"{_by_hand(spec)}."
        )
    return layout.convert
