"""The vectors put to use: one rule's native, carried and random vector steer the copy, each text beside the unsteered one.

steering/texts.parquet     every text with what it follows and what it cost
steering/curves.parquet    by vector and strength: the share of texts that follow the rule, KL and perplexity
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probeshift.experiments.demo.models import STEERED
from probeshift.experiments.transfer.settings import TransferSettings

if TYPE_CHECKING:
    import pandas as pd

    from probeshift.steering.comparison import SteeredText

Progress = Callable[[str, int, int], None]

STRENGTHS = (0.5, 1.0, 1.5)
VECTORS = ("native", "linear", "random")
_PROMPTS, _TOKENS = 8, 20


def steer(settings: TransferSettings, folder: Path, on_progress: Progress | None = None) -> list[Path]:
    """Write texts with the vectors of a finished transfer study and score them by the rule's program; returns the files.

    Raises:
        StoreError: the study has no vectors.
    """
    import pandas as pd

    from probeshift.steering.comparison import publish_run

    texts = pd.DataFrame(_texts(settings, folder, on_progress))
    tables = {"texts": texts, "curves": curves(texts)}
    paths = [folder / f"{name}.{kind}" for name in tables for kind in ("parquet", "csv")]
    about = {"model": settings.target, "vectors_of": str(settings.output_dir), "rule": STEERED, "strengths": STRENGTHS}
    publish_run(folder, tables, about)
    return [*paths, folder / "manifest.json"]


def curves(texts: pd.DataFrame) -> pd.DataFrame:
    """One row per vector and strength: share of useful texts with its exact interval, mean KL, median text's perplexity.

    Strength 0 is the model as it is, and stands under every vector.
    """
    import pandas as pd

    from probeshift.metrics.intervals import clopper_pearson

    rows = []
    plain = texts[texts["condition"] == "none"]
    for name, own in texts[texts["condition"] != "none"].groupby("condition", sort=False):
        for strength, part in pd.concat([plain, own]).groupby("strength"):
            useful, n = float(part["useful"].sum()), len(part)
            low, high = clopper_pearson(np.array([useful]), n)
            rows.append(
                {"condition": name, "strength": strength, "score": useful / n, "score_low": float(low[0]), "score_high": float(high[0]),
                 "n": n, "kl": part["kl"].mean(), "perplexity": float(np.exp(part["nll"].median())),
                 "same_as_native": _same(part, texts)}
            )  # fmt: skip
    return pd.DataFrame(rows)


def _same(part: pd.DataFrame, texts: pd.DataFrame) -> int | None:
    """How many texts are, word for word, those of the native vector at this strength; None without a vector."""
    native = texts[texts["condition"] == "native"].set_index(["prompt", "strength"])["text"]
    pairs = [native.get((row.prompt, row.strength)) == row.text for row in part.itertuples() if row.condition != "none"]
    return sum(pairs) if pairs else None


def _texts(settings: TransferSettings, folder: Path, on_progress: Progress | None) -> list[dict[str, Any]]:
    from probeshift.experiments.transfer.opening import open_model
    from probeshift.experiments.transfer.study import VECTORS as VECTOR_FOLDER
    from probeshift.steering.comparison import compare_strengths
    from probeshift.steering.contrasts import make_encoder
    from probeshift.steering.generation import Decoding
    from probeshift.steering.rules import prompts
    from probeshift.steering.sweep import SweepSettings
    from probeshift.steering.vectors import load_vectors

    model, carried = open_model(settings.model(settings.target)), settings.output_dir / VECTOR_FOLDER / "in_target"
    vectors = {name: load_vectors(carried / f"{name}-0.safetensors")[STEERED] for name in VECTORS}
    written = compare_strengths(
        model, vectors, prompts("test")[:_PROMPTS], STRENGTHS, encoder=make_encoder(model.tokenizer),
        settings=SweepSettings(Decoding(_TOKENS)), folder=folder,
        on_progress=(lambda done, total: on_progress("steered texts", done, total)) if on_progress else None,
    )  # fmt: skip
    return [_row(text) for text in written]


def _row(text: SteeredText) -> dict[str, Any]:
    from probeshift.steering.rules import follows, rule

    found = follows(rule(STEERED), text.text)
    return {
        "condition": text.vector or "none", "concept": STEERED, "strength": text.strength or 0.0,
        "prompt": text.prompt, "text": text.text, "n_tokens": text.n_tokens, "useful": float(found.useful),
        "strict": float(found.strict), "kl": text.kl, "nll": text.nll,
    }  # fmt: skip
