"""Figures say what their tables say."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread

from probeshift.errors import UsageError
from probeshift.report.figures import cross_matrix, layer_curve, save_figure


def table(n_sets=5, *, metric="auroc", protocol="strict", family=None, seed=0):
    rng = np.random.default_rng(seed)
    names = [f"dataset_{number}" for number in range(n_sets)]
    value = np.clip(0.9 * np.eye(n_sets) + rng.uniform(0.3, 0.8, (n_sets, n_sets)) * (1 - np.eye(n_sets)), 0, 1)
    return pd.DataFrame(
        [
            {
                "model": "tiny", "method": "dim", "layer": 4, "protocol": protocol, "metric": metric, "train": train,
                "test": test, "value": value[a, b], "ci_low": value[a, b] - 0.06, "ci_high": value[a, b] + 0.06,
                "n": 60 + 10 * b, "n_kind": "questions", "chance": 0.5, "in_distribution": a == b, "reason": None,
                "train_family": family and family[a % len(family)], "test_family": family and family[b % len(family)],
            }
            for a, train in enumerate(names)
            for b, test in enumerate(names)
        ]
    )  # fmt: skip


def texts(figure):
    """All texts of a figure by gid, and the joined rest."""
    every = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    return {text.get_gid(): text.get_text() for text in every if text.get_gid()}, "\n".join(t.get_text() for t in every)


@pytest.mark.parametrize("metric, pattern", [("auroc", "{:.2f}"), ("accuracy", "{:.2f}"), ("recovered", "{:.0f}")])
def test_every_cell_prints_its_number(metric, pattern):
    rows = table(metric=metric)
    marked, _ = texts(cross_matrix(rows, metric=metric, title="t"))
    scale = 100 if metric == "recovered" else 1
    for cell in rows.itertuples():
        assert marked[f"cell|{cell.train}|{cell.test}"] == pattern.format(cell.value * scale)
    others = rows[(rows["train"] == "dataset_2") & ~rows["in_distribution"]]["value"].mean()
    assert marked["mean|dataset_2"] == pattern.format(others * scale)


def test_half_widths_are_printed_while_there_is_room():
    assert "±0.06" in texts(cross_matrix(table(5), metric="auroc", title="t"))[1]
    assert "±" not in texts(cross_matrix(table(9), metric="auroc", title="t"))[1]
    assert "cell|dataset_0|dataset_1" not in texts(cross_matrix(table(21), metric="auroc", title="t"))[0]


def test_published_and_strict_say_so():
    words = "published procedure: sign and threshold chosen on evaluation labels"
    assert words in texts(cross_matrix(table(9, protocol="published"), metric="auroc", title="t"))[1]
    strict = texts(cross_matrix(table(9), metric="auroc", title="t"))[1]
    assert "sign and threshold from training data" in strict and "published" not in strict


def test_the_subtitle_names_model_layer_method_n_and_chance():
    words = texts(cross_matrix(table(9), metric="auroc", title="My title", caption="Simulated."))[1]
    for part in (
        "My title",
        "model tiny",
        "layer 4",
        "method dim",
        "n = 60–140 questions",
        "chance 0.50",
        "Simulated.",
    ):
        assert part in words


def hatched(figure):
    return sum(bool(patch.get_hatch()) for patch in figure.axes[0].patches)


def test_cells_that_include_chance_are_hatched_and_inverted_ones_marked():
    rows = table(4)
    rows["value"], rows["ci_low"], rows["ci_high"] = 0.8, 0.7, 0.9
    rows.loc[1, ["value", "ci_low", "ci_high"]] = [0.52, 0.45, 0.6]
    rows.loc[2, ["value", "ci_low", "ci_high"]] = [0.2, 0.1, 0.49]
    figure = cross_matrix(rows, metric="auroc", title="t")
    marked, words = texts(figure)
    assert hatched(figure) == 1
    assert [gid for gid, text in marked.items() if text == "▼"] == ["mark|dataset_0|dataset_2"]
    assert "inverted" in words and "hatched" in words and "above the ceiling" not in words


def test_recovered_cells_are_hatched_by_their_accuracy_not_by_a_loose_ceiling():
    rows = table(4, metric="recovered")
    rows["value"], rows["ci_low"], rows["ci_high"] = 1.0, 0.4, 1.9  # a ratio that may be anything
    assert hatched(cross_matrix(rows, metric="recovered", title="t")) == len(rows)
    rows["accuracy_low"], rows["accuracy_high"], rows["chance_accuracy"] = 0.6, 0.7, 0.5
    rows.loc[1, ["accuracy_low", "accuracy_high"]] = [0.45, 0.55]
    rows.loc[2, ["accuracy_low", "accuracy_high"]] = [0.3, 0.4]
    figure = cross_matrix(rows, metric="recovered", title="t")
    marked, words = texts(figure)
    assert hatched(figure) == 1
    assert [gid for gid, text in marked.items() if text == "▼"] == ["mark|dataset_0|dataset_2"]
    rows["n_kind"], rows["chance_accuracy"] = "rows", 0.55  # the larger class: always giving the other answer gets 0.45
    rows.loc[3, ["accuracy_low", "accuracy_high"]] = [0.38, 0.52]
    marked, _ = texts(cross_matrix(rows, metric="recovered", title="t"))
    assert [gid for gid, text in marked.items() if text == "▼"] == ["mark|dataset_0|dataset_2"]
    assert "hatched: the 95 % interval of the accuracy includes chance" in words.replace("\n", " ")


def test_undefined_cells_are_dashes_and_leave_the_mean():
    rows = table(4)
    rows.loc[1, ["value", "ci_low", "ci_high"]] = np.nan
    marked, words = texts(cross_matrix(rows, metric="auroc", title="t"))
    assert marked["cell|dataset_0|dataset_1"] == "–" and "of 2" in words
    assert marked["mean|dataset_0"] == f"{rows.loc[[2, 3], 'value'].mean():.2f}"


def test_values_above_the_ceiling_are_printed_and_marked():
    rows = table(3, metric="recovered")
    rows.loc[1, ["value", "ci_low", "ci_high"]] = [1.26, 1.1, 1.4]
    marked, words = texts(cross_matrix(rows, metric="recovered", title="t"))
    assert marked["cell|dataset_0|dataset_1"] == "126" and marked["mark|dataset_0|dataset_1"] == "▲"
    assert "above the ceiling" in words


def test_cells_without_a_row_stay_empty_and_evaluation_only_sets_come_last():
    rows = table(3)
    rows = rows[rows["train"] != "dataset_0"]
    figure = cross_matrix(rows, metric="auroc", title="t")
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["dataset_1", "dataset_2", "dataset_0"]
    marked, _ = texts(cross_matrix(rows.drop(index=4), metric="auroc", title="t"))
    assert "cell|dataset_1|dataset_1" not in marked


def test_families_stand_together_and_are_named():
    figure = cross_matrix(table(6, family=("dlk", "got")), metric="auroc", title="t")
    ticks = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert ticks == [f"dataset_{number}" for number in (0, 2, 4, 1, 3, 5)]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dlk", "got"]


@pytest.mark.parametrize("n_sets", [2, 5, 17])
def test_no_labels_overlap_and_none_leave_the_page(n_sets):
    family = ("a", "b", "c") if n_sets == 17 else None
    figure = cross_matrix(table(n_sets, family=family), metric="auroc", title="A title of usual length for a figure")
    FigureCanvasAgg(figure).draw()
    page = figure.bbox
    cells = figure.axes[0]
    boxes = [text.get_window_extent() for text in figure.texts]
    boxes += [label.get_window_extent() for axis in (cells.xaxis, cells.yaxis) for label in axis.get_ticklabels()]
    boxes += [cells.xaxis.label.get_window_extent(), cells.yaxis.label.get_window_extent()]
    for box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
    rows = [label.get_window_extent() for label in cells.yaxis.get_ticklabels()]
    assert not any(one.overlaps(other) for one, other in pairwise(rows))
    for note in figure.texts:
        assert not any(note.get_window_extent().overlaps(box) for box in boxes[len(figure.texts) :])


def test_a_matrix_of_many_layers_or_an_unknown_metric_is_refused():
    rows = table(3)
    with pytest.raises(UsageError, match="Keep one layer"):
        cross_matrix(pd.concat([rows, rows.assign(layer=8)]), metric="auroc", title="t")
    with pytest.raises(UsageError, match="Nearest: `auroc`"):
        cross_matrix(rows, metric="auc", title="t")
    with pytest.raises(UsageError, match="empty"):
        cross_matrix(rows.iloc[:0], metric="auroc", title="t")


def curve(protocol="strict"):
    return pd.DataFrame(
        [
            {
                "series": series, "layer": layer, "metric": "accuracy", "method": "dim", "protocol": protocol,
                "value": height + layer / 100, "ci_low": height + layer / 100 - 0.03, "n_cells": 6, "chance": 0.5,
                "ci_high": height + layer / 100 + 0.03,
            }
            for series, height in (("in-distribution", 0.7), ("out-of-distribution mean", 0.6), ("control", 0.5))
            for layer in (0, 4, 8)
        ]
    )  # fmt: skip


def test_layer_curves_draw_the_table_with_bands_and_chance():
    rows = curve()
    figure = layer_curve(rows, title="t", model="tiny")
    axes = figure.axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines) == [
        "in-distribution, 6 cells",
        "out-of-distribution mean, 6 cells",
        "control, 6 cells",
        "chance, 0.50",
    ]
    np.testing.assert_allclose(lines["in-distribution, 6 cells"].get_ydata(), [0.7, 0.74, 0.78])
    np.testing.assert_allclose(lines["chance, 0.50"].get_ydata(), 0.5)
    assert len(axes.collections) == 3 and axes.get_xlabel().startswith("layer")
    assert "published procedure" in texts(layer_curve(curve("published"), title="t"))[1]


def test_layer_curves_survive_undefined_points_and_missing_intervals():
    rows = curve()
    rows.loc[1, ["value", "ci_low", "ci_high"]] = np.nan
    rows[["ci_low", "ci_high", "chance"]] = np.nan
    axes = layer_curve(rows, title="t").axes[0]
    assert np.isnan(axes.lines[0].get_ydata()[1]) and len(axes.lines) == 3


def test_figures_of_tables_without_one_defined_value():
    nothing = {"value": np.nan, "ci_low": np.nan, "ci_high": np.nan, "chance": np.nan, "n": np.nan}
    marked, words = texts(cross_matrix(table(3).assign(**nothing), metric="auroc", title="t"))
    assert {text for gid, text in marked.items() if not gid.startswith("mark")} == {"–"}
    assert "n unknown" in words and "chance unknown" in words
    layer_curve(curve().assign(value=np.nan, ci_low=np.nan, ci_high=np.nan, chance=np.nan), title="t")
    with pytest.raises(UsageError, match="empty"):
        layer_curve(curve().iloc[:0], title="t")


def test_saving_writes_the_picture_and_its_table_reproducibly(tmp_path):
    rows = table(5)
    png, csv = save_figure(cross_matrix(rows, metric="auroc", title="t"), tmp_path / "one" / "matrix.png", rows)
    again, _ = save_figure(cross_matrix(rows, metric="auroc", title="t"), tmp_path / "two" / "matrix", rows)
    assert (png.name, csv.name) == ("matrix.png", "matrix.csv") and png.read_bytes() == again.read_bytes()
    assert imread(png).shape[1] > 800
    read = pd.read_csv(csv)
    np.testing.assert_array_equal(read["value"], rows["value"])
    assert read[["train", "test"]].equals(rows[["train", "test"]].astype(read["train"].dtype))


@pytest.mark.parametrize(
    "module, absent",
    [
        ("probeshift.report.figures", ["matplotlib.pyplot", "torch", "transformers"]),
        ("probeshift.metrics", ["pandas", "matplotlib", "torch", "sklearn"]),
    ],
)
def test_rooms_load_without_what_they_do_not_need(module, absent):
    code = f"import sys, {module}; print([name for name in {absent} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
