"""What every experiment starts from: settings, the model as far as it is known without weights, datasets, prepared extractions."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict

from probeshift.datasets import MISSION_DATASETS, Dataset, load_dataset, load_file
from probeshift.errors import MissingError, UsageError

if TYPE_CHECKING:
    from probeshift.extraction import Extraction, ExtractionOptions
    from probeshift.models import LanguageModel, ModelInfo

log = logging.getLogger(__name__)


class OwnFile(BaseModel):
    """A user's own table of statements."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    text_column: str = "text"
    label_column: str = "label"
    group_column: str | None = None
    split_column: str | None = None
    true_label: str | None = None


class ModelSettings(BaseModel):
    """Which model, and how it is loaded and run. None means: decided from the hardware and recorded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    revision: str | None = None
    dtype: str = "auto"
    device: str = "auto"
    device_map: str | None = None
    quantization: Literal["8bit", "4bit"] | None = None
    trust_remote_code: bool = False
    batch_size: int | None = None
    batch_tokens: int | None = None
    max_tokens: int | None = None
    special_tokens: bool = True
    reuse_prefixes: bool = True


class DataSettings(BaseModel):
    """Which statements, and how many questions of each split."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    datasets: tuple[str, ...] = MISSION_DATASETS
    files: tuple[OwnFile, ...] = ()
    data_dir: Path | None = None
    source: Literal["auto", "local", "hub"] = "auto"
    split_by: Literal["question", "entity"] = "question"
    skip_missing: bool = False
    train_limit: int = 400
    selection_limit: int = 200
    eval_limit: int = 2000

    def limit(self, split: str) -> int:
        return {"train": self.train_limit, "selection": self.selection_limit, "test": self.eval_limit}[split]


def load_datasets(settings: DataSettings) -> dict[str, Dataset]:
    """The datasets by name, own files last.

    Raises:
        MissingError: datasets that are not on this machine, all named at once (left out instead with `skip_missing`).
        UsageError: an unknown name, or two datasets of one name.
    """
    found: dict[str, Dataset] = {}
    missing: dict[str, str] = {}
    for name in settings.datasets:
        try:
            found[name] = load_dataset(name, data_dir=settings.data_dir, source=settings.source, split_by=settings.split_by)
        except MissingError as error:
            missing[name] = str(error)
    for own in settings.files:
        options = own.model_dump(exclude={"path"})
        data = load_file(own.path, **options, split_by=settings.split_by)
        if data.name in found:
            raise UsageError(f"two datasets are called `{data.name}`. Rename {own.path}.")
        found[data.name] = data
    if missing and not (settings.skip_missing and found):
        raise MissingError(_missing_message(missing))
    for name in missing:
        log.warning("dataset %s is not on this machine and is left out", name)
    return found


def _missing_message(missing: dict[str, str]) -> str:
    if len(missing) == 1:
        return next(iter(missing.values()))
    return (
        f"{len(missing)} datasets are not on this machine: {', '.join(missing)}. Point --data-dir (or PROBESHIFT_DATA) at their "
        "files, install the hub loader (pip install 'probeshift[hf]'), name others with --datasets, or add --skip-missing. "
        f"For example, {next(iter(missing.values()))}"
    )


@dataclass(frozen=True)
class Workspace:
    """One model and its settings, before any weight is loaded."""

    settings: ModelSettings

    @cached_property
    def info(self) -> ModelInfo:
        from probeshift.models import describe

        return describe(self.settings.model, revision=self.settings.revision, trust_remote_code=self.settings.trust_remote_code)

    @cached_property
    def tokenizer(self) -> Any:
        from probeshift.models import load_tokenizer

        return load_tokenizer(self.info)

    def options(self, layers: tuple[int, ...]) -> ExtractionOptions:
        from probeshift.extraction import ExtractionOptions
        from probeshift.models import choose_device, choose_dtype

        s = self.settings
        device = choose_device(s.device)
        dtype = str(choose_dtype(device, s.dtype)).removeprefix("torch.")
        return ExtractionOptions(
            layers=layers,
            dtype=dtype,
            device=device.type,
            quantization=s.quantization,
            special_tokens=s.special_tokens,
            max_tokens=s.max_tokens,
            batch_tokens=s.batch_tokens,
            batch_size=s.batch_size,
            reuse_prefixes=s.reuse_prefixes and self.info.causal,
        )

    def prepare(self, dataset: Dataset, split: str, limit: int, layers: tuple[int, ...]) -> Extraction:
        """Plan the extraction of one split, or find it finished.

        Raises:
            UsageError: the split is empty, or prompts do not fit the context.
        """
        from probeshift.extraction import prepare

        statements = dataset.split(split, limit)
        if not statements:
            raise UsageError(f"dataset `{dataset.name}` has no {split} rows ({dataset.split_rule}). Give it more rows or another split column.")
        label = f"{dataset.name}-{split}"
        any_dtype = self.settings.dtype == "auto"
        return prepare(statements, self.info, self.tokenizer, self.options(layers), label=label, any_dtype=any_dtype)

    @contextmanager
    def loader(self) -> Iterator[Callable[[], LanguageModel]]:
        """A function that loads the model at its first call; the model is forgotten when the `with` ends."""
        held: list[LanguageModel] = []

        def load() -> LanguageModel:
            from probeshift.models import load_model

            if not held:
                s = self.settings
                held.append(load_model(self.info, dtype=s.dtype, device=s.device, device_map=s.device_map, quantization=s.quantization))
            return held[0]

        try:
            yield load
        finally:
            held.clear()


def read_settings(path: Path) -> dict[str, Any]:
    """Settings saved beside earlier results, or nothing."""
    return json.loads(path.read_text()) if path.exists() else {}
