"""Results on disk: rows as they are made, per-question correctness beside them, probes with their cards.

    parts/<test>-<split>-<context>-<layers>.parquet       rows of one test set at some layers, written whole
    parts/<same>.safetensors                              `correct` [probe, unit]: which questions each probe won
    probes/<method>/<train>.safetensors and .json         directions and biases of all layers, and their card
    results.parquet, results.csv                          all current rows, one per (method, train, test, layer, metric)
    results.contexts.json                                 which parts those are

A *context* names everything a row depends on except its layer; rows of other contexts are never mixed in.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probeshift.arrays import Correct, LayerDirections, PerLayer
from probeshift.errors import StoreError
from probeshift.provenance import publish, sha256_json

if TYPE_CHECKING:
    import pandas as pd

ROW_COLUMNS = (
    "model", "method", "seed", "train", "test", "split", "layer", "position", "protocol", "metric", "value", "ci_low",
    "ci_high", "ci_kind", "n", "n_kind", "chance", "reason", "sign_source", "threshold_source", "flipped", "n_train",
    "train_family", "test_family", "in_distribution", "related", "limited",
)  # fmt: skip

MAIN_TABLE = "results"


@dataclass(frozen=True)
class ProbeCard:
    """What a probe file holds and where it came from; everything needed to use it honestly elsewhere.

    `prompts` is how texts became prompts (`PromptEncoder.record`), None for raw text; `task` is "classification" or "regression".
    """

    fit_id: str
    method: str
    source: str
    model: str
    model_weights: str
    dtype: str
    train: str
    family: str
    position: str
    layers: tuple[int, ...]
    n_rows: int
    n_questions: int | None
    seed: int
    layer_seeds: tuple[int, ...]
    sign: str
    threshold: str
    control: bool
    flipped: tuple[bool, ...]
    failures: tuple[str | None, ...]
    procedure: str = ""
    task: str = "classification"
    prompts: dict[str, Any] | None = None
    quantization: str | None = None


def card_of(record: Mapping[str, Any]) -> ProbeCard:
    """A card from what was written of it. Missing and unknown fields raise KeyError and TypeError."""
    tuples = {k: tuple(record[k]) for k in ("layers", "layer_seeds", "flipped", "failures")}
    return ProbeCard(**{**record, **tuples})


@dataclass(frozen=True)
class ProbeFile:
    """The probes of one (method, training set): one direction and bias per layer of its card."""

    card: ProbeCard
    directions: LayerDirections
    biases: PerLayer

    def at(self, layer: int) -> tuple[np.ndarray, float]:
        index = self.card.layers.index(layer)
        return self.directions[index], float(self.biases[index])


def probe_path(folder: Path, method: str, train: str, procedure: str = "") -> Path:
    """Where the probes of a method and training set are; `procedure` names a variant of the method."""
    return folder / "probes" / (f"{method}.{procedure}" if procedure else method) / f"{train}.safetensors"


def save_probes(folder: Path, probes: ProbeFile) -> None:
    """Write the probes of a method and training set where `load_probes` finds them."""
    write_probes(probe_path(folder, probes.card.method, probes.card.train, probes.card.procedure), probes)


def write_probes(path: Path, probes: ProbeFile) -> None:
    """Write one probe file and, last, its card beside it."""
    from safetensors.numpy import save

    publish(path, save({"direction": probes.directions.astype(np.float32), "bias": probes.biases.astype(np.float64)}))
    publish(path.with_suffix(".json"), json.dumps(asdict(probes.card), indent=1))


def load_probes(folder: Path, method: str, train: str, procedure: str = "") -> ProbeFile | None:
    """The probes of a method and training set, or None when there are none yet.

    Raises:
        StoreError: the file or its card cannot be read.
    """
    path = probe_path(folder, method, train, procedure)
    if not path.exists() or not path.with_suffix(".json").exists():
        return None
    return read_probes(path)


def read_probes(path: Path) -> ProbeFile:
    """The probes of one file and its card. Nothing is unpickled.

    Raises:
        StoreError: the file or its card cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        card = card_of(json.loads(path.with_suffix(".json").read_text()))
        tensors = load_file(path)
        return ProbeFile(card, tensors["direction"], tensors["bias"])
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise StoreError(
            f"{path} is not a readable probe file ({error}). Delete it and run the same command again."
        ) from error


@dataclass(frozen=True)
class ResultFolder:
    """Rows of one model's comparison, appended test set by test set."""

    folder: Path

    def _stem(self, test: str, split: str, context: str) -> str:
        return f"{test}-{split}-{context[:12]}-"

    def parts(self, test: str, split: str, context: str) -> list[Path]:
        """The row files of one test set under one context."""
        return sorted((self.folder / "parts").glob(f"{self._stem(test, split, context)}*.parquet"))

    def layers(self, test: str, split: str, context: str) -> set[int]:
        """Layers whose rows are already there."""
        import pandas as pd

        found: set[int] = set()
        for path in self.parts(test, split, context):
            found |= set(pd.read_parquet(path, columns=["layer"])["layer"])
        return found

    def append(
        self,
        test: str,
        split: str,
        context: str,
        rows: Sequence[dict[str, Any]],
        probes: Sequence[Any],
        correct: Correct,
    ) -> None:
        """Write the rows of one test set at some layers; `probes` are the (method, train, layer) keys of `correct`."""
        import pandas as pd
        from safetensors.numpy import save

        layers = sorted({row["layer"] for row in rows})
        path = self.folder / "parts" / f"{self._stem(test, split, context)}{sha256_json(layers)[:8]}.parquet"
        metadata = {"probes": json.dumps(list(probes))}
        publish(path.with_suffix(".safetensors"), save({"correct": correct.astype(np.float32)}, metadata))
        publish(path, pd.DataFrame(list(rows), columns=list(ROW_COLUMNS)).to_parquet(index=False))

    def collect(self, contexts: Iterable[tuple[str, str, str]], table: str = MAIN_TABLE) -> pd.DataFrame:
        """Gather the rows of the given (test, split, context) into <table>.parquet; the main table is written as csv too.

        Raises:
            StoreError: there are no rows.
        """
        import pandas as pd

        keys = list(contexts)
        found = [pd.read_parquet(path) for key in keys for path in self.parts(*key)]
        if not found:
            raise StoreError(f"{self.folder} holds no results yet. Run `probeshift crossdata evaluate` first.")
        rows = pd.concat([f.dropna(axis=1, how="all") for f in found], ignore_index=True).reindex(
            columns=list(ROW_COLUMNS)
        )
        publish(self.folder / f"{table}.contexts.json", json.dumps(keys))
        publish(self.folder / f"{table}.parquet", rows.to_parquet(index=False))
        if table == MAIN_TABLE:
            publish(self.folder / f"{table}.csv", rows.to_csv(index=False))
        return rows

    def read(self) -> pd.DataFrame:
        """The collected rows.

        Raises:
            StoreError: nothing was evaluated yet.
        """
        import pandas as pd

        path = self.folder / "results.parquet"
        if not path.exists():
            raise StoreError(f"{self.folder} holds no results. Run `probeshift crossdata evaluate` first.")
        return pd.read_parquet(path)

    def collected_layers(self) -> set[int]:
        """The layers of the rows collected last; none before anything was."""
        return set(self.read()["layer"]) if (self.folder / f"{MAIN_TABLE}.parquet").exists() else set()

    def write_vectors(self, probes: Sequence[ProbeFile]) -> Path:
        """`probe_vectors.jsonl`: a line per probe and layer, directions to six digits (full ones and controls: `probes/`)."""
        path = self.folder / "probe_vectors.jsonl"
        learned = [probe for probe in probes if not probe.card.control]
        publish(path, "".join(vector_line(probe, layer) for probe in learned for layer in probe.card.layers))
        return path

    def write_evaluations(self, rows: pd.DataFrame, probes: Sequence[ProbeFile]) -> Path:
        """`probe_evaluate-v2.jsonl`: a line per (method, train, eval, layer) on test splits; null where undefined, no controls."""
        path = self.folder / "probe_evaluate-v2.jsonl"
        keys = ["method", "train", "test", "layer"]
        learned = {probe.card.method for probe in probes if not probe.card.control}
        tests = rows[
            (rows["split"] == "test") & rows["metric"].isin(["accuracy", "auroc"]) & rows["method"].isin(learned)
        ]
        accuracy, auroc = (part.set_index(keys) for _, part in tests.groupby("metric", sort=True))
        auc = auroc["value"].reindex(accuracy.index)
        lines = [_evaluation_line(i, a, auc.iloc[i]) for i, a in enumerate(accuracy.reset_index().itertuples())]
        publish(path, "".join(lines))
        return path

    def correct(
        self,
        split: str = "test",
        table: str = MAIN_TABLE,
        tests: Collection[str] | None = None,
        *,
        at_home: bool = False,
    ) -> dict[tuple[str, str, int, str], np.ndarray]:
        """Which questions each collected probe won on a split: (method, train, layer, test) -> [unit], NaN where undefined.

        `tests` names the test sets to read; None reads all. `at_home` keeps the probes trained on the set they are tested on.

        Raises:
            StoreError: the table was not collected here.
        """
        path = self.folder / f"{table}.contexts.json"
        if not path.exists():
            raise StoreError(f"{path} is missing. Run the same evaluation again: it collects what is there.")
        keys = [k for k in json.loads(path.read_text()) if k[1] == split and (tests is None or k[0] in tests)]
        return {
            (*probe, test): won
            for test, _, context in keys
            for part in self.parts(test, split, context)
            for probe, won in _read_correct(part)
            if not at_home or probe[1] == test
        }


def _read_correct(part: Path) -> Iterator[tuple[tuple[str, str, int], np.ndarray]]:
    from safetensors import safe_open

    with safe_open(part.with_suffix(".safetensors"), framework="numpy") as file:
        probes = [tuple(k) for k in json.loads(file.metadata()["probes"])]
        yield from zip(probes, file.get_tensor("correct").astype(np.float64), strict=True)


def vector_line(probe: ProbeFile, layer: int, digits: int = 6) -> str:
    """One line of `probe_vectors.jsonl`, its direction to so many digits (9 keep a float32 exactly)."""
    direction, bias = probe.at(layer)
    card = probe.card
    about = {"llm_id": card.model, "train_dataset": card.train, "probe_method": card.method, "point_name": f"h{layer}"}
    value = {**about, "token_idx": -1, "bias": bias, "vector": [float(f"{x:.{digits}g}") for x in direction]}
    return json.dumps({"key": f"{card.method}-{card.train}-h{layer}", "value": value}) + "\n"


def _evaluation_line(index: int, row: Any, auc: float) -> str:
    about = {"llm_id": row.model, "train_dataset": row.train, "eval_dataset": row.test, "probe_method": row.method}
    scores = {"accuracy": _number(row.value), "accuracy_n": row.n, "auc": _number(auc), "protocol": row.protocol}
    value = {**about, "point_name": f"h{row.layer}", "token_idx": -1, **scores}
    return json.dumps({"key": f"result_{index}", "value": value}) + "\n"


def _number(value: Any) -> float | None:
    return None if value is None or np.isnan(value) else float(value)
