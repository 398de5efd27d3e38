"""Vectors at several strengths beside the model as it is: texts, and what steering costs. As a run that `report` draws:

texts.parquet, .csv     every text with its costs
curves.parquet, .csv    by strength: mean KL and the median text's perplexity
manifest.json           the settings, the vector's card, versions
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeshift.errors import StoreError, UsageError
from probeshift.models import LanguageModel
from probeshift.provenance import environment, publish
from probeshift.steering.contrasts import Encoder
from probeshift.steering.interventions import Intervention
from probeshift.steering.likelihood import text_costs
from probeshift.steering.sweep import Sweep, SweepSettings, Task
from probeshift.steering.vectors import SteeringVector

if TYPE_CHECKING:
    import pandas as pd

STEP = "steering"


@dataclass(frozen=True)
class SteeredText:
    """What the model wrote under a vector's name at one strength; both None: the model as it is.

    `kl` is the mean KL(steered || unsteered) per generated token, `nll` the mean negative log-likelihood of the generated
    tokens under the unsteered model, both in nats; None where nothing was written.
    """

    prompt: str
    vector: str | None
    strength: float | None
    text: str
    n_tokens: int
    ended: bool
    kl: float | None
    nll: float | None

    @property
    def perplexity(self) -> float | None:
        return None if self.nll is None else math.exp(self.nll)


def compare_strengths(
    model: LanguageModel,
    vectors: Mapping[str, SteeringVector],
    prompts: Sequence[str],
    strengths: Sequence[float],
    *,
    encoder: Encoder,
    settings: SweepSettings,
    folder: Path,
    operator: str = "add",
    on_progress: Callable[[int, int], None] | None = None,
) -> list[SteeredText]:
    """For each prompt the model as it is, then each vector at every strength, in the given order; all written together.

    Raises:
        UsageError: a vector does not fit the model, or prompts and texts are longer than it reads.
    """
    chosen: dict[tuple[str | None, float | None], Intervention | None] = {(None, None): None}
    chosen |= {(name, one): Intervention(vectors[name], one, operator) for name in vectors for one in strengths}
    asked = [(prompt, *one) for prompt in prompts for one in chosen]
    tasks = [Task(prompt, encoder.prompt_ids(prompt), chosen[name, one]) for prompt, name, one in asked]
    written = Sweep(model, tasks, settings, folder).run(on_progress)
    ids = [(*task.prompt, *one.ids) for task, one in zip(tasks, written, strict=True)]
    lengths = [len(task.prompt) for task in tasks]
    costs = text_costs(model, ids, lengths, [task.intervention for task in tasks], positions=settings.positions)
    return [
        SteeredText(*one, text.text, len(text.ids), text.ended, cost.kl, cost.nll)
        for one, text, cost in zip(asked, written, costs, strict=True)
    ]


def save_comparison(
    folder: Path, vector: SteeringVector, texts: Sequence[SteeredText], settings: Mapping[str, Any]
) -> None:
    """Write the texts of one vector, and their costs by strength, as a run."""
    import pandas as pd

    table = pd.DataFrame([asdict(text) for text in texts]).astype({"kl": float, "nll": float, "strength": float})
    table = table.rename(columns={"vector": "condition"}).fillna({"condition": "none", "strength": 0.0})
    table.insert(1, "concept", vector.concept)
    curves = cost_curves(table, zero_is_plain=settings.get("operator") != "clamp")
    publish_run(folder, {"texts": table, "curves": curves}, settings, vector=asdict(vector.card))


def cost_curves(texts: pd.DataFrame, *, zero_is_plain: bool = True) -> pd.DataFrame:
    """One row per vector and strength: mean KL, perplexity of the median text, and of how many texts that wrote anything.

    Strength 0 of most operators is the model as it is, which then stands under every vector; clamping to 0 is not.
    """
    import numpy as np
    import pandas as pd

    rows = []
    plain, steered = (texts[(texts["condition"] == "none") == part] for part in (True, False))
    for name, own in steered.groupby("condition", sort=False):
        shown = own if not zero_is_plain or (own["strength"] == 0).any() else pd.concat([plain, own])
        for strength, part in shown.groupby("strength"):
            costs = {"kl": part["kl"].mean(), "perplexity": float(np.exp(part["nll"].median()))}
            rows.append({"condition": name, "strength": strength, **costs, "n": int(part["nll"].notna().sum())})
    return pd.DataFrame(rows)


def publish_run(folder: Path, tables: Mapping[str, pd.DataFrame], settings: Mapping[str, Any], **about: Any) -> None:
    """Tables as parquet and csv, and a manifest that says what they are."""
    for name, table in tables.items():
        publish(folder / f"{name}.parquet", table.to_parquet(index=False))
        publish(folder / f"{name}.csv", table.to_csv(index=False))
    manifest = {"step": STEP, "settings": dict(settings), **about, "made": environment()}
    publish(folder / "manifest.json", json.dumps(manifest, indent=1, default=str))


def refuse_other_run(folder: Path) -> None:
    """Refuse a folder that holds a run of another kind.

    Raises:
        UsageError: it does.
    """
    manifest = folder / "manifest.json"
    try:
        found = json.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else {"step": STEP}
    except ValueError as error:
        raise StoreError(f"{manifest} is damaged ({error}). Remove it; it is made again.") from error
    if (isinstance(found, dict) and found.get("step")) != STEP or (folder / "results.parquet").exists():
        raise UsageError(f"{folder} holds a run of another kind. Name another folder for the texts.")
