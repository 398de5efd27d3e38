"""What every experiment starts from: settings, the model as far as it is known without weights, datasets, prepared extractions."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from probeshift.datasets import MISSION_DATASETS, Dataset, Statement, load_dataset, load_file
from probeshift.errors import MissingError, UsageError

if TYPE_CHECKING:
    from probeshift.extraction import Extraction, ExtractionOptions
    from probeshift.models import LanguageModel, ModelInfo

log = logging.getLogger(__name__)


class Settings(BaseModel):
    """Strict settings: unknown keys are refused, and the text below a field is its help."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class OwnFile(Settings):
    """A user's own table of statements."""

    path: Path
    """Your table of statements: csv, tsv, json, jsonl or parquet. May be given several times."""
    text_column: str = "text"
    """Column of your table that holds the statement."""
    label_column: str = "label"
    """Column that says whether the statement is true."""
    group_column: str | None = None
    """Column that names the question a row answers."""
    split_column: str | None = None
    """Column that says train, selection or test; without it rows are split by hash."""
    true_label: str | None = None
    """The label that means true, when labels are two words."""


class ModelSettings(Settings):
    """Which model, and how it is loaded and run. `auto` and None are decided from the hardware and recorded."""

    model: str
    """Short name (see `probeshift models`), hub id, local folder or .gguf file."""
    revision: str | None = None
    """Hub revision."""
    dtype: str = "auto"
    """auto, float32, bfloat16 or float16. auto: bfloat16 where the hardware has it."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    device_map: str | None = None
    """`auto` spreads a model that is larger than one GPU."""
    quantization: Literal["8bit", "4bit"] | None = None
    """8bit or 4bit weights (needs bitsandbytes)."""
    trust_remote_code: bool = False
    """Run code that comes with the checkpoint."""
    batch_size: int | str | None = None
    """Most prompts in one forward; `auto` lets the token budget decide."""
    batch_tokens: int | None = Field(default=None, ge=1)
    """Most tokens in one forward."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Cut longer prompts from the left, in a chat template the middle of the user's words (counted); without it they are refused."""
    special_tokens: bool = True
    """Let the tokenizer add its special tokens (BOS), as it does by default."""
    reuse_prefixes: bool = True
    """Compute a prefix shared by several prompts once."""

    @property
    def max_rows(self) -> int | None:
        """`batch_size` as a number, None for auto.

        Raises:
            UsageError: it is neither `auto` nor a number above 0.
        """
        if self.batch_size in (None, "auto"):
            return None
        if str(self.batch_size).isdigit() and int(self.batch_size) > 0:
            return int(self.batch_size)
        raise UsageError(f"--batch-size must be `auto` or a whole number above 0, got `{self.batch_size}`.")


class DataSettings(Settings):
    """Which statements, and how many questions of each split."""

    datasets: tuple[str, ...] = MISSION_DATASETS
    """Dataset names, separated by commas (see `probeshift datasets`)."""
    files: tuple[OwnFile, ...] = ()
    """Own tables beside the datasets."""
    data_dir: Path | None = None
    """Folder with dataset files in their published layouts (also: PROBESHIFT_DATA)."""
    source: Literal["auto", "local", "hub"] = "auto"
    """Where to look for datasets."""
    split_by: Literal["question", "entity"] = "question"
    """question: as published. entity: a city, word or article stays on one side."""
    skip_missing: bool = False
    """Leave out datasets that are not on this machine instead of stopping."""
    train_limit: int = Field(default=400, ge=1)
    """Training questions per dataset."""
    selection_limit: int = Field(default=200, ge=1)
    """Questions per dataset for choosing layers and ceilings."""
    eval_limit: int = Field(default=2000, ge=1)
    """Test questions per dataset."""

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
            found[name] = load_dataset(
                name, data_dir=settings.data_dir, source=settings.source, split_by=settings.split_by
            )
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
        log.warning("%s is not on this machine and is left out", name)
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

        return describe(
            self.settings.model, revision=self.settings.revision, trust_remote_code=self.settings.trust_remote_code
        )

    @cached_property
    def tokenizer(self) -> Any:
        from probeshift.models import load_tokenizer

        return load_tokenizer(self.info)

    @cached_property
    def identity(self) -> dict[str, Any]:
        from probeshift.extraction import identify

        return identify(self.info, self.tokenizer)

    def options(self, layers: tuple[int, ...]) -> ExtractionOptions:
        """How activations are read: the last token of raw text, unless replaced."""
        from probeshift.extraction import ExtractionOptions
        from probeshift.models import choose_device, choose_dtype
        from probeshift.models.prompts import PromptFormat

        s = self.settings
        device = choose_device(s.device)
        dtype = str(choose_dtype(device, s.dtype)).removeprefix("torch.")
        return ExtractionOptions(
            layers=layers,
            dtype=dtype,
            device=device.type,
            quantization=s.quantization,
            prompts=PromptFormat(special_tokens=s.special_tokens),
            max_tokens=s.max_tokens,
            batch_tokens=s.batch_tokens,
            batch_size=s.max_rows,
            reuse_prefixes=s.reuse_prefixes and self.info.causal,
        )

    def prepare(self, dataset: Dataset, split: str, limit: int, layers: tuple[int, ...]) -> Extraction:
        """Plan the extraction of one split, or find it finished.

        Raises:
            UsageError: the split is empty, or prompts do not fit the context.
        """
        statements = dataset.split(split, limit)
        if not statements:
            raise UsageError(
                f"dataset `{dataset.name}` has no {split} rows ({dataset.split_rule}). Give it more rows or another split column."
            )
        return self.plan(statements, self.options(layers), label=f"{dataset.name}-{split}")

    def plan(self, statements: Sequence[Statement], options: ExtractionOptions, *, label: str) -> Extraction:
        """Plan an extraction, or find it finished."""
        from probeshift.extraction import prepare

        return prepare(statements, self.info, self.tokenizer, options, label=label, identity=self.identity)

    @contextmanager
    def loader(self) -> Iterator[Callable[[], LanguageModel]]:
        """A function that loads the model at its first call; the model is forgotten when the `with` ends."""
        held: list[LanguageModel] = []

        def load() -> LanguageModel:
            from probeshift.models import load_model

            if not held:
                s = self.settings
                held.append(
                    load_model(
                        self.info, dtype=s.dtype, device=s.device, device_map=s.device_map, quantization=s.quantization
                    )
                )
            return held[0]

        try:
            yield load
        finally:
            held.clear()
