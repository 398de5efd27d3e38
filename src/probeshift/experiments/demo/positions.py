"""Another layer, another token: statements about cities asked of the model as a chat; is the answer there before it writes?"""

from __future__ import annotations

import csv
import io
from pathlib import Path

from probeshift.datasets import load_dataset
from probeshift.experiments.demo.datasets import MODEL
from probeshift.experiments.inputs import ModelSettings
from probeshift.experiments.positions.extract import ExtractSettings
from probeshift.experiments.positions.settings import TrainSettings
from probeshift.provenance import publish

DATASET = "facts_cities_affirmed"
_CITIES = 240
_LAYERS = "embeddings,2:30:4"


def write_questions(folder: Path) -> Path:
    """A table of questions with their answers; both statements about a city stand under its name."""
    data = load_dataset(DATASET)
    kept: dict[str | None, list[list[object]]] = {}
    for row in (r for split in ("train", "selection", "test") for r in data.split(split)):
        kept.setdefault(row.group, []).append([f"Is this statement true? {row.text}", row.label, row.group])
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(["question", "is_true", "city"])
    table.writerows(row for rows in list(kept.values())[:_CITIES] for row in rows)
    path = folder / f"{DATASET}_questions.csv"
    if not path.exists() or path.read_bytes().decode() != text.getvalue():
        publish(path, text.getvalue())
    return path


def extract_settings(folder: Path) -> ExtractSettings:
    """All post-instruction tokens at every fourth layer and the embeddings."""
    return ExtractSettings(
        model=ModelSettings(model=MODEL),
        dataset_path=folder / f"{DATASET}_questions.csv",
        output_path=folder / "activations",
        label_column="is_true",
        group_column="city",
        use_chat_template=True,
        layers=_LAYERS,
    )


def train_settings(folder: Path) -> TrainSettings:
    """A third of the cities judge the chosen probe and choose nothing."""
    return TrainSettings(train_activations=folder / "activations", test_share=0.35, output_dir=folder)
