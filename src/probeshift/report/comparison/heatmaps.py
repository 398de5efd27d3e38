"""Heatmaps of recovered accuracy: around the best probe (r1a to r1c), and from every training set to every test set (r3b)."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from probeshift.errors import UsageError
from probeshift.report.comparison.heading import span
from probeshift.report.comparison.study_figure import StudyFigure
from probeshift.report.comparison.wording import percent
from probeshift.report.cross_matrix import Rows, cross_matrix
from probeshift.summaries.beside_best import layers_beside_best, methods_beside_best, trains_beside_best
from probeshift.summaries.generalisation import train_test_means


def draw_methods(table: pd.DataFrame) -> Figure:
    """r1a: methods down, test sets across, from `methods_beside_best`."""
    best = _first(table)
    title = f"Methods trained on {best['best_train']}: recovered accuracy on other datasets"
    rows = Rows("method", "method", best["best_method"], as_given=True)
    return _beside_best(table, rows, title)


def draw_trains(table: pd.DataFrame) -> Figure:
    """r1b: training sets down, test sets across, from `trains_beside_best`."""
    rows = Rows("train", "trained on", _first(table)["best_train"], as_given=True)
    return _beside_best(table, rows, "Training sets of the best method: recovered accuracy on other datasets")


def draw_layers(table: pd.DataFrame) -> Figure:
    """r1c: layers down, test sets across, from `layers_beside_best`."""
    best = _first(table)
    title = f"Layers of {best['best_method']} trained on {best['best_train']}: recovered accuracy on other datasets"
    return _beside_best(table, Rows("layer", "layer", str(best["best_layer"]), as_given=True), title)


def draw_matrix(table: pd.DataFrame) -> Figure:
    """r3b: training sets down, test sets across, each cell a mean over methods and layers, from `train_test_means`."""
    first = _first(table)
    means = f"cells are means over {_count(first['n_layers'], 'layer')} ({first['cut_layer']} and deeper)"
    methods = f"{_count(table['n_methods'].max(), 'method')}, where a method can use the training set"
    caption = f"{means} and {methods}: {span(table['n_cells'])} probes per cell"
    return cross_matrix(
        table,
        metric="recovered",
        title="From each dataset to each: mean recovered accuracy of all probes",
        caption=_caption(caption, table),
        rows=Rows(as_given=True),
    )


def _beside_best(table, rows, title) -> Figure:
    best = _first(table)
    probe = f"{best['best_method']} on {best['best_train']}, layer {best['best_layer']}"
    caption = (
        f"best probe, chosen on the selection split: {probe}; it beats {percent(best['best_score'])} of the others"
    )
    # What the rows are is on the axis; the subtitle names what is held.
    shown = table.assign(row=table[rows.column].astype(str)).drop(columns=[] if rows.column == "train" else rows.column)
    if rows.column != "train":
        rows = Rows("row", rows.axis, rows.best, rows.as_given)
    return cross_matrix(shown, metric="recovered", title=title, caption=_caption(caption, table), rows=rows)


def _caption(words, table) -> str:
    """The words, how wide the intervals are (small cells have no room for their own), and what the protocol held in bounds."""
    reach = {
        "cells": 50 * (table["ci_high"] - table["ci_low"]),
        "row means": 50 * (table["row_high"] - table["row_low"]),
    }
    wide = [f"{name} ±{span(values, '{:.1f}')}" for name, values in reach.items() if values.notna().any()]
    words += f"; 95 % over questions: {', '.join(wide)}" if wide else ""
    return f"{words}; each probe is held within 0 and 100" if table["measure"].iloc[0] == "clipped" else words


def _first(table) -> pd.Series:
    if not len(table):
        raise UsageError(
            "the table of the heatmap is empty. Evaluate the best probe's method on more datasets and layers."
        )
    return table.iloc[0]


def _count(number, noun) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


FIGURES = (
    StudyFigure("r1a_by_algorithms", methods_beside_best, draw_methods),
    StudyFigure("r1b_by_train", trains_beside_best, draw_trains),
    StudyFigure("r1c_by_layer", layers_beside_best, draw_layers),
    StudyFigure("r3b_matrix", train_test_means, draw_matrix),
)
