"""The figures of the comparison study, in the order of its document. Adding one is a file and a line in `FIGURES`."""

from probeshift.report.comparison import bars, clustering, heatmaps, layers_ecdf, scatter, validation
from probeshift.report.comparison.study_figure import StudyFigure

FIGURES: tuple[StudyFigure, ...] = tuple(
    sorted(
        (
            *layers_ecdf.FIGURES,
            *heatmaps.FIGURES,
            *bars.FIGURES,
            *scatter.FIGURES,
            *clustering.FIGURES,
            *validation.FIGURES,
        ),
        key=lambda figure: figure.name,
    )
)

__all__ = ["FIGURES", "StudyFigure"]
