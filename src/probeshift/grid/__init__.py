"""Layer x position: a cross-validated probe at every cell, an honest score for the chosen one, and what chance and words reach."""

from probeshift.grid.comparing import Difference, compare_rows
from probeshift.grid.controls import Control, run_controls
from probeshift.grid.fitting import (
    FittedCell,
    GridOptions,
    best_cell,
    check_same_space,
    corrected_score,
    fit_grid,
    measure_rows,
    score_rows,
)

__all__ = [
    "Control",
    "Difference",
    "FittedCell",
    "GridOptions",
    "best_cell",
    "check_same_space",
    "compare_rows",
    "corrected_score",
    "fit_grid",
    "measure_rows",
    "run_controls",
    "score_rows",
]
