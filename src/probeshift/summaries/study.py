"""A whole comparison study, opened once for all its figures: cells, the best probe, orders, and which cells a mean counts.

Source of the choices: the report "How well do truth probes generalise?" (2024). Its typed-in ones (best probe, reference layer,
first layer that counts) are computed here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from probeshift.errors import UsageError
from probeshift.layers import layer_at_depth
from probeshift.metrics.recovered import Ceiling
from probeshift.summaries.ceilings import ceilings, drawn_ceiling, recovered
from probeshift.summaries.rows import CONTROLS, Won, pick, refuse_mixed

# The study called layers below 13 of 40 dead and left them out of its matrix.
CUT_DEPTH = 0.325
# The study's line: a probe that recovers more generalises.
RECOVERED_WELL = 0.8


@dataclass(frozen=True)
class BestProbe:
    """The probe that wins most pairwise comparisons on the selection split: `score` is its share of opponents beaten."""

    method: str
    train: str
    layer: int
    score: float


@dataclass(frozen=True)
class Study:
    """One model's result rows of one protocol.

    `won` holds the questions each probe won; `n_layers` is the depth of the model.
    """

    rows: pd.DataFrame
    won: Won
    n_layers: int
    n_resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        refuse_mixed(self.rows, "model", "protocol", "position", "seed")
        if len(set(self.rows["train"])) < 2:
            raise UsageError("a comparison needs probes from at least two datasets. Name more with --datasets.")

    @property
    def model(self) -> str:
        return str(self.rows["model"].iloc[0])

    @property
    def protocol(self) -> str:
        return str(self.rows["protocol"].iloc[0])

    @property
    def published(self) -> bool:
        return self.protocol == "published"

    @property
    def measure(self) -> str:
        """The column of `cells` that is averaged: recovered accuracy, held within [0, 1] as published or as it is."""
        return "clipped" if self.published else "value"

    @cached_property
    def ceilings(self) -> pd.DataFrame:
        return ceilings(self.rows, protocol=self.protocol)

    def drawn_ceiling(self, test: str) -> Ceiling | None:
        """The ceiling of a test set in every resample; None where the questions its candidates won are not at hand."""
        if test not in self._drawn:
            self._drawn[test] = drawn_ceiling(self.won, test, n_resamples=self.n_resamples, seed=self.seed)
        return self._drawn[test]

    @cached_property
    def _drawn(self) -> dict[str, Ceiling | None]:
        return {}

    @cached_property
    def ceiling_choices(self) -> pd.DataFrame:
        """`ceilings` with what resamples make of the choice.

        `n_chosen` probes are chosen in at least one of them; `choice_low` and `choice_high` bound what the chosen one reaches. All are
        null where there is no ceiling or the questions won are not at hand.
        """
        table = self.ceilings.copy()
        known = table.loc[table["value"].notna(), "test"]
        drawn = {row: top for row, test in known.items() if (top := self.drawn_ceiling(test)) is not None}
        low, high = ({row: top.bounds[side] for row, top in drawn.items()} for side in (0, 1))
        table["n_chosen"] = pd.Series({row: len(set(top.chosen.tolist())) for row, top in drawn.items()}, dtype="Int64")
        table["choice_low"], table["choice_high"] = pd.Series(low, dtype=float), pd.Series(high, dtype=float)
        return table

    @cached_property
    def cells(self) -> pd.DataFrame:
        """Recovered accuracy of every probe on every test set (`recovered`), without intervals; controls included."""
        return recovered(self.rows, protocol=self.protocol, ceiling=self.ceilings)

    @cached_property
    def learned(self) -> pd.DataFrame:
        """`cells` without controls and without test sets nobody trained on (they have no ceiling)."""
        known = set(self.cells["train"])
        return self.cells[~self.cells["method"].isin(CONTROLS) & self.cells["test"].isin(known)]

    @property
    def cut_layer(self) -> int:
        """The first layer that counts in means: the study's 13 of 40, as a share of this model's depth."""
        return layer_at_depth(self.n_layers, CUT_DEPTH)

    @property
    def counted(self) -> pd.DataFrame:
        """The cells that means are taken over: away from home and from `cut_layer` on; as published, all of them."""
        cells = self.learned
        if self.published:
            return cells
        return cells[~cells["in_distribution"].astype(bool) & (cells["layer"] >= self.cut_layer)]

    @property
    def counted_words(self) -> str:
        if self.published:
            return "all layers, own set included, as published"
        return f"layers {self.cut_layer} and deeper, own set excluded"

    @cached_property
    def best(self) -> BestProbe:
        return best_probe(self.rows, self.protocol)

    @cached_property
    def method_order(self) -> list[str]:
        """Methods by mean over the counted cells, highest first."""
        return _by_mean(self.counted, "method", self.measure)

    @cached_property
    def train_order(self) -> list[str]:
        """Training sets by mean over the counted cells, highest first."""
        return _by_mean(self.counted, "train", self.measure)


def _by_mean(cells: pd.DataFrame, column: str, measure: str) -> list[str]:
    means = cells.groupby(column, sort=True)[measure].mean().sort_values(ascending=False, kind="stable")
    return list(means.index)


def best_probe(rows: pd.DataFrame, protocol: str) -> BestProbe:
    """The probe (method, training set, layer) that beats the largest share of all others on the selection split.

    One probe beats another when its accuracy is higher on more of the sets that neither was trained on. All accuracies of a
    set share one ceiling, so comparing recovered accuracies would give the same wins. Ties go to the lower layer, then to
    the alphabet. Controls take no part.

    Raises:
        UsageError: there are no selection rows.
    """
    cells = pick(rows, metric="accuracy", split="selection", protocol=protocol)
    cells = cells[~cells["method"].isin(CONTROLS)]
    if not len(cells):
        raise UsageError(
            "no selection rows to choose the best probe by. Evaluate again without a limit of 0 on selection."
        )
    table = cells.pivot(index=["layer", "method", "train"], columns="test", values="value").sort_index()
    trained = table.index.get_level_values("train").to_numpy()
    scores = _share_beaten(table.to_numpy(dtype=float), trained[:, None] == table.columns.to_numpy()[None, :])
    layer, method, train = table.index[int(np.argmax(scores))]
    return BestProbe(str(method), str(train), int(layer), float(scores.max()))


def _share_beaten(accuracy: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Share of the other probes each probe beats; `accuracy` and `own` are [probe, set], undefined cells decide nothing."""
    values = np.where(own, np.nan, accuracy)
    beaten = np.empty(len(values))
    for probe, row in enumerate(values):
        ahead = (row > values).sum(axis=1).astype(int) - (row < values).sum(axis=1)
        beaten[probe] = (ahead > 0).sum()
    return beaten / max(1, len(values) - 1)
