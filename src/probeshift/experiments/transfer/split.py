"""The split of a study: concepts that are evaluated, prompts that choose strengths, prompts that give scores. Written first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probeshift.datasets.concepts import ConceptData
from probeshift.errors import MissingError, StoreError, UsageError, nearest
from probeshift.experiments.transfer.settings import TransferSettings
from probeshift.provenance import publish, sha256_json, sha256_text


@dataclass(frozen=True)
class Split:
    """Concepts that are evaluated, concepts that only give the mean vector, and prompts to choose and to score on."""

    evaluated: tuple[str, ...]
    fit: tuple[str, ...]
    selection: tuple[str, ...]
    test: tuple[str, ...]
    data: str

    def check(self) -> None:
        """Refuse a split whose parts share anything.

        Raises:
            UsageError: they do.
        """
        for what, one, other in (("concept", self.evaluated, self.fit), ("prompt", self.selection, self.test)):
            shared = sorted(set(one) & set(other))
            if shared:
                raise UsageError(f"the split is not one: {what} `{shared[0]}` is on both sides. Name each only once.")


def make_split(settings: TransferSettings, data: ConceptData) -> Split:
    """Which concepts are evaluated and which prompts are for what; by hash, so that rows added later move nothing.

    Raises:
        UsageError: an unknown concept, too few of them, or too few prompts.
    """
    ids, asked = [c.id for c in data.concepts], settings.concepts.evaluate
    if isinstance(asked, int):
        chosen = sorted(ids, key=lambda one: sha256_text(f"{settings.seed}:{one}"))[:asked]
    else:
        chosen = list(asked)
    for name in chosen:
        if name not in ids:
            raise UsageError(f"concept `{name}` under concepts.evaluate not found. {nearest(name, ids)}")
    if len(chosen) < 2:
        raise UsageError("at least two concepts must be evaluated, since one control is another concept's vector.")
    selection, test = _prompts(settings)
    kept = tuple(one for one in ids if one in set(chosen))
    return Split(kept, tuple(one for one in ids if one not in set(chosen)), selection, test, data.content_hash)


def _prompts(settings: TransferSettings) -> tuple[tuple[str, ...], tuple[str, ...]]:
    from probeshift.steering.rules import prompts

    asked = settings.prompts
    if asked.file is None:
        found = {part: list(prompts(part)) for part in ("selection", "test")}
    elif not asked.file.is_file():
        raise MissingError(f"there is no file {asked.file} of prompts.")
    else:
        found = read_json(asked.file, 'a JSON object {"selection": [...], "test": [...]}')
    cut = []
    for part, wanted in (("selection", asked.n_selection), ("test", asked.n_test)):
        there = found.get(part, []) if isinstance(found, dict) else []
        if len(there) < wanted:
            raise UsageError(f"{wanted} {part} prompts asked, {len(there)} found. Lower prompts.n_{part} or give more.")
        cut.append(tuple(map(str, there[:wanted])))
    return cut[0], cut[1]


def read_json(path: Path, wanted: str) -> Any:
    """What a JSON file of the user's holds.

    Raises:
        UsageError: it is not JSON; `wanted` is told.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path} is not JSON ({error}). It should hold {wanted}.") from error


def _told(split: Split) -> dict[str, Any]:
    return {
        "evaluated": list(split.evaluated), "fit": list(split.fit),
        "prompts": {"selection": list(split.selection), "test": list(split.test)}, "data": split.data,
    }  # fmt: skip


def refuse_another(path: Path, split: Split) -> None:
    """Refuse a folder that was made with another split."""
    if not path.exists():
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(f"{path} is damaged ({error}). Remove it; it is made again.") from error
    if sha256_json(before) != sha256_json(_told(split)):
        raise UsageError(
            f"{path} was made with other concepts, rows or prompts. Use another output_dir, or remove that folder's results."
        )


def write_once(path: Path, split: Split) -> None:
    """Publish the split where there is none yet."""
    if not path.exists():
        publish(path, json.dumps(_told(split), indent=1, ensure_ascii=False))
