"""Names beside points, each where it covers no other name and no point."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

_RINGS = (7.0, 12.0, 20.0, 30.0, 42.0, 56.0, 72.0)  # distances from the point, in printer's points
_TURNS = (0, 180, 90, 270, 45, 315, 135, 225)  # degrees; to the right first
_NEAR = 12.0  # beyond, a line leads from the name to its point


def name_points(axes: Axes, at: np.ndarray, names: Sequence[str], *, size: float = 8.0) -> None:
    """Write `names` beside the points `at` [point, xy] in data units; the layout of the figure is frozen by this.

    The nearest free place is taken; where there is none, the furthest one.
    """
    figure = axes.figure.figure
    FigureCanvasAgg(figure).draw()
    figure.set_layout_engine("none")
    pixel = figure.dpi / 72.0
    points = axes.transData.transform(at)
    taken = [Bbox.from_bounds(x - 5 * pixel, y - 5 * pixel, 10 * pixel, 10 * pixel) for x, y in points]
    room = axes.get_window_extent()
    for point, where, name in zip(points, at, names, strict=True):
        text = axes.annotate(name, where, (0, 0), textcoords="offset points", fontsize=size, zorder=6)
        text.set_path_effects([withStroke(linewidth=2.0, foreground="white")])
        extent = text.get_window_extent().padded(0.8 * pixel)
        for ring, turn in product(_RINGS, _TURNS):
            offset = ring * np.array([np.cos(np.radians(turn)), np.sin(np.radians(turn))])
            box = _moved(extent, point + offset * pixel, turn)
            free = not any(box.overlaps(other) for other in taken)
            if free and room.contains(*box.min) and room.contains(*box.max):
                break
        taken.append(box)
        text.set_position((np.array(box.min) - point) / pixel + 0.8)
        if ring > _NEAR:
            ends = axes.transData.inverted().transform([point, point + 0.8 * offset * pixel])
            axes.plot(*ends.T, color="0.6", linewidth=0.6, zorder=1)


def _moved(box: Bbox, to: np.ndarray, turn: int) -> Bbox:
    """The box with the edge or corner that faces the point at `to`."""
    across = {0: 0.0, 45: 0.0, 315: 0.0, 180: 1.0, 135: 1.0, 225: 1.0}.get(turn, 0.5)
    up = {90: 0.0, 45: 0.0, 135: 0.0, 270: 1.0, 315: 1.0, 225: 1.0}.get(turn, 0.5)
    return Bbox.from_bounds(to[0] - across * box.width, to[1] - up * box.height, box.width, box.height)
