"""What a figure of the comparison study is: a name, the table it shows, and a pure function of that table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from probeshift.summaries.study import Study


@dataclass(frozen=True)
class StudyFigure:
    """`table` raises a UsageError with the reason where a study lacks what the figure shows."""

    name: str
    table: Callable[[Study], pd.DataFrame]
    draw: Callable[[pd.DataFrame], Figure]
