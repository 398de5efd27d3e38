"""The pages of a sweep: a text report and three figures, from its comparison alone."""

from probeshift.report.sweep.pages import draw_sweep, write_report
from probeshift.report.sweep.tables import sweep_tables

__all__ = ["draw_sweep", "sweep_tables", "write_report"]
