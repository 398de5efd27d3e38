"""A whole sweep, concepts x strengths x prompts, written in few large mixed batches; what is written is kept.

    generations/<hash>.jsonl    one batch of finished texts each, published whole

A text is known by everything it depends on (`Task.key`), so a stopped run, or a larger sweep in the same folder, goes on with
what is missing, whatever batches it falls into.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from probeshift.errors import StoreError
from probeshift.models import LanguageModel, weight_hash
from probeshift.provenance import publish, sha256_json, sha256_text
from probeshift.steering.generation import Decoding, generate, treatment
from probeshift.steering.interventions import POSITIONS, Intervention, require_known
from probeshift.steering.prompt_batch import shared_prefix
from probeshift.steering.side_by_side import n_at_once, side_by_side
from probeshift.steering.vectors import SteeringVector

# Most rows of a batch: on a CPU matrix products gain little from more. Fewer where the cached keys of all batches under way
# would take more than so many bytes.
BATCH_ROWS = 256
_CACHE_BYTES = 2**31


@dataclass(frozen=True)
class Task:
    """One text to write: a prompt by name and ids, what is done to the model (None: nothing), and a sample number."""

    prompt_id: str
    prompt: tuple[int, ...]
    intervention: Intervention | None = None
    sample: int = 0


@dataclass(frozen=True)
class SweepSettings:
    """What all texts of a sweep share. `seed` matters above temperature 0 only."""

    decoding: Decoding
    positions: str = "all"
    seed: int = 0
    batch_rows: int = BATCH_ROWS

    def __post_init__(self) -> None:
        require_known("positions", self.positions, POSITIONS)


@dataclass(frozen=True)
class Generation:
    """A finished text. `concept` and `strength` are None for the model as it is; `prompt_length` counts its tokens."""

    key: str
    prompt_id: str
    concept: str | None
    strength: float | None
    operator: str | None
    sample: int
    prompt_length: int
    ids: tuple[int, ...]
    text: str
    ended: bool


@dataclass(frozen=True)
class Sweep:
    """The tasks of a sweep over one model, and the folder their texts are kept in."""

    model: LanguageModel
    tasks: Sequence[Task]
    settings: SweepSettings
    folder: Path

    @cached_property
    def keys(self) -> tuple[str, ...]:
        """One hash per task over everything its text depends on."""
        shared = [weight_hash(self.model.info), str(self.model.dtype), asdict(self.settings.decoding)]
        return tuple(sha256_json([*shared, *self._own(task)]) for task in self.tasks)

    def _own(self, task: Task) -> list:
        drawn = [self.settings.seed, task.prompt_id, task.sample] if self.settings.decoding.temperature else []
        one = task.intervention
        if one is None:
            return [list(task.prompt), drawn]
        what = [one.vector.concept, self._direction_hash(one.vector), one.operator, one.strength, one.shift]
        return [list(task.prompt), drawn, what, list(one.sites), self.settings.positions]

    def _direction_hash(self, vector: SteeringVector) -> str:
        if id(vector) not in self._hashes:  # once per vector, not once per text
            self._hashes[id(vector)] = sha256_text(vector.direction.tobytes().hex())
        return self._hashes[id(vector)]

    @cached_property
    def _hashes(self) -> dict[int, str]:
        return {}

    def run(self, on_progress: Callable[[int, int], None] | None = None) -> list[Generation]:
        """All texts, in the order of the tasks; those found in the folder are not written again.

        Raises:
            StoreError: the folder cannot be written, or holds a file that is not one of generations.
        """
        done = read_generations(self.folder)
        missing = [i for i, key in enumerate(self.keys) if key not in done]
        at_once = n_at_once(self.model, len(missing))
        batches = list(self._batches(missing, at_once))
        for written in side_by_side(self.model, batches, self._write, at_once=at_once):
            done |= {g.key: g for g in written}
            if on_progress:
                on_progress(sum(key in done for key in self.keys), len(self.keys))
        return [done[key] for key in self.keys]

    def _batches(self, missing: Sequence[int], at_once: int) -> Iterator[tuple[int, ...]]:
        """Rows whose prompts are steered alike together, so that what they share is read once; else by length.

        As few batches as there must be, of even sizes, so many that `at_once` of them always run.
        """
        steered = {
            i: None if self.settings.positions == "generated" else treatment(self.tasks[i].intervention)
            for i in missing
        }
        place = {one: number for number, one in enumerate(dict.fromkeys(steered.values()))}
        shares = shared_prefix([self.tasks[i].prompt for i in missing], list(steered.values())) if missing else None
        group = {i: place[steered[i]] if shares else 0 for i in missing}
        order = sorted(missing, key=lambda i: (group[i], -len(self.tasks[i].prompt), self.tasks[i].prompt, i))
        longest = max((len(self.tasks[i].prompt) for i in missing), default=0) + self.settings.decoding.max_new_tokens
        rows = min(self.settings.batch_rows, rows_that_fit(self.model, longest, n_bytes=_CACHE_BYTES // at_once))
        n_batches = math.ceil(len(order) / rows / at_once) * at_once
        rows = max(1, math.ceil(len(order) / max(1, n_batches)))
        for start in range(0, len(order), rows):
            yield tuple(order[start : start + rows])

    def _write(self, model: LanguageModel, batch: Sequence[int]) -> list[Generation]:
        tasks = [self.tasks[i] for i in batch]
        written = generate(
            model,
            [task.prompt for task in tasks],
            [task.intervention for task in tasks],
            decoding=self.settings.decoding,
            positions=self.settings.positions,
            seeds=[int(self.keys[i][:15], 16) for i in batch],
        )
        found = [
            _generation(self.keys[i], task, one.ids, one.ended, model)
            for i, task, one in zip(batch, tasks, written, strict=True)
        ]
        name = sha256_json([g.key for g in found])[:16]
        lines = (json.dumps(asdict(g), ensure_ascii=False) for g in found)
        publish(self.folder / "generations" / f"{name}.jsonl", "".join(f"{line}\n" for line in lines))
        return found


def rows_that_fit(model: LanguageModel, n_tokens: int, *, n_bytes: int = _CACHE_BYTES) -> int:
    """How many texts of so many tokens have keys and values that fit into so many bytes; at least one."""
    config = model.info.config.get_text_config()
    heads = config.num_attention_heads
    width = getattr(config, "head_dim", None) or model.info.d_model // heads
    kept = getattr(config, "num_key_value_heads", None) or heads
    return max(1, n_bytes // (2 * model.info.n_layers * kept * width * model.dtype.itemsize * n_tokens))


def _generation(key: str, task: Task, ids: tuple[int, ...], ended: bool, model: LanguageModel) -> Generation:
    one = task.intervention
    return Generation(
        key=key,
        prompt_id=task.prompt_id,
        concept=None if one is None else one.vector.concept,
        strength=None if one is None else one.strength,
        operator=None if one is None else one.operator,
        sample=task.sample,
        prompt_length=len(task.prompt),
        ids=ids,
        text=str(model.tokenizer.decode(list(ids), skip_special_tokens=True)),
        ended=ended,
    )


def read_generations(folder: Path) -> dict[str, Generation]:
    """Everything written so far in a folder, by key.

    Raises:
        StoreError: a file there is not one of generations.
    """
    found: dict[str, Generation] = {}
    for path in sorted((folder / "generations").glob("*.jsonl")):
        try:
            for line in path.read_bytes().splitlines():  # of bytes: a text may hold other line breaks
                values = json.loads(line)
                found[values["key"]] = Generation(**{**values, "ids": tuple(values["ids"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StoreError(
                f"{path} is not a readable file of generations ({error}). Delete it and run again."
            ) from error
    return found
