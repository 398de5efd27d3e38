"""What a sweep found: scores of mixtures -> values of each step, differences between them, and what may be concluded."""

from probeshift.summaries.sweep.comparing import compare_steps
from probeshift.summaries.sweep.conclusions import conclude
from probeshift.summaries.sweep.evaluating import SetRole, SweepSets, evaluate_step
from probeshift.summaries.sweep.rows import result_rows
from probeshift.summaries.sweep.sources import activity_by_source, duplicates_across, extraction_by_set

__all__ = [
    "SetRole",
    "SweepSets",
    "activity_by_source",
    "compare_steps",
    "conclude",
    "duplicates_across",
    "evaluate_step",
    "extraction_by_set",
    "result_rows",
]
