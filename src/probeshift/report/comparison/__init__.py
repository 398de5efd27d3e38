"""The figures of the comparison study, in the order of its document. Adding one is a file and a line in `FIGURES`."""

from probeshift.report.comparison.study_figure import StudyFigure

FIGURES: tuple[StudyFigure, ...] = ()

__all__ = ["FIGURES", "StudyFigure"]
