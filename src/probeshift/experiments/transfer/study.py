"""A study, opened: its concepts, its prompts, and the split, which is written before anything is made or fitted."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeshift.datasets.concepts import (
    Concept,
    ConceptData,
    ConceptRow,
    load_axbench,
    load_caa,
    load_concept_table,
    part_of,
)
from probeshift.errors import UsageError
from probeshift.experiments.transfer.settings import SETTINGS_FILE, TransferSettings
from probeshift.experiments.transfer.split import Split, make_split, refuse_another, write_once
from probeshift.provenance import environment, publish, sha256_text

if TYPE_CHECKING:
    from probeshift.models import LanguageModel
    from probeshift.steering.contrasts import Contrast

Progress = Callable[[str, int, int], None]
VECTORS, MAPS, EVALUATION, ANALYSIS = "vectors", "transfer_models", "evaluation", "analysis"


@dataclass
class Study:
    """Settings with the data they name; models are opened when they are needed and dropped with the study."""

    settings: TransferSettings
    data: ConceptData
    split: Split
    on_progress: Progress | None = None
    _models: dict[str, LanguageModel] = field(default_factory=dict)

    @classmethod
    def open(cls, settings: TransferSettings, on_progress: Progress | None = None, *, writes: bool = True) -> Study:
        """Read concepts and prompts, split, write the split and the settings. A folder made with another split is refused.

        Without `writes`, for a plan, nothing is left in the folder.

        Raises:
            UsageError: a name is unknown, a concept lacks rows, or the folder holds another split.
            MissingError: data that is not there.
        """
        data = _limited(load_concepts(settings), settings.concepts.rows)
        check_rows(data)
        split = make_split(settings, data)
        split.check()
        path = settings.output_dir / VECTORS / "split.json"
        refuse_another(path, split)
        if writes:
            write_once(path, split)
            publish(settings.output_dir / SETTINGS_FILE, settings.model_dump_json(indent=1))
            made = {"made": environment(), "data": data.content_hash}
            publish(settings.output_dir / "manifest.json", json.dumps(made, indent=1))
        return cls(settings, data, split, on_progress)

    def folder(self, part: str) -> Path:
        """One of the four folders of results."""
        return self.settings.output_dir / part

    def model(self, name: str) -> LanguageModel:
        """A model of the study, loaded once."""
        if name not in self._models:
            from probeshift.experiments.transfer.opening import open_model

            self._models[name] = open_model(self.settings.model(name))
        return self._models[name]

    def reading(self, name: str) -> dict[str, Any]:
        """How rows are read by a model, for every function that reads rows."""
        from probeshift.steering.contrasts import make_encoder

        encoder = make_encoder(self.model(name).tokenizer, max_tokens=self.settings.concepts.max_tokens)
        return {"encoder": encoder, "tokens": self.settings.tokens}

    def drop(self, name: str) -> None:
        """Forget a model that is no longer needed."""
        self._models.pop(name, None)

    def told(self, label: str) -> Callable[[int, int], None]:
        """A progress callback with a label."""
        return lambda done, total: self.on_progress(label, done, total) if self.on_progress else None

    @cached_property
    def concepts(self) -> dict[str, Concept]:
        """The evaluated concepts by id."""
        return {c.id: c for c in self.data.concepts if c.id in set(self.split.evaluated)}

    def rows(self, part: str, concepts: Sequence[str] | None = None) -> list[Contrast]:
        """Rows as the steering machinery takes them."""
        from probeshift.steering.contrasts import Contrast

        return [Contrast(r.concept, r.prompt, r.response, r.positive) for r in self.data.of(part, concepts)]

    def all_text(self) -> list[Contrast]:
        """Everything that alignment text must not share words with: rows of both parts, and all prompts."""
        from probeshift.steering.contrasts import Contrast

        prompts = [Contrast("", prompt, "", True) for prompt in (*self.split.selection, *self.split.test)]
        return [*self.rows("vector"), *self.rows("detection"), *prompts]


def load_concepts(settings: TransferSettings) -> ConceptData:
    """The concepts that the settings name."""
    asked = settings.concepts
    if asked.axbench:
        return load_axbench(asked.axbench)
    if asked.caa:
        return load_caa(asked.caa)
    if asked.file:
        return load_concept_table(asked.file.path)
    return rule_concepts(asked.rules)


def rule_concepts(names: Sequence[str]) -> ConceptData:
    """Rules as concepts, with the contrast pairs that are made by program; pairs are split by their instruction.

    Raises:
        UsageError: an unknown rule, or one named twice.
    """
    from probeshift.steering.rules import rule

    if len(set(names)) < len(names):
        raise UsageError("a rule is named twice under concepts.rules.")
    concepts, rows = [], []
    for known in map(rule, names):
        concepts.append(Concept(known.name, f"text that follows the rule: {known.request}", known.request))
        for pair in known.pairs():
            rows += [
                ConceptRow(known.name, pair.instruction, said, positive, part_of(pair.instruction))
                for said, positive in pair.answers
            ]
    return ConceptData("rules", tuple(concepts), tuple(rows))


def _limited(data: ConceptData, most: int | None) -> ConceptData:
    """At most so many vector rows of each kind of each concept, the first by hash of the prompt."""
    if most is None:
        return data
    kept: dict[tuple[str, bool], list[ConceptRow]] = {}
    for row in sorted(data.of("vector"), key=lambda r: (sha256_text(r.prompt), r.prompt, r.response)):
        kept.setdefault((row.concept, row.positive), []).append(row)
    rows = [row for found in kept.values() for row in found[:most]]
    return ConceptData(data.source, data.concepts, (*rows, *data.of("detection")))


def check_rows(data: ConceptData) -> None:
    """Refuse concepts without positives or negatives in either part, and rows that stand in both.

    Raises:
        UsageError: the first such concept.
    """
    for concept in data.concepts:
        for part in ("vector", "detection"):
            kinds = {row.positive for row in data.of(part, [concept.id])}
            for kind, name in ((True, "positives"), (False, "negatives")):
                if kind not in kinds:
                    raise UsageError(
                        f"concept `{concept.id}` has no {name} among its {part} rows. Give rows of both kinds."
                    )
        made, kept = ({(r.prompt, r.response) for r in data.of(part, [concept.id])} for part in ("vector", "detection"))
        if made & kept:
            raise UsageError(
                f"concept `{concept.id}` has {len(made & kept)} rows in both parts. Keep detection rows apart."
            )
