"""What every mixture's probe scores on every row: the waist between fitting mixtures and reading their results.

scores/rows.parquet          set, part (train, held_out, neither, test), label, group, n_tokens: one line per row
scores/mixtures.json         name, kind, sources, step, draw, rows, and the key of the fit
scores/scores.safetensors    `scores` and `members` [mixture, row]; `out_of_fold.<mixture>` [repeat, row], NaN where
                                 a row is in no fold; `cross_validated.<mixture>` [repeat, fold]
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from probeshift.datasets.splits import ENTITY_JOINT
from probeshift.errors import StoreError
from probeshift.provenance import publish

if TYPE_CHECKING:
    import pandas as pd

TRAIN, HELD_OUT, NEITHER, TEST = "train", "held_out", "neither", "test"
STEP, SUBSET, LEFT_OUT, SIZE_MATCHED = "step", "subset", "left_out", "size_matched"
WITH_FOLDS = (STEP, LEFT_OUT)  # mixtures whose training rows are also scored by probes that did not see them


@dataclass(frozen=True)
class Mixture:
    """Which sources a probe is trained on. `step` numbers the cumulative steps; `draw` the random draws of equal size."""

    name: str
    kind: str
    sources: tuple[str, ...]
    step: int | None = None
    draw: int | None = None


@dataclass(frozen=True)
class MixtureScores:
    """Decision scores (0 is a probability of a half) of each mixture's probe on all rows, training rows included.

    `out_of_fold` and `cross_validated` are by mixture name, of steps and of mixtures that leave one source out; the latter holds the
    AUROC of every fold, NaN where a fold has one class.
    """

    rows: pd.DataFrame
    mixtures: tuple[Mixture, ...]
    scores: Float[np.ndarray, "mixture example"]
    members: Bool[np.ndarray, "mixture example"]
    out_of_fold: Mapping[str, np.ndarray]
    cross_validated: Mapping[str, np.ndarray]

    @property
    def labels(self) -> np.ndarray:
        return self.rows["label"].to_numpy(dtype=bool)

    @property
    def steps(self) -> list[int]:
        """Numbers of the steps that are there, ascending."""
        return sorted(m.step for m in self.mixtures if m.kind == STEP and m.step is not None)

    def where(self, name: str, part: str | None = None) -> np.ndarray:
        """Which rows are of a set, or of one part of it."""
        chosen = self.rows["set"].eq(name)
        return (chosen if part is None else chosen & self.rows["part"].eq(part)).to_numpy()

    def groups(self, rows: np.ndarray) -> np.ndarray | None:
        """Dense numbers of the groups of the chosen rows; None where every row stands alone."""
        names, numbers = np.unique(self.rows["group"].to_numpy()[rows], return_inverse=True)
        return None if len(names) == len(numbers) else numbers.astype(np.int64)

    def shares_group(self, index: int) -> np.ndarray:
        """Which rows are about an entity or question that a training row of the mixture is about too."""
        trained = {e for group in self.rows.loc[self.members[index], "group"] for e in group.split(ENTITY_JOINT)}
        return np.array([not trained.isdisjoint(group.split(ENTITY_JOINT)) for group in self.rows["group"]], dtype=bool)

    def of_step(self, step: int) -> int:
        """The index of a step's mixture."""
        return next(i for i, m in enumerate(self.mixtures) if m.kind == STEP and m.step == step)

    def out_of_fold_scores(self, index: int) -> np.ndarray:
        """A mixture's training rows scored by probes that did not see them, in the first repeat; NaN elsewhere."""
        found = self.out_of_fold.get(self.mixtures[index].name)
        return np.full(len(self.rows), np.nan) if found is None or not len(found) else found[0]

    def trained_on(self, sources: Sequence[str]) -> int | None:
        """The index of the mixture of exactly these sources, all their training rows; None when it was not fitted."""
        wanted = frozenset(sources)
        found = (i for i, m in enumerate(self.mixtures) if m.kind != SIZE_MATCHED and frozenset(m.sources) == wanted)
        return next(found, None)


def save_scores(folder: Path, found: MixtureScores) -> None:
    """Write all of it, the index last; while it is missing nothing older is taken for what the other files hold."""
    from safetensors.numpy import save

    tensors = {"scores": found.scores, "members": found.members.astype(np.uint8)}
    tensors |= {f"out_of_fold.{name}": values for name, values in found.out_of_fold.items()}
    tensors |= {f"cross_validated.{name}": values for name, values in found.cross_validated.items()}
    (folder / "mixtures.json").unlink(missing_ok=True)
    publish(folder / "rows.parquet", found.rows.to_parquet(index=False))
    publish(folder / "scores.safetensors", save({k: np.ascontiguousarray(v) for k, v in tensors.items()}))
    publish(folder / "mixtures.json", json.dumps([asdict(m) for m in found.mixtures], indent=1))


def load_scores(folder: Path) -> MixtureScores:
    """What `save_scores` wrote.

    Raises:
        StoreError: nothing is there, or it is damaged.
    """
    import pandas as pd
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not (folder / "mixtures.json").exists():
        raise StoreError(f"{folder.parent} holds no sweep yet. Run `probeshift sweep run` first.")
    try:
        mixtures = tuple(
            Mixture(**{**m, "sources": tuple(m["sources"])}) for m in json.loads((folder / "mixtures.json").read_text())
        )
        tensors = load_file(folder / "scores.safetensors")
        by_step = {
            what: {k.removeprefix(what + "."): v for k, v in tensors.items() if k.startswith(what + ".")}
            for what in ("out_of_fold", "cross_validated")
        }
        rows = pd.read_parquet(folder / "rows.parquet")
        return MixtureScores(rows, mixtures, tensors["scores"], tensors["members"].astype(bool), **by_step)
    except (ValueError, KeyError, TypeError, OSError, SafetensorError) as error:
        raise StoreError(
            f"{folder} cannot be read ({error}). Delete it and run `probeshift sweep run` again."
        ) from error
