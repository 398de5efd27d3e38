"""The control's cells that belong to a mean: what a control earns is measured where the learned methods are."""

from __future__ import annotations

import pandas as pd

from probeshift.summaries.rows import CONTROLS
from probeshift.summaries.study import Study

CELL = ["train", "test", "layer"]


def beside(study: Study, cells: pd.DataFrame) -> pd.DataFrame:
    """The controls' cells with the training set, test set and layer of one of `cells`; none where no control was evaluated."""
    controls = study.cells[study.cells["method"].isin(CONTROLS)]
    wanted = pd.MultiIndex.from_frame(cells[CELL])
    return controls[pd.MultiIndex.from_frame(controls[CELL]).isin(wanted)]
