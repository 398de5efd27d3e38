"""The train-by-test matrix: does a probe trained on one dataset hold on the others?"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from functools import partial

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.patheffects import withStroke

from probeshift.errors import UsageError, nearest
from probeshift.report.palette import FAMILIES, MAPS, PROTOCOL_WORDS, UNDEFINED

MOST_PRINTED = 20  # sets per side up to which values are printed in cells
MOST_WITH_WIDTH = 8  # sets per side up to which the interval half width is printed too
_NAMES = {
    "recovered": "recovered accuracy (accuracy / in-distribution ceiling)",
    "accuracy": "accuracy",
    "accuracy_row": "accuracy by row",
    "auroc": "AUROC",
}


@dataclass(frozen=True)
class Rows:
    """What the rows of a matrix are: the column that names them, the words beside the axis, and the one set in bold.

    `as_given` keeps training sets and test sets in the table's order, which otherwise stand by family. Rows that are no
    training sets may be many: their cells get low before they get narrow.
    """

    column: str = "train"
    axis: str = "trained on"
    best: str | None = None
    as_given: bool = False


TRAINING_SETS = Rows()


@dataclass(frozen=True)
class _Grid:
    """The table as frames, train sets (or what `rows` names) down and test sets across.

    `own` marks in-distribution cells, `present` cells with a row; `unclear` intervals that include chance, `inverted`
    those wholly below it and below any constant answer (in words `below`), `tried` what has those intervals; `reach` is the
    interval half width of the value. `means` holds value and reach of the row means.
    """

    rows: Rows

    value: pd.DataFrame
    reach: pd.DataFrame
    own: pd.DataFrame
    present: pd.DataFrame
    unclear: pd.DataFrame
    inverted: pd.DataFrame
    tried: str
    below: str
    means: pd.DataFrame
    train_family: dict[str, str | None]
    test_family: dict[str, str | None]


@dataclass(frozen=True)
class _Sheet:
    """The figure with a ruler: inches from the left and from the top, matrix cells `cell` inches wide and `tall` high."""

    figure: Figure
    cell: float
    tall: float
    left: float
    top: float

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        page_width, page_height = self.figure.get_size_inches()
        box = (left / page_width, 1 - (top + height) / page_height, width / page_width, height / page_height)
        axes = self.figure.add_axes(box)
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        return axes

    def write(self, left: float, top: float, text: str, **style) -> None:
        page_width, page_height = self.figure.get_size_inches()
        self.figure.text(left / page_width, 1 - top / page_height, text, va="top", **style)


def cross_matrix(
    table: pd.DataFrame,
    *,
    metric: str,
    title: str,
    protocol: str | None = None,
    caption: str | None = None,
    rows: Rows = TRAINING_SETS,
) -> Figure:
    """Rows are training sets, columns evaluation sets, one value per cell, on a fixed scale from 0 to 1.

    Args:
        table: one row per cell with train, test, value, ci_low, ci_high, n, n_kind, chance, in_distribution, layer,
            method, model, protocol; result rows of one metric, or `summaries.recovered`. Sets with a family are
            grouped by it. A null value is drawn grey; a cell without a row stays empty.
        metric: "recovered" (whole percent), "accuracy", "accuracy_row" or "auroc" (two decimals).
        title: said on top.
        protocol: "strict" or "published"; None reads it from the table.
        caption: one more sentence under the title.
        rows: what the rows are; their column must be in the table, model, layer and method need not be.

    Values are printed up to 20 sets a side, interval half widths up to 8. Hatched cells cannot be told from chance, of
    recovered accuracy by the interval of the accuracy itself; a triangle down marks such an interval wholly below chance and
    below any constant answer, a triangle up a value above the scale. The column on the right is the mean over the defined
    cells of other datasets, or what the table's row_value, row_low and row_high say it is.

    Raises:
        UsageError: `metric` is not one of the four, the table is empty, or several of its rows claim one cell.
    """
    _check(table, metric, rows)
    grid = _grid(table, rows, metric)
    n_train, n_test = grid.value.shape
    cell = float(np.clip(9.5 / _n_across(grid), 0.3, 0.82 if max(n_train, n_test) > 4 else 1.1))
    tall = min(cell, max(0.3, 9.5 / n_train))
    lines = _subtitle(table, metric, protocol or table["protocol"].iloc[0], caption)
    names = [*map(partial(_row_label, rows), grid.value.index), *grid.value.columns]
    left, label = 0.55 + 0.078 * max(map(len, names)), 0.3 + 0.046 * max(14, *map(len, names))
    width = max(6.5, left + cell * (n_test + 1) + 1.45)
    marks = textwrap.wrap(" · ".join(_marks(grid)), int(width * 13))
    wrapped = [part for line in lines for part in textwrap.wrap(line, int(width * 12.5))]
    head = textwrap.wrap(title, int(width * 7.5))
    top = 0.35 + 0.26 * len(head) + 0.19 * len(wrapped) + 0.3
    figure = Figure(figsize=(width, top + tall * n_train + label + 0.5 + 0.19 * len(marks)), facecolor="white")
    sheet = _Sheet(figure, cell, tall, left, top)
    sheet.write(0.2, 0.18, "\n".join(head), fontsize=13, fontweight="bold")
    sheet.write(0.2, 0.24 + 0.26 * len(head), "\n".join(wrapped), fontsize=9, color="0.3", linespacing=1.35)
    _draw_cells(sheet, grid, metric)
    _draw_means(sheet, grid, metric)
    _draw_scale(sheet, grid, metric)
    _draw_families(sheet, grid)
    sheet.write(0.2, top + tall * n_train + label + 0.35, "\n".join(marks), fontsize=8.5, color="0.3", linespacing=1.35)
    return figure


def _n_across(grid) -> int:
    """How many cells share the width of the page: rows that are training sets keep cells square."""
    return max(grid.value.shape) if grid.rows.column == TRAINING_SETS.column else grid.value.shape[1]


def _row_label(rows, name) -> str:
    return f"{name} (best)" if name == rows.best else name


def _check(table, metric, rows) -> None:
    if metric not in MAPS:
        raise UsageError(f"metric `{metric}` has no matrix. {nearest(metric, MAPS)}")
    if not len(table):
        raise UsageError("the table of the matrix is empty. Choose a layer and method that have results.")
    if table.duplicated([rows.column, "test"]).any():
        names = ("model", "layer", "method", "position", "seed")
        mixed = [name for name in names if name in table and table[name].nunique() > 1]
        raise UsageError(
            f"several rows claim one cell of the matrix. Keep one {' and one '.join(mixed) or 'row a cell'}."
        )


def _grid(table, rows, metric) -> _Grid:
    families = {side: _families(table, side) for side in (rows.column, "test")}
    train, test = (list(dict.fromkeys(table[side])) for side in (rows.column, "test"))
    if not rows.as_given:
        train = _ordered(train, families[rows.column])
        known = [name for name in train if name in set(test)]
        test = _ordered(known + [name for name in test if name not in known], families["test"])

    def frame(column):
        return table.pivot(index=rows.column, columns="test", values=column).reindex(index=train, columns=test)

    value, low, high = (frame(column).astype(float) for column in ("value", "ci_low", "ci_high"))
    own = frame("in_distribution")
    # A ceiling that may be anything makes a ratio's interval wide; whether there is something to recover, accuracy tells.
    by_accuracy = "accuracy_low" in table
    tried = ("accuracy_low", "accuracy_high", "chance_accuracy") if by_accuracy else ("ci_low", "ci_high", "chance")
    lower, upper, guess = (frame(column).astype(float) for column in tried)
    # Chance by row is the larger class. Whoever always gives the other answer scores less and has no direction to invert.
    is_share = by_accuracy or metric != "recovered"
    lowest = (1 - guess).where(frame("n_kind").eq("rows"), guess) if is_share else guess
    return _Grid(
        rows=rows,
        value=value,
        reach=(high - low) / 2.0,
        own=own.eq(True),
        present=own.notna(),
        unclear=(lower <= guess) & (guess <= upper),
        inverted=upper < lowest,
        below="chance and any constant answer" if is_share and metric != "auroc" else "chance",
        tried="95 % interval of the accuracy" if by_accuracy else "95 % interval",
        means=_means(table, value.where(~own.eq(True)), rows),
        train_family=families[rows.column],
        test_family=families["test"],
    )


def _means(table, far, rows) -> pd.DataFrame:
    """Value and interval half width of each row's mean over other datasets."""
    if "row_value" not in table:
        return pd.DataFrame({"value": far.mean(axis=1), "reach": np.nan})
    given = table.drop_duplicates(rows.column).set_index(rows.column).reindex(far.index)
    return pd.DataFrame({"value": given["row_value"], "reach": (given["row_high"] - given["row_low"]) / 2.0})


def _families(table, side) -> dict[str, str | None]:
    column = f"{side}_family"
    if column not in table or not table[column].notna().all():
        return dict.fromkeys(table[side])
    return dict(zip(table[side], table[column], strict=True))


def _ordered(names, families) -> list[str]:
    order = list(dict.fromkeys(families[name] for name in names))
    return sorted(names, key=lambda name: order.index(families[name]))


def _subtitle(table, metric, protocol, caption) -> list[str]:
    about = [f"{name} {_several(table[name])}" for name in ("model", "layer", "method") if name in table]
    kinds = "/".join(dict.fromkeys(table["n_kind"].dropna()))
    n, chance = table["n"].dropna(), table["chance"].dropna()
    pattern = (lambda share: f"{100 * share:.0f}") if metric == "recovered" else (lambda share: f"{share:.2f}")
    about.append(f"n = {_span(n, '{:.0f}'.format)} {kinds} per cell" if len(n) else "n unknown")
    guessing = "recovered by guessing" if metric == "recovered" else "chance"
    about.append(f"{guessing} {_span(chance, pattern)}" if len(chance) else "chance unknown")
    unit = ", whole percent" if metric == "recovered" else ""
    lines = [f"{_NAMES.get(metric, metric)}{unit}; {PROTOCOL_WORDS[protocol]}", " · ".join(about)]
    return lines + ([caption] if caption else [])


def _several(values) -> str:
    distinct = list(dict.fromkeys(values))
    return str(distinct[0]) if len(distinct) == 1 else f"{len(distinct)} different"


def _span(values, pattern) -> str:
    low, high = pattern(values.min()), pattern(values.max())
    return low if low == high else f"{low}–{high}"


def _marks(grid) -> list[str]:
    shown = {
        "outlined: in distribution (trained on the same dataset)": grid.own,
        f"hatched: the {grid.tried} includes chance": grid.unclear,
        f"▼\N{NO-BREAK SPACE}inverted: the whole {grid.tried} lies below {grid.below}": grid.inverted,
        "▲\N{NO-BREAK SPACE}above the ceiling: the colour stops at 100": grid.value > 1.0,
        "–\N{NO-BREAK SPACE}undefined, reason in the table": grid.present & grid.value.isna(),
    }
    words = [text for text, where in shown.items() if where.to_numpy().any()]
    if grid.reach.isna().to_numpy().all():
        words.append("no intervals at hand")
    return words


def _draw_cells(sheet, grid, metric) -> None:
    n_train, n_test = grid.value.shape
    axes = sheet.axes(sheet.left, sheet.top, sheet.cell * n_test, sheet.tall * n_train)
    axes.set(xlim=(0, n_test), ylim=(n_train, 0), xlabel="evaluated on", ylabel=grid.rows.axis)
    strip = any(grid.test_family.values()), any(grid.train_family.values())
    size = 9 if sheet.cell > 0.4 else 7
    axes.set_xticks(
        np.arange(n_test) + 0.5, grid.value.columns, rotation=40, ha="right", rotation_mode="anchor", fontsize=size
    )
    axes.set_yticks(np.arange(n_train) + 0.5, [_row_label(grid.rows, name) for name in grid.value.index], fontsize=size)
    for name, label in zip(grid.value.index, axes.get_yticklabels(), strict=True):
        label.set_fontweight("bold" if name == grid.rows.best else "normal")
    for axis, with_strip in zip("xy", strip, strict=True):
        axes.tick_params(axis=axis, pad=11 if with_strip else 4)
    axes.xaxis.set_label_position("top")
    axes.xaxis.label.set(fontsize=10, fontweight="bold")
    axes.yaxis.label.set(fontsize=10, fontweight="bold")
    for row, train in enumerate(grid.value.index):
        for column, test in enumerate(grid.value.columns):
            if grid.present.loc[train, test]:
                _draw_cell(axes, sheet, grid, metric, (train, test), (column, row))
    for row, column in zip(*np.nonzero(grid.own.to_numpy()), strict=True):
        axes.add_patch(
            Rectangle((column, row), 1, 1, fill=False, edgecolor="black", linewidth=1.8, clip_on=False, zorder=5)
        )


def _draw_cell(axes, sheet, grid, metric, names, at) -> None:
    value, reach = float(grid.value.loc[names]), float(grid.reach.loc[names])
    colour, ink = _colours(value, metric)
    axes.add_patch(Rectangle(at, 1, 1, facecolor=colour, edgecolor="white", linewidth=0.8))
    if bool(grid.unclear.loc[names]):
        axes.add_patch(Rectangle(at, 1, 1, fill=False, hatch="///", edgecolor=ink, linewidth=0, alpha=0.4))
    size, style = min(15.5 * sheet.cell + 1.3, 32 * sheet.tall), {"color": ink, "zorder": 4}
    mark = "▼" if bool(grid.inverted.loc[names]) else "▲" if value > 1.0 else ""
    corner = at[0] + 0.97, at[1] + 0.05
    axes.text(*corner, mark, fontsize=0.5 * size, gid="|".join(("mark", *names)), ha="right", va="top", **style)
    if _n_across(grid) > MOST_PRINTED:
        return
    style |= {"ha": "center", "va": "center", "path_effects": [withStroke(linewidth=2.2, foreground=colour)]}
    two_lines = max(grid.value.shape) <= MOST_WITH_WIDTH and np.isfinite(reach)
    x, y = at[0] + 0.5, at[1] + (0.37 if two_lines else 0.5)
    axes.text(x, y, _printed(value, metric), fontsize=size, gid="|".join(("cell", *names)), **style)
    if two_lines:
        axes.text(x, y + 0.35, f"±{_printed(reach, metric)}", fontsize=0.62 * size, **style)


def _colours(value, metric):
    """The cell's colour and the ink that is readable on it."""
    colour = UNDEFINED if np.isnan(value) else colormaps[MAPS[metric]](min(max(value, 0.0), 1.0))
    light = np.isnan(value) or float(np.dot(colour[:3], (0.299, 0.587, 0.114))) > 0.45
    return colour, "black" if light else "white"


def _printed(value, metric) -> str:
    if np.isnan(value):
        return "–"
    return f"{100 * value:.0f}" if metric == "recovered" else f"{value:.2f}"


def _finely(reach, metric) -> str:
    """A half width, never rounded to none."""
    return f"{100 * reach:.1f}" if metric == "recovered" and reach < 0.0095 else _printed(reach, metric)


def _draw_means(sheet, grid, metric) -> None:
    n_train, n_test = grid.value.shape
    axes = sheet.axes(sheet.left + sheet.cell * n_test + 0.16, sheet.top, sheet.cell, sheet.tall * n_train)
    axes.set(xlim=(0, 1), ylim=(n_train, 0), yticks=[])
    axes.set_xticks(
        [0.5], ["mean of others"], rotation=40, ha="right", rotation_mode="anchor", fontsize=9, fontstyle="italic"
    )
    defined, expected = (grid.value.notna() & ~grid.own).sum(axis=1), (~grid.own).sum(axis=1)
    size = min(15.5 * sheet.cell + 1.3, 11)
    for row, (name, mean) in enumerate(grid.means.iterrows()):
        colour, ink = _colours(mean["value"], metric)
        axes.add_patch(Rectangle((0, row), 1, 1, facecolor=colour, edgecolor="white", linewidth=0.8))
        below = [f"±{_finely(mean['reach'], metric)}"] if np.isfinite(mean["reach"]) else []
        below += [f"of {defined[name]}"] if defined[name] < expected[name] else []
        style = {"ha": "center", "va": "center", "color": ink}
        at = row + (0.5 if not below else 0.35 if sheet.tall < sheet.cell else 0.4)
        axes.text(0.5, at, _printed(mean["value"], metric), fontsize=size, gid=f"mean|{name}", **style)
        axes.text(0.5, row + 0.78, " ".join(below), fontsize=0.6 * size, **style)


def _draw_scale(sheet, grid, metric) -> None:
    n_train, n_test = grid.value.shape
    height = min(sheet.tall * n_train, 3.2)
    axes = sheet.axes(sheet.left + sheet.cell * (n_test + 1) + 0.42, sheet.top, 0.16, height)
    colours = ScalarMappable(Normalize(0.0, 1.0), MAPS[metric])
    bar = sheet.figure.colorbar(colours, cax=axes, ticks=[0, 0.25, 0.5, 0.75, 1])
    bar.outline.set_visible(False)
    percent = metric == "recovered"
    axes.set_yticklabels(
        [f"{100 * tick:.0f}" if percent else f"{tick:.2f}" for tick in (0, 0.25, 0.5, 0.75, 1)], fontsize=8
    )


def _draw_families(sheet, grid) -> None:
    names = list(dict.fromkeys(f for f in [*grid.train_family.values(), *grid.test_family.values()] if f))
    names = sorted(names) if grid.rows.as_given else names
    if not names:
        return
    colours = {name: FAMILIES[at % len(FAMILIES)] for at, name in enumerate(names)}
    n_train, n_test = grid.value.shape
    across = sheet.axes(sheet.left, sheet.top + sheet.tall * n_train + 0.04, sheet.cell * n_test, 0.08)
    across.set(xlim=(0, n_test), ylim=(0, 1), xticks=[], yticks=[])
    if any(grid.train_family.values()):
        down = sheet.axes(sheet.left - 0.12, sheet.top, 0.08, sheet.tall * n_train)
        down.set(xlim=(0, 1), ylim=(n_train, 0), xticks=[], yticks=[])
        for at, name in enumerate(grid.value.index):
            down.add_patch(Rectangle((0, at), 1, 1, facecolor=colours.get(grid.train_family[name], UNDEFINED)))
    for at, name in enumerate(grid.value.columns):
        across.add_patch(Rectangle((at, 0), 1, 1, facecolor=colours.get(grid.test_family[name], UNDEFINED)))
    handles = [Patch(facecolor=colour, label=name) for name, colour in colours.items()]
    page_width, page_height = sheet.figure.get_size_inches()
    corner = ((page_width - 0.1) / page_width, 1 - (sheet.top + min(sheet.tall * n_train, 3.2) + 0.25) / page_height)
    sheet.figure.legend(
        handles=handles, title="family", loc="upper right", bbox_to_anchor=corner, frameon=False, fontsize=8,
        title_fontsize=8, handlelength=1.0, borderaxespad=0.0,
    )  # fmt: skip
