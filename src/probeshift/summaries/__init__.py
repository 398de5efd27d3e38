"""Result rows to small tables: ceilings, recovered accuracy, best layer, matrices, means out of distribution.

A result row is one metric of one probe on one test set and split; its columns are `results.ROW_COLUMNS`. `value` is
null where it is undefined, and `reason` says why. Tables keep the column names of the rows, so `value`, `ci_low`,
`ci_high` and `chance` are always in the same unit. Undefined cells are never averaged; every mean says how many cells
it stands on.
"""

from probeshift.summaries.ceilings import ceilings, recovered
from probeshift.summaries.imported import import_reference
from probeshift.summaries.layers import LayerChoice, best_layer, by_layer
from probeshift.summaries.matrices import Matrix, matrix, ood_mean
from probeshift.summaries.rows import CONTROLS, PROBE_COLUMNS, CellKey, Won, pick

__all__ = [
    "CONTROLS",
    "PROBE_COLUMNS",
    "CellKey",
    "LayerChoice",
    "Matrix",
    "Won",
    "best_layer",
    "by_layer",
    "ceilings",
    "import_reference",
    "matrix",
    "ood_mean",
    "pick",
    "recovered",
]
