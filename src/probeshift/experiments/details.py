"""Scores of single rows beside a finished comparison, at one layer: what a page needs to show which rows a probe gets wrong.

    details/<test>.parquet    a line per probe and row of a test set: method, train, test, split, layer, position, protocol,
                              row_id, text, label, score (above 0 is called true)

Read from stored activations and saved probes; no language model runs. Size: probes x rows of each test set at the one layer.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probeshift.activations import ActivationStore
from probeshift.errors import MissingError, StoreError, UsageError, nearest
from probeshift.provenance import publish
from probeshift.results import ProbeFile, ResultFolder, load_probes

if TYPE_CHECKING:
    import pandas as pd

LONGEST_TEXT = 4000  # characters kept of a row
Progress = Callable[[str, int, int], None]


def write_details(folder: Path, layer: int | None = None, on_progress: Progress | None = None) -> list[Path]:
    """Write the side files of every test set of a comparison folder; a file that already holds the layer is kept.

    `layer` defaults to that of the run's matrix of AUROC, else of its best probe; the selection split chose both.

    Raises:
        UsageError: the folder is no comparison of probes in stored activations, or the layer was not fitted.
        MissingError: the activations are not on this machine any more.
        StoreError: a probe or activation file is damaged.
    """
    rows = ResultFolder(folder).read()
    stores = _stores(folder)
    layer = _chosen_layer(folder, rows) if layer is None else layer
    _refuse_unfitted(rows, layer)
    probes = _probes(folder, rows)
    paths = []
    for done, (test, place) in enumerate(stores.items(), 1):
        path = folder / "details" / f"{test}.parquet"
        if not _holds(path, layer, probes):
            _write(path, _scored(_open(test, place), probes, layer))
        paths.append(path)
        if on_progress:
            on_progress("scores of single rows", done, len(stores))
    return paths


def _stores(folder: Path) -> Mapping[str, Path]:
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) if path.exists() else {}
    found = {s["dataset"]: Path(s["store"]) for s in manifest.get("stores", ()) if s.get("split") == "test"}
    if not found:
        raise UsageError(
            f"{folder}/manifest.json names no stored test activations, so single rows cannot be scored. "
            "Details are made for `probeshift crossdata` runs; use `--details none`."
        )
    return found


def _chosen_layer(folder: Path, rows: pd.DataFrame) -> int:
    import pandas as pd

    from probeshift.summaries.study import best_probe

    drawn = folder / "cross_dataset_matrix_auc.csv"
    if drawn.exists():
        return int(pd.read_csv(drawn, nrows=1)["layer"].iloc[0])
    return best_probe(rows, str(rows["protocol"].iloc[0])).layer


def _refuse_unfitted(rows: pd.DataFrame, layer: int) -> None:
    fitted = sorted(set(rows["layer"]))
    if layer not in fitted:
        raise UsageError(f"layer {layer} has no probes in this run. {nearest(str(layer), map(str, fitted))}")


def _probes(folder: Path, rows: pd.DataFrame) -> list[ProbeFile]:
    """The strict probes of the main table; those of a published procedure have no threshold of their own."""
    pairs = rows[["method", "train"]].drop_duplicates().itertuples(index=False, name=None)
    found = [load_probes(folder, str(method), str(train)) for method, train in pairs]
    return [probe for probe in found if probe is not None]


def _holds(path: Path, layer: int, probes: list[ProbeFile]) -> bool:
    """Whether the file was made from these fits at this layer."""
    import pyarrow.parquet as pq

    if not path.exists():
        return False
    made_from = (pq.read_schema(path).metadata or {}).get(b"probeshift", b"")
    return made_from.decode() == _stamp(layer, probes)


def _stamp(layer: int, probes: list[ProbeFile]) -> str:
    return json.dumps({"layer": layer, "fits": sorted(probe.card.fit_id for probe in probes)})


def _open(test: str, place: Path) -> ActivationStore:
    if not (place / "index.json").exists():
        raise MissingError(
            f"the activations of `{test}` are not at {place} any more. Run the same `probeshift crossdata` command again, "
            "or use `--details none`."
        )
    return ActivationStore.open(place)


def _scored(store: ActivationStore, probes: list[ProbeFile], layer: int) -> tuple[pd.DataFrame, str]:
    import pandas as pd

    acts = store.read(layer).astype(np.float64)
    about = store.rows[["row_id", "label"]].assign(text=store.rows["text"].str.slice(0, LONGEST_TEXT))
    parts = [about.assign(**_names(store, probe, layer), score=score) for probe, score in _scores(acts, probes, layer)]
    if not parts:
        raise StoreError("no probe of this run is left on disk. Run the same `probeshift crossdata` command again.")
    columns = ["row_id", "text", "method", "train", "test", "split", "position", "protocol"]
    table = pd.concat(parts, ignore_index=True).astype(dict.fromkeys(columns, "category"))
    return table.assign(score=table["score"].astype(np.float32)), _stamp(layer, probes)


def _scores(acts: np.ndarray, probes: list[ProbeFile], layer: int) -> Iterator[tuple[ProbeFile, np.ndarray]]:
    """Probes whose fit failed at this layer have no scores and no lines."""
    for probe in probes:
        direction, bias = probe.at(layer)
        scores = acts @ direction.astype(np.float64) + bias
        if np.isfinite(scores).all():
            yield probe, scores


def _names(store: ActivationStore, probe: ProbeFile, layer: int) -> dict[str, Any]:
    card = probe.card
    names = {"method": card.method, "train": card.train, "test": store.name, "split": "test"}
    return {**names, "layer": layer, "position": card.position, "protocol": "strict"}


def _write(path: Path, scored: tuple[pd.DataFrame, str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table, stamp = scored
    arrow = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata({"probeshift": stamp})
    file = io.BytesIO()
    pq.write_table(arrow, file, compression="zstd")
    publish(path, file.getvalue())
