"""Result rows of a made-up comparison: scores of known strength, measured by the real metrics. No model, no probes, no disk."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from probeshift.metrics import measure
from probeshift.results import ROW_COLUMNS
from probeshift.summaries import CellKey, Won
from probeshift.summaries.study import Study

FAMILY = {
    "imdb": "dlk",
    "boolq": "dlk",
    "arc_easy": "repe",
    "race": "repe",
    "got_cities": "got",
    "got_cities_cities_conj": "got",
}


@dataclass(frozen=True)
class Simulation:
    """`strength(method, train, layer, test)` is the mean score gap between true and false rows, in standard deviations."""

    strength: object = staticmethod(lambda method, train, layer, test: 1.5 if layer >= 3 else 0.2)
    methods: tuple = ("dim", "lda", "lr", "random")
    trains: tuple = tuple(FAMILY)
    tests: tuple = (*FAMILY, "truthful_qa")
    layers: tuple = (0, 3, 6, 8)
    n_layers: int = 10
    n_questions: int = 60
    seed: int = 0
    protocol: str = "strict"
    ungrouped: tuple = ("got_cities_cities_conj",)
    options: dict = field(default_factory=lambda: {"truthful_qa": 4, "arc_easy": 4, "race": 4})

    def probes(self):
        keys = [(m, t, layer) for m in self.methods for t in self.trains for layer in self.layers]
        return [k for k in keys if not (k[0] in ("ccs", "lr-g", "pca-g") and k[1] in self.ungrouped)]


def study(simulation=None, n_resamples=200) -> Study:
    rows, won = simulate(simulation or Simulation(), n_resamples)
    return Study(rows, won, (simulation or Simulation()).n_layers, n_resamples=n_resamples)


def simulate(simulation, n_resamples=200):
    """Rows as `ResultFolder.collect` returns them, and which questions were won."""
    rows, won = [], Won({}, {})
    for number, test in enumerate(simulation.tests):
        for split in ("selection", "test"):
            if split == "selection" and test not in simulation.trains:
                continue
            rng = np.random.default_rng([simulation.seed, number, split == "test"])
            measured = _measure(simulation, test, rng, n_resamples)
            for index, key in enumerate(simulation.probes()):
                rows += _rows(simulation, test, split, key, measured, index)
                getattr(won, split)[CellKey(*key, test)] = measured.correct[index]
    return pd.DataFrame(rows, columns=list(ROW_COLUMNS)), won


def _measure(simulation, test, rng, n_resamples):
    options = simulation.options.get(test, 1 if test in simulation.ungrouped else 2)
    n = simulation.n_questions * options
    labels = rng.permutation(np.arange(n) % 2 == 0) if options == 1 else np.arange(n) % options == 0
    groups = None if options == 1 else np.repeat(np.arange(simulation.n_questions), options)
    gaps = np.array([simulation.strength(m, t, layer, test) for m, t, layer in simulation.probes()])
    scores = (labels - 0.5) * gaps[:, None] + rng.normal(size=(len(gaps), n))
    return measure(scores, labels, groups, protocol=simulation.protocol, n_resamples=n_resamples)


def _rows(simulation, test, split, key, measured, index):
    method, train, layer = key
    shared = {
        "model": "simulated", "method": method, "seed": 0, "train": train, "test": test, "split": split, "layer": layer,
        "position": "last", "protocol": simulation.protocol, "sign_source": measured.sign_source,
        "threshold_source": measured.threshold_source, "flipped": bool(measured.flipped[index]), "n_train": 100,
        "in_distribution": train == test, "related": False, "limited": False,
        "train_family": FAMILY.get(train, "other"), "test_family": FAMILY.get(test, "truthful_qa"),
    }  # fmt: skip
    for m in (measured.accuracy, measured.accuracy_row, measured.auroc):
        fine = m.reason[index] is None
        values = {
            "value": m.value[index],
            "ci_low": m.low[index],
            "ci_high": m.high[index],
            "ci_kind": m.ci_kind[index],
        }
        yield {**shared, "metric": m.name, **(values if fine else {}), "n": m.n, "n_kind": m.n_kind, "chance": m.chance,
               "reason": m.reason[index]}  # fmt: skip
