"""The settings of a transfer study: two models, concepts, maps, strengths, a judge. A YAML file holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from probeshift.errors import nearest
from probeshift.experiments.inputs import Settings
from probeshift.steering.judges.opening import JudgeSettings

# `fit --method` takes these; the first five are compared, the others are controls.
METHODS = ("identity", "linear", "procrustes", "lowrank", "mlp", "padded", "random-orthogonal")
SCORES = ("useful", "useful_loose", "strict", "loose", "overall")
LAYER_CHOICES = ("relative", "cka", "r2")
SETTINGS_FILE = "settings.json"


class ModelEntry(Settings):
    """A model of the study."""

    name: str
    """What it is called in commands and files."""
    path: str
    """Short name, hub id, local folder or .gguf file."""
    layer: int | float | str = "relative"
    """Block whose output is read and steered, from 0; a fraction of the depth; or, for the target, relative, cka or r2."""
    dtype: str = "auto"
    """auto, float32, bfloat16 or float16."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    rotation_seed: int | None = None
    """Use a copy of the model in a random basis made from this seed: the right map to it is known."""


class OwnConcepts(Settings):
    """Your own rows: a table with the columns concept, prompt, response, positive."""

    path: Path
    """csv, tsv, json, jsonl or parquet."""


class Concepts(Settings):
    """Where concepts come from: one of rules, axbench, caa, file."""

    rules: tuple[str, ...] = ()
    """Names of rules that a program checks; no data needed."""
    axbench: Path | None = None
    """Folder of an AxBench partition: generate/train_data.parquet and inference/latent_eval_data.parquet."""
    caa: Path | None = None
    """Folder with generate/<concept>/generate_dataset.json, and test/<concept>/test_dataset_ab.json where there is one."""
    file: OwnConcepts | None = None
    """Your own table."""
    evaluate: int | tuple[str, ...] = 8
    """How many concepts (chosen by hash), or which, are held out to be evaluated; the others give the mean vector."""
    rows: int | None = Field(default=None, ge=2)
    """Most rows of each kind that a vector is made from; None takes all."""
    max_tokens: int | None = Field(default=None, ge=8)
    """Longer rows are cut on the right, and counted in the cards; None leaves them whole."""

    @model_validator(mode="after")
    def _one_source(self) -> Concepts:
        given = [name for name in ("rules", "axbench", "caa", "file") if getattr(self, name)]
        if len(given) != 1:
            raise ValueError(
                f"concepts need exactly one of rules, axbench, caa, file; found {', '.join(given) or 'none'}"
            )
        return self


class AlignmentText(Settings):
    """Generic text that both models read; it must share no passage with concepts or prompts."""

    file: Path | None = None
    """A text a line (.txt), or a JSON list of texts. None: bundled statements of facts."""
    limit: int = Field(default=400, ge=20)
    """Most texts."""
    max_tokens: int | None = Field(default=128, ge=8)
    """Longer texts are cut."""
    pairing: Literal["tokens", "offsets", "texts"] | None = None
    """How tokens are paired; None takes the strictest way the tokenizers allow."""


class Prompts(Settings):
    """What the model is asked to write from."""

    file: Path | None = None
    """A JSON object {"selection": [...], "test": [...]}. None: bundled instructions."""
    n_selection: int = Field(default=10, ge=1)
    """Prompts that strengths are chosen on."""
    n_test: int = Field(default=10, ge=1)
    """Prompts that scores come from."""


class Generation(Settings):
    """How texts are written."""

    max_new_tokens: int = Field(default=128, ge=1)
    """Longest text, in tokens."""
    temperature: float = Field(default=0.0, ge=0)
    """0 takes the likeliest token."""
    batch_rows: int = Field(default=256, ge=1)
    """Most texts side by side; fewer where their cached keys take more than 2 GiB."""


class Controls(Settings):
    """How many draws of the random controls."""

    random: int = Field(default=5, ge=5)
    """Random vectors per concept."""
    shuffled: int = Field(default=5, ge=1)
    """Maps fitted on pairs that do not belong together (for steering; twenty for the cosines, where one costs nothing)."""


class TransferSettings(Settings):
    """A whole study."""

    models: tuple[ModelEntry, ...]
    """The models, by name."""
    source: str
    """The model whose vectors are carried."""
    target: str
    """The model they are carried to."""
    concepts: Concepts
    """Where concepts come from."""
    alignment: AlignmentText = AlignmentText()
    """Text that maps are fitted on."""
    methods: tuple[str, ...] = METHODS[:5]
    """Maps to compare."""
    strengths: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0)
    """Strengths to choose from, in units of each vector."""
    tokens: Literal["response", "all", "last"] = "response"
    """Tokens that vectors are made from."""
    prompts: Prompts = Prompts()
    """What is written about."""
    generation: Generation | None = Generation()
    """How texts are written; null stops after cosines and detection."""
    controls: Controls = Controls()
    """Draws of the random controls."""
    score: str | None = None
    """What strengths are chosen by and gains are counted in. None: `useful` for rules, `overall` with a judge."""
    judge: JudgeSettings = Field(default_factory=lambda: JudgeSettings.model_validate({}))
    """Who judges texts."""
    kept_share: float = Field(default=0.8, gt=0, le=1)
    """Non-inferiority: the share of the native gain that must be kept. Fixed before the run."""
    kl_target: float | None = Field(default=1.0, gt=0)
    """Nats a token at which vectors are also compared; null leaves that comparison out."""
    kl_texts: int = Field(default=4, ge=1)
    """Selection prompts that the side effect is measured on."""
    seed: int = 0
    """Seed of everything random."""
    output_dir: Path = Path("results")
    """Folder of vectors/, transfer_models/, evaluation/ and analysis/."""

    @model_validator(mode="after")
    def _known_names(self) -> TransferSettings:
        names = [entry.name for entry in self.models]
        if len(set(names)) < len(names):
            raise ValueError("two models have the same name")
        for role in ("source", "target"):
            if getattr(self, role) not in names:
                raise ValueError(
                    f"{role} `{getattr(self, role)}` is not among the models. {nearest(getattr(self, role), names)}"
                )
        for method in self.methods:
            if method not in METHODS:
                raise ValueError(f"method `{method}` is unknown. {nearest(method, METHODS)}")
        if self.score is not None and self.score not in SCORES:
            raise ValueError(f"score `{self.score}` is unknown. {nearest(self.score, SCORES)}")
        if not self.strengths or any(not 0 < s < float("inf") for s in self.strengths):
            raise ValueError("strengths must be numbers above 0")
        return self._checked_layers()

    def _checked_layers(self) -> TransferSettings:
        for entry in self.models:
            if isinstance(entry.layer, str) and entry.layer not in LAYER_CHOICES:
                raise ValueError(
                    f"layer `{entry.layer}` of {entry.name} is unknown. {nearest(entry.layer, LAYER_CHOICES)}"
                )
        if isinstance(self.model(self.source).layer, str):
            raise ValueError(f"layer of the source {self.source} must be a block such as 15, or a fraction such as 0.5")
        return self

    def model(self, name: str) -> ModelEntry:
        """The model of that name."""
        return next(entry for entry in self.models if entry.name == name)

    @property
    def is_steered(self) -> bool:
        """Whether texts are written at all."""
        return self.generation is not None

    @property
    def scored_by(self) -> str:
        """The score that counts."""
        return self.score or ("useful" if self.concepts.rules else "overall")
