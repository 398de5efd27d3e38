"""Feature tables: named sets of labelled feature rows, among them the layout of the distribution-sweep study.

    {name}_activations.npy     [example, feature] floats, one pooled row per text
    {name}_labels.json         {"labels": [...]} or a plain list; or {name}_labels.npy
    {name}_texts.json          optional: {"texts": [...]} or a plain list, for finding near-duplicates
    {name}_reference.npy       optional: [prompt, feature] rows of the same few prompts, made in the same pass as the set

Arrays are memory-mapped and never unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import sparse

from probeshift.arrays import Labels
from probeshift.datasets.label_maps import label_truths
from probeshift.errors import MissingError, StoreError, UsageError
from probeshift.provenance import sha256_file, sha256_json

FeatureRows = Float[np.ndarray, "example feature"]

SPARSE_BELOW = 0.25  # share of values that are not 0 under which rows are held sparse
_BLOCK = 512  # rows looked at together


@dataclass(frozen=True)
class FeatureTable:
    """One named set of rows.

    `values` is [example, feature], a memory map, an array or a sparse array. `fingerprint` is equal for equal contents. `groups`
    names rows that belong together (None: every row stands alone); `texts` are the rows' texts where they are known; `n_tokens`
    their lengths. `made_with` says how the rows were extracted (model, layer, dtype, ...), None where nothing does; `reference`
    [prompt, feature] are rows of prompts that every set has read; `sae_fit` says how an SAE fits the set's texts.
    """

    name: str
    values: Any
    labels: Labels
    fingerprint: str
    texts: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    n_tokens: tuple[int, ...] | None = None
    made_with: Mapping[str, Any] | None = None
    reference: Float[np.ndarray, "prompt feature"] | None = None
    sae_fit: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if not len(self.labels):
            raise UsageError(f"set `{self.name}` is empty. Give it rows, or leave it out of the config.")
        for what, rows in (("texts", self.texts), ("groups", self.groups), ("token counts", self.n_tokens)):
            if rows is not None and len(rows) != len(self.labels):
                raise UsageError(
                    f"set `{self.name}` has {len(self.labels)} labels and {len(rows)} {what}. One per row is needed."
                )
        if self.values.shape[0] != len(self.labels):
            raise UsageError(
                f"set `{self.name}` has {self.values.shape[0]} rows of activations and {len(self.labels)} labels. "
                "Make both from the same texts again."
            )

    @property
    def n_features(self) -> int:
        return int(self.values.shape[1])

    def only(self, rows: np.ndarray) -> FeatureTable:
        """Some of the rows, by index."""
        per_row: dict[str, Any] = {
            what: None if given is None else tuple(given[i] for i in rows)
            for what, given in (("texts", self.texts), ("groups", self.groups), ("n_tokens", self.n_tokens))
        }
        chosen = sha256_json([self.fingerprint, [int(i) for i in rows]])
        return replace(self, values=self.values[rows], labels=self.labels[rows], fingerprint=chosen, **per_row)


def read_cache(
    folder: Path, stem: str, *, name: str | None = None, labels: Mapping[str, bool] | None = None
) -> FeatureTable:
    """One set of the study's cache, memory-mapped.

    Raises:
        MissingError: a file is not there; it is named with the command that makes it.
        UsageError: unequal rows, values that are not finite numbers, an unknown label, no rows.
        StoreError: a file that is not a plain array.
    """
    path = folder / f"{stem}_activations.npy"
    values = _plain_rows(path, stem)
    words, source, about = _label_words(folder, stem)
    truths = label_truths(words, where=str(source), also=labels)
    texts_path = folder / f"{stem}_texts.json"
    texts = read_texts(texts_path) if texts_path.exists() else None
    reference = folder / f"{stem}_reference.npy"
    table = FeatureTable(
        name or stem, values, truths, sha256_file(path), texts, **about,
        reference=np.array(_plain_rows(reference, stem)) if reference.exists() else None,
    )  # fmt: skip
    check_finite(table, str(path))
    return table


def read_texts(path: Path) -> tuple[str, ...]:
    """The texts of a json file: a list, or {"texts": [...]}.

    Raises:
        MissingError: no such file.
        UsageError: it holds no list.
    """
    if not path.exists():
        raise MissingError(
            f"{path} is missing. Write the texts of the rows there as a json list, or leave `texts:` out."
        )
    return tuple(map(str, _list_in(_read_json(path), path, "texts")))


def _plain_rows(path: Path, stem: str) -> np.ndarray:
    values = _map(path, stem)
    if values.ndim != 2 or values.dtype.kind not in "fiu":
        raise UsageError(
            f"{path} holds {values.dtype} of shape {values.shape}; numbers of shape (texts, features) are needed."
        )
    return values


def _map(path: Path, stem: str) -> np.ndarray:
    if not path.exists():
        script = (
            "01_load_cached_activations.py"
            if stem in ("train", "test")
            else f"extract_cross_distribution.py --dataset {stem}"
        )
        raise MissingError(
            f"{path} is missing. The study makes it with `python experiments/{script}`; point `cache:` at the folder that holds it, "
            "or give the set as texts (`table:` or `dataset:`) with a `model:` and probeshift makes the features."
        )
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise StoreError(
            f"{path} is not a plain numpy array ({error}). Write it with numpy.save from a float array."
        ) from error


def _label_words(folder: Path, stem: str) -> tuple[Sequence[Any], Path, dict[str, Any]]:
    """The labels as written, their file, and what else the file says: token counts and how the rows were extracted."""
    as_json, as_npy = folder / f"{stem}_labels.json", folder / f"{stem}_labels.npy"
    if as_json.exists():
        held = _read_json(as_json)
        counts = _list_in(held, as_json, "token_counts") if isinstance(held, dict) and "token_counts" in held else None
        made_with = held.get("extraction_config") if isinstance(held, dict) else None
        about = {
            "n_tokens": None if counts is None else tuple(counts),
            "made_with": made_with if isinstance(made_with, dict) else None,
        }
        return _list_in(held, as_json, "labels"), as_json, about
    if as_npy.exists():
        return _map(as_npy, stem).ravel().tolist(), as_npy, {}
    raise MissingError(
        f"{as_json} is missing (and so is {as_npy.name}). Write one label per row of {stem}_activations.npy as "
        '{"labels": [...]}, or run the extraction that made the activations again.'
    )


def _list_in(held: Any, path: Path, key: str) -> list[Any]:
    found = held.get(key) if isinstance(held, dict) else held
    if not isinstance(found, list):
        raise UsageError(f'{path} holds no list of {key}. Write {{"{key}": [...]}}.')
    return found


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(f"{path} is not valid JSON ({error}). Write it again.") from error


def check_finite(table: FeatureTable, where: str) -> None:
    """Look at all values once.

    Raises:
        UsageError: one of them is not finite; its row is named.
    """
    for start in range(0, table.values.shape[0], _BLOCK):
        bad = ~np.isfinite(_dense(table.values[start : start + _BLOCK])).all(axis=1)
        if bad.any():
            raise UsageError(
                f"{where} has a value that is not finite in row {start + int(np.argmax(bad))}. Extract that text again, in "
                "float32 or bfloat16: float16 overflows at 65504."
            )


def stacked(tables: Sequence[FeatureTable]) -> FeatureTable:
    """Plain tables of one set below each other, named as the first; what not all of them know about their rows is not known."""
    first = tables[0]
    if len(tables) == 1:
        return first

    def all_of(parts: Sequence[tuple | None]) -> tuple | None:
        return None if any(part is None for part in parts) else tuple(row for part in parts for row in part or ())

    return FeatureTable(
        first.name,
        np.concatenate([table.values for table in tables]),
        np.concatenate([table.labels for table in tables]),
        sha256_json([table.fingerprint for table in tables]),
        texts=all_of([table.texts for table in tables]),
        groups=all_of([table.groups for table in tables]),
        n_tokens=all_of([table.n_tokens for table in tables]),
        made_with=_shared(all_of([None if t.made_with is None else (t.made_with,) for t in tables])),
    )


def _shared(made_with: Sequence[Mapping[str, Any]] | None) -> dict[str, Any] | None:
    """How the parts of a set were extracted, "several" where they differ."""
    if made_with is None:
        return None
    keys = dict.fromkeys(key for part in made_with for key in part)
    return {key: first if all(p.get(key) == first for p in made_with) else "several"
            for key in keys for first in [made_with[0].get(key)]}  # fmt: skip


def join(tables: Sequence[FeatureTable]) -> Any:
    """All rows below each other in float64: a sparse array when few values are not 0, else a plain one.

    Raises:
        UsageError: sets of unequal width.
    """
    first = tables[0]
    for table in tables:
        if table.n_features != first.n_features:
            raise UsageError(
                f"set `{table.name}` has {table.n_features:,} features and `{first.name}` has {first.n_features:,}. "
                "Extract both from the same layer with the same SAE."
            )
    blocks = [block for table in tables for block in _blocks(table)]
    n_stored = sum(block.nnz for block in blocks)
    joined = sparse.vstack(blocks, format="csr")
    return joined if n_stored < SPARSE_BELOW * np.prod(joined.shape) else joined.toarray()


def _blocks(table: FeatureTable):
    """The rows in sparse blocks, so that a memory map is never held whole in memory twice."""
    for start in range(0, table.values.shape[0], _BLOCK):
        yield sparse.csr_array(table.values[start : start + _BLOCK], dtype=np.float64)


def _dense(block: Any) -> FeatureRows:
    return block.toarray() if sparse.issparse(block) else np.asarray(block)
