"""Activation stores with known directions in them: no model, just vectors written through the store's own door."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from probeshift.activations import FORMAT_VERSION, ActivationStore, finish, write_shard
from probeshift.shift import SliceData

D_MODEL = 48
LAYERS = (0, 1, 2)


@dataclass(frozen=True)
class Recipe:
    """`direction` is added to true rows with size `strength`; negative strength plants the inverse."""

    name: str
    direction: np.ndarray
    strength: float = 3.0
    n_questions: int = 120
    options: int = 2
    grouped: bool = True
    seed: int = 0
    offset: float = 0.0


def unit(seed=0, d_model=D_MODEL):
    v = np.random.default_rng(seed).normal(size=d_model)
    return v / np.linalg.norm(v)


def rows_of(recipe):
    rng = np.random.default_rng(recipe.seed)
    true = rng.integers(recipe.options, size=recipe.n_questions)
    if not recipe.grouped:
        labels = rng.permutation(np.arange(recipe.n_questions) % 2 == 0)
        return labels, [None] * len(labels), [None] * len(labels)
    labels = (np.arange(recipe.options) == true[:, None]).ravel()
    groups = [f"q{i}" for i in range(recipe.n_questions) for _ in range(recipe.options)]
    return labels, groups, [str(j) for _ in range(recipe.n_questions) for j in range(recipe.options)]


def acts_of(recipe, labels, layer):
    rng = np.random.default_rng([recipe.seed, layer])
    noise = rng.normal(size=(len(labels), len(recipe.direction)))
    return (noise + recipe.offset + recipe.strength * labels[:, None] * recipe.direction).astype(np.float32)


def write(folder, recipe, split="train", weights="w0"):
    """A finished store of a recipe; the split gives it other noise."""
    recipe = replace(recipe, seed=recipe.seed * 10 + {"train": 0, "selection": 1, "test": 2}[split])
    labels, groups, kinds = rows_of(recipe)
    n = len(labels)
    path = folder / f"{recipe.name}-{split}-{weights}"
    path.mkdir(parents=True)
    plan = {
        "format_version": FORMAT_VERSION, "model": "planted", "weights": weights, "dtype": "float32", "layers": list(LAYERS),
        "positions": ["last"], "n_sequences": n, "n_shards": 1, "d_model": len(recipe.direction), "n_layers": len(LAYERS),
        "plan_id": f"{recipe.name}-{split}-{weights}-{recipe.strength}-{recipe.n_questions}",
    }  # fmt: skip
    (path / "plan.json").write_text(json.dumps(plan))
    table = {
        "dataset": recipe.name, "row_id": [str(i) for i in range(n)], "text": "", "label": labels, "split": split, "group": groups,
        "answer_type": kinds, "entity": None, "n_tokens": 1, "truncated": False, "sequence": np.arange(n),
    }  # fmt: skip
    pd.DataFrame(table).to_parquet(path / "rows.parquet")
    layers = {layer: acts_of(recipe, labels, layer)[:, None] for layer in LAYERS}
    write_shard(path, 0, layers, np.arange(n), dtype="float32", record={})
    finish(path, 1, n)
    return SliceData(recipe.name, split, ActivationStore.open(path), family="planted")


__all__ = ["D_MODEL", "LAYERS", "Recipe", "acts_of", "rows_of", "unit", "write"]
