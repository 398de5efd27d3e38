"""The settings of a sweep: named sources, named tests, steps. A YAML file holds them; a misspelt key is refused with the nearest."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from probeshift.errors import nearest
from probeshift.experiments.config_file import read_config
from probeshift.experiments.inputs import Settings

_BUNDLED = resources.files("probeshift.experiments").joinpath("sweeps/document.yaml")
Share = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, lt=1)]


class SetSettings(Settings):
    """One named set of labelled rows; exactly one of `cache`, `store`, `dataset` and `table` says where it is."""

    name: str
    """What results call it."""
    cache: str | None = None
    """Stem of its files in the cache folder: <stem>_activations.npy and <stem>_labels.json or .npy."""
    store: Path | tuple[Path, ...] | None = None
    """Folder of an activation store, or several that are read as one set; `layer` and `position` say what is read."""
    dataset: str | None = None
    """Name of a dataset (see `probeshift datasets`), read with the sweep's model."""
    table: Path | None = None
    """Your own table with `text` and `label` columns, or a json file with {samples: [...]}, read with the sweep's model."""
    where: dict[str, str | int | bool] = Field(default_factory=dict)
    """Rows of the table to take: those whose columns hold these values."""
    texts: Path | None = None
    """Texts of the rows of a cache or store, as a json list, for finding near-duplicates."""
    limit: int | None = Field(default=None, ge=1)
    """Most questions of a dataset."""

    @model_validator(mode="after")
    def _one_place(self) -> SetSettings:
        given = [k for k in ("cache", "store", "dataset", "table") if getattr(self, k) is not None]
        if len(given) != 1:
            raise ValueError(
                f"set `{self.name}` needs exactly one of cache, store, dataset and table, has {given or 'none'}"
            )
        if self.where and self.table is None:
            raise ValueError(f"set `{self.name}`: `where` chooses rows of a table, and there is none")
        return self


class SourceSettings(SetSettings):
    """A set probes are trained on."""

    held_out: Share | None = None
    """Share of its rows that no probe is trained on and all are tested on; without it the sweep's."""


class TestSettings(SetSettings):
    """A set no probe is trained on."""

    shifted: bool = True
    """false: from the distribution the sweep begins with, which gaps are measured from."""


class StepSettings(Settings):
    """A step: the sources it adds to those before it."""

    name: str = Field(pattern=r"^[\w-]+$")
    """Names the step's files: letters, digits, _ and -."""
    add: tuple[str, ...]
    """Sources added."""


class SweepSettings(Settings):
    """A whole sweep. Saved beside its results."""

    title: str = "Distribution sweep"
    """Said above figures and report."""
    cache: Path = Path("cache/layer_40")
    """Folder of cached activations."""
    data_dir: Path | None = None
    """Folder that holds the tables, and dataset files in their published layouts (also: PROBESHIFT_DATA)."""
    model: str | None = None
    """Model of the activations: a label for cached ones; datasets and tables are read with it."""
    layer: int | None = Field(default=None, ge=0)
    """Layer (0-based block whose output is read)."""
    position: str = "last"
    """Token position or pooling; of SAE features max, mean, last or fraction_active."""
    sae: Path | None = None
    """Folder of a sparse autoencoder: texts become its features instead of raw activations."""
    allow_misfit: bool = False
    """Go on with an SAE that does not fit the activations."""
    max_tokens: int | None = Field(default=None, ge=1)
    """Cut longer texts from the left (counted); without it they are refused."""
    sources: tuple[SourceSettings, ...]
    tests: tuple[TestSettings, ...] = ()
    steps: tuple[StepSettings, ...]
    labels: dict[str, bool] = Field(default_factory=dict)
    """What labels mean beside the shipped map: 1 the behaviour, 0 not."""
    held_out: Share = 0.2
    """Share of a source's rows that no probe is trained on."""
    control: str | None = None
    """Test set whose negatives freeze thresholds; without it the step's own training negatives, scored out of fold."""
    penalty_c: float = Field(default=10.0, gt=0)
    """scikit-learn's C: larger is weaker regularisation."""
    folds: int = Field(default=5, ge=2)
    """Folds of cross-validation."""
    repeats: int = Field(default=3, ge=1)
    """How often folds are drawn anew."""
    subsets: bool = True
    """Also fit every subset of sources (of all but one, above six sources)."""
    size_draws: int = Field(default=3, ge=0)
    """Draws of size-matched mixtures per step; 0 for none."""
    remove_near_duplicates: bool = False
    """Leave out training rows that nearly repeat a test text."""
    fpr: tuple[Rate, ...] = Field(default=(0.01, 0.05), min_length=1)
    """Target false positive rates."""
    n_resamples: int = Field(default=1000, ge=100)
    """Bootstrap resamples behind each interval."""
    seed: int = 42
    """Seed of everything random: cuts, folds, draws, resamples."""
    output_dir: Path = Path("results/distribution_sweep")
    """Where results go."""

    @model_validator(mode="after")
    def _names_fit(self) -> SweepSettings:
        sources, tests = [s.name for s in self.sources], [t.name for t in self.tests]
        if not self.steps:
            raise ValueError("there are no steps")
        _each_once([*sources, *tests], "two sets are called `{}`")
        _each_once([step.name for step in self.steps], "two steps are called `{}`")
        _each_once([name for step in self.steps for name in step.add], "two steps add `{}`")
        for step in self.steps:
            if not step.add:
                raise ValueError(f"step `{step.name}` adds no source. {nearest('', sources)}")
            for name in step.add:
                if name not in sources:
                    raise ValueError(f"step `{step.name}` adds the unknown source `{name}`. {nearest(name, sources)}")
        if self.control is not None and self.control not in tests:
            raise ValueError(f"control `{self.control}` is no test set. {nearest(self.control, tests)}")
        return self

    @model_validator(mode="after")
    def _texts_have_a_reader(self) -> SweepSettings:
        texts = [s.name for s in (*self.sources, *self.tests) if s.dataset or s.table]
        if texts and (self.model is None or (self.layer is None and self.sae is None)):
            raise ValueError(f"set `{texts[0]}` holds texts: `model` and `layer` (or `sae`) say what reads them")
        return self


def _each_once(names: list[str], complaint: str) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(complaint.format(name))


def read_sweep(path: Path | None, **given: Any) -> SweepSettings:
    """The settings of a YAML file (without one: the study's four steps), with `given` values over them.

    Paths in the file are relative to where the command runs.

    Raises:
        UsageError: no such file, not YAML, or a key or value that is not valid; the nearest valid key is named.
    """
    with resources.as_file(_BUNDLED) as bundled:
        return read_config(path or bundled, SweepSettings, **given)


def bundled_sweep() -> str:
    """The configuration of the study, as text."""
    return _BUNDLED.read_text(encoding="utf-8")
