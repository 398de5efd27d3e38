"""A study whose questions are won by the toss of a coin per method: fast enough to simulate many."""

from itertools import product

import numpy as np
import pandas as pd

from probeshift.results import ROW_COLUMNS
from probeshift.summaries import CellKey, Won
from probeshift.summaries.study import Study


def drawn_study(seed, chances, *, n_sets=6, n_questions=40, n_resamples=199, protocol="strict", taste=0.15, home=0.1):
    """Methods that win each question with their chance, give or take what the question and the method's taste for it add.

    Much faster than real scores: one layer that counts, a probe per method and set, correctness drawn outright.
    """
    rng, rows, won = np.random.default_rng(seed), [], Won({}, {})
    sets = [f"set{number}" for number in range(n_sets)]
    for test, split in product(sets, ("selection", "test")):
        easy = rng.normal(scale=0.15, size=n_questions)
        for method, chance in chances.items():
            tastes = easy + rng.normal(scale=taste, size=n_questions)
            for train in sets:
                right = (rng.random(n_questions) < chance + home * (train == test) + tastes).astype(float)
                rows.append(cell(method, train, test, split, right, protocol))
                getattr(won, split)[CellKey(method, train, 6, test)] = right
    return Study(pd.DataFrame(rows, columns=list(ROW_COLUMNS)), won, 10, n_resamples=n_resamples)


def cell(method, train, test, split, won, protocol):
    return {
        "model": "drawn", "method": method, "seed": 0, "train": train, "test": test, "split": split, "layer": 6,
        "position": "last", "protocol": protocol, "metric": "accuracy", "value": won.mean(), "ci_low": won.mean() - 0.1,
        "ci_high": won.mean() + 0.1, "ci_kind": "clopper_pearson", "n": len(won), "n_kind": "questions", "chance": 0.5,
        "flipped": False, "in_distribution": train == test, "related": False, "limited": False,
    }  # fmt: skip
