"""The figures r0 to r3b say what their tables say."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from simulated_study import Simulation, study

from probeshift.errors import UsageError
from probeshift.report.comparison import bars, heatmaps, layers_ecdf
from probeshift.report.cross_matrix import Rows, cross_matrix
from probeshift.report.palette import BLUE, ORANGE, PROTOCOL_WORDS

FIGURES = {figure.name: figure for module in (layers_ecdf, heatmaps, bars) for figure in module.FIGURES}
METHODS = ("dim", "lda", "lda-shrunk", "lr", "lr-g", "ccs", "pca", "pca-g", "lat", "ridge", "random")
SETS = ("imdb", "boolq", "arc_easy", "race", "got_cities", "got_cities_cities_conj",
        *(f"another_dataset_{number}" for number in range(11)))  # fmt: skip


def planted(method, train, layer, test):
    if method == "random" or layer < 3:
        return 0.0
    return (1.4 + 0.08 * METHODS.index(method)) * (1.4 if train == test else 1.0)


SIZES = {
    "usual": Simulation(strength=planted, methods=("dim", "lr", "ccs", "random")),
    "published": Simulation(strength=planted, methods=("dim", "lr", "ccs", "random"), protocol="published"),
    "large": Simulation(strength=planted, methods=METHODS, trains=SETS, tests=SETS, layers=(0, 6), n_questions=24),
    "small": Simulation(strength=planted, methods=("dim", "lr-g"), trains=SETS[:2], tests=SETS[:2], layers=(6,)),
    "deep": Simulation(strength=planted, methods=("dim",), trains=SETS[:3], tests=SETS[:3], layers=tuple(range(30)),
                       n_layers=30),
}  # fmt: skip


@cache
def table(name, size="usual") -> pd.DataFrame:
    return FIGURES[name].table(simulated(size))


@cache
def simulated(size):
    return study(SIZES[size], n_resamples=60)


def draw(name, size="usual", rows=None):
    figure = FIGURES[name].draw(table(name, size) if rows is None else rows)
    FigureCanvasAgg(figure).draw()
    return figure


def every_text(figure):
    parts = [figure, *figure.subfigs]
    texts = [text for part in parts for text in part.texts]
    for axes in figure.axes:
        texts += [*axes.texts, axes.title, axes.xaxis.label, axes.yaxis.label]
        texts += [label for axis in (axes.xaxis, axes.yaxis) for label in shown_labels(axis)]
    texts += [text for part in parts for legend in part.legends for text in legend.get_texts()]
    return [text for text in texts if text.get_text() and text.get_visible()]


def shown_labels(axis):
    """Labels of the ticks within the axis; the others are not drawn."""
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    return [label for tick in ticks for label in (tick.label1, tick.label2) if label.get_visible()]


def words(figure):
    """All that is written, however it is wrapped."""
    return " ".join(text.get_text().replace("\n", " ") for text in every_text(figure))


def by_gid(figure):
    artists = [artist for axes in figure.axes for artist in (*axes.texts, *axes.lines)]
    return {artist.get_gid(): artist for artist in artists if artist.get_gid()}


@pytest.mark.parametrize("name", FIGURES)
@pytest.mark.parametrize("size", ["published", "large", "small", "deep"])
def test_no_texts_overlap_and_none_leave_the_page(name, size):
    figure = draw(name, size)
    boxes = [(text.get_text(), text.get_window_extent()) for text in every_text(figure)]
    page = figure.bbox
    for text, box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1, text
    # Slanted labels have boxes that overlap where their letters do not.
    slanted = {text.get_text() for text in every_text(figure) if text.get_rotation() % 90}
    straight = [(text, box) for text, box in boxes if text not in slanted and text not in ("▲", "▼")]
    for (one, box), (other, other_box) in combinations(straight, 2):
        assert not box.overlaps(other_box), (one, other)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_names_model_protocol_counts_and_guessing(name):
    strict, published = (words(draw(name, size)) for size in ("usual", "published"))
    assert PROTOCOL_WORDS["strict"] in strict and "published" not in strict
    assert PROTOCOL_WORDS["published"] in published and "within 0 and 100" in published
    for part in ("model simulated", "guessing", "95 %", "questions"):
        assert part in strict


@pytest.mark.parametrize(
    "name, rows", [("r1a_by_algorithms", "method"), ("r1b_by_train", "train"), ("r1c_by_layer", "layer")]
)
def test_heatmaps_print_every_cell_and_set_the_best_row_in_bold(name, rows):
    shown = table(name)
    figure = draw(name)
    texts = {gid: text.get_text() for gid, text in by_gid(figure).items()}
    for cell in shown.itertuples():
        expected = "–" if np.isnan(cell.value) else f"{100 * cell.value:.0f}"
        assert texts[f"cell|{getattr(cell, rows)}|{cell.test}"] == expected
        assert texts[f"mean|{getattr(cell, rows)}"] == (
            "–" if np.isnan(cell.row_value) else f"{100 * cell.row_value:.0f}"
        )
    labels = figure.axes[0].get_yticklabels()
    best = str(getattr(simulated("usual").best, rows))
    assert [label.get_text() for label in labels if label.get_fontweight() == "bold"] == [f"{best} (best)"]
    assert [label.get_text().split(" ")[0] for label in labels] == [str(name) for name in dict.fromkeys(shown[rows])]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == list(dict.fromkeys(shown["test"]))
    assert "chosen on the selection split" in words(figure)


def test_a_training_set_the_best_method_cannot_use_is_a_grey_row():
    conj = "got_cities_cities_conj"
    rows = table("r1b_by_train")
    assert simulated("usual").best.method == "ccs" and rows.loc[rows["train"] == conj, "value"].isna().all()
    texts = {gid: text.get_text() for gid, text in by_gid(draw("r1b_by_train")).items()}
    shown = [text for gid, text in texts.items() if gid.startswith(f"cell|{conj}|")]
    assert shown == ["–"] * len(shown) and shown
    assert "–" not in [text for gid, text in texts.items() if gid.startswith("cell|boolq|")]


def test_the_matrix_outlines_the_diagonal_and_its_means_leave_it_out():
    shown = table("r3b_matrix")
    figure = draw("r3b_matrix")
    outlined = [patch for patch in figure.axes[0].patches if not patch.get_fill() and not patch.get_hatch()]
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert len(outlined) == 6 and all(patch.get_x() == patch.get_y() for patch in outlined)
    assert (
        names == [label.get_text() for label in figure.axes[0].get_xticklabels()] == list(dict.fromkeys(shown["train"]))
    )
    texts = {gid: text.get_text() for gid, text in by_gid(figure).items()}
    away = shown[~shown["in_distribution"]].groupby("train")["value"].mean()
    assert all(texts[f"mean|{train}"] == f"{100 * value:.0f}" for train, value in away.items())
    assert "means over 3 layers (3 and deeper) and 3 methods" in words(figure) and "6–9 probes per cell" in words(
        figure
    )


def test_cells_no_better_than_guessing_are_hatched_and_inverted_ones_marked():
    rows = table("r3b_matrix").copy()
    rows[["value", "ci_low", "ci_high", "chance"]] = [0.9, 0.8, 1.0, 0.55]
    rows.loc[1, ["value", "ci_low", "ci_high"]] = [0.56, 0.5, 0.6]
    rows.loc[2, ["value", "ci_low", "ci_high"]] = [0.3, 0.2, 0.4]
    figure = draw("r3b_matrix", rows=rows)
    assert sum(bool(patch.get_hatch()) for patch in figure.axes[0].patches) == 1
    marked = [gid for gid, text in by_gid(figure).items() if text.get_text() == "▼"]
    assert marked == [f"mark|{rows.loc[2, 'train']}|{rows.loc[2, 'test']}"]


def test_many_layers_keep_their_numbers_and_many_training_sets_do_not():
    texts = by_gid(draw("r1c_by_layer", "deep"))
    assert sum(gid.startswith("cell|") for gid in texts) == 60
    rows = table("r1c_by_layer", "deep").assign(train=lambda cells: [f"set_{layer}" for layer in cells["layer"]])
    figure = cross_matrix(rows.drop(columns="row_value"), metric="recovered", title="t")
    assert not any(gid.startswith("cell|") for gid in by_gid(figure))


def test_rows_as_given_keep_their_order_and_others_stand_by_family():
    rows = table("r3b_matrix").sort_values(["train", "test"])  # the alphabet mixes families
    names = list(dict.fromkeys(rows["train"]))
    families = [dict(zip(rows["train"], rows["train_family"], strict=True))[name] for name in names]
    assert families != sorted(families, key=families.index)
    figure = cross_matrix(rows, metric="recovered", title="t")
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == sorted(
        names, key=lambda name: families.index(families[names.index(name)])
    )
    figure = cross_matrix(rows, metric="recovered", title="t", rows=Rows(as_given=True))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == names


def bars_of(axes):
    return [patch for patch in axes.patches if patch.get_height() == pytest.approx(0.7)]


@pytest.mark.parametrize("name", ["r2_probes", "r3a_datasets"])
def test_bars_are_the_means_plain_and_above_chance_with_the_control_as_a_line(name):
    shown = table(name)
    learned, control = shown[shown["kind"] == "learned"], shown[shown["kind"] == "control"].iloc[0]
    figure = draw(name)
    for axes, column, low, high in zip(
        figure.axes, ("value", "corrected"), ("ci_low", "corrected_low"), ("ci_high", "corrected_high"), strict=True
    ):
        np.testing.assert_allclose([bar.get_width() for bar in bars_of(axes)], 100 * learned[column])
        at = [line.get_xdata()[0] for line in axes.lines if line.get_xdata()[0] == line.get_xdata()[1]]
        chance = np.average(learned["chance"], weights=learned["n_cells"]) if column == "value" else 0.0
        assert at == pytest.approx([100 * control[column], 100 * chance, 100])
        texts = [text.get_text() for text in axes.texts if text.get_gid()]
        assert texts == [
            f"{100 * row[column]:.1f} [{100 * row[low]:.1f}, {100 * row[high]:.1f}]" for _, row in learned.iterrows()
        ]
    assert f"control random on the same cells: {100 * control['value']:.1f} [" in words(figure)
    names = [label.get_text().split(" ")[0] for label in figure.axes[0].get_yticklabels()]
    assert names == list(learned["name"]) and "cells)" in figure.axes[0].get_yticklabels()[0].get_text()


def test_bars_of_methods_tell_supervised_by_colour_and_grouped_by_hatching():
    learned = table("r2_probes", "large").query("kind == 'learned'")
    drawn = bars_of(draw("r2_probes", "large").axes[0])
    looks = [(to_hex(bar.get_facecolor()).upper(), bool(bar.get_hatch())) for bar in drawn]
    told = dict(zip(learned["name"], looks, strict=True))
    blue, orange = BLUE.upper(), ORANGE.upper()
    assert told == {
        "dim": (blue, False), "lda": (blue, False), "lda-shrunk": (blue, False), "lr": (blue, False),
        "ridge": (blue, False), "lr-g": (blue, True), "ccs": (orange, True), "pca-g": (orange, True),
        "pca": (orange, False), "lat": (orange, False),
    }  # fmt: skip


def test_bars_of_training_sets_share_a_colour_within_a_family_only():
    learned = table("r3a_datasets").query("kind == 'learned'")
    colours = [to_hex(bar.get_facecolor()) for bar in bars_of(draw("r3a_datasets").axes[0])]
    pairs = set(zip(learned["family"], colours, strict=True))
    assert len(pairs) == len(dict(pairs)) == len(set(colours)) == 3
    assert not any(bar.get_hatch() for bar in bars_of(draw("r3a_datasets").axes[0]))


def test_bars_say_which_sets_have_no_clear_ceiling_and_nothing_when_all_are_clear():
    shown = table("r2_probes").copy()
    assert "left out above chance" not in words(draw("r2_probes"))
    shown[["corrected_low", "corrected_high"]] = np.nan
    figure = draw("r2_probes", rows=shown.assign(unclear="boolq", below_chance="race"))
    assert "left out above chance, with other questions their ceiling can fall to it: boolq" in words(figure)
    assert "left out above chance, their ceiling is not above it: race" in words(figure)
    assert all("[" in t.get_text() for t in figure.axes[0].texts) and not any(
        "[" in t.get_text() for t in figure.axes[1].texts
    )


def test_bars_without_a_control_draw_no_line_for_it():
    shown = table("r2_probes").query("kind == 'learned'")
    figure = draw("r2_probes", rows=shown)
    assert "control" not in words(figure) and "control" in words(draw("r2_probes"))


def test_layer_curves_rise_in_steps_at_the_means_of_their_probes():
    shown = table("r0_acc_by_layer")
    lines = by_gid(draw("r0_acc_by_layer"))
    probes = shown[(shown["kind"] == "probe") & (shown["series"] == "learned")]
    for layer, part in probes.groupby("layer"):
        x, y = lines[f"layer|{layer}"].get_data()
        means = part["value"].to_numpy(dtype=float)
        np.testing.assert_allclose(x[1:], 100 * np.sort(means))
        middle = (x[1:-1] + x[2:]) / 2  # between two steps the curve is the share of probes below
        np.testing.assert_allclose(y[1:-1], [100 * np.mean(means <= at / 100 + 1e-12) for at in middle])
        assert y[0] == 0 and y[-1] == 100 and lines[f"layer|{layer}"].get_drawstyle() == "steps-post"


def test_layer_shares_stand_beside_the_curves_and_the_overall_share_in_words():
    shown = table("r0_acc_by_layer")
    figure = draw("r0_acc_by_layer")
    marks = by_gid(figure)
    learned = shown[shown["series"] == "learned"]
    for row in learned[learned["kind"] == "share of a layer"].itertuples():
        assert marks[f"share|{row.layer}"].get_ydata()[0] == 100 * row.value
    overall = learned[learned["kind"] == "share from the cut layer on"].iloc[0]
    said = f"above 80 % from layer 3 on: {100 * overall['value']:.0f} % [{100 * overall['ci_low']:.0f}, "
    assert said in words(figure) and f"of {overall['n_probes']} probes" in words(figure)
    assert "own set excluded" in words(figure) and "own set included" in words(draw("r0_acc_by_layer", "published"))


def test_thirty_layers_are_all_drawn_in_colours_of_their_own_and_only_some_named():
    figure = draw("r0_acc_by_layer", "deep")
    curves = {gid: line for gid, line in by_gid(figure).items() if gid.startswith("layer|")}
    assert len(curves) == 30 == len({to_hex(line.get_color()) for line in curves.values()})
    assert len(figure.axes[1].get_xticks()) <= 16 < 30 and "control" not in words(figure)


def test_missing_intervals_are_said_and_not_drawn():
    shown = table("r0_acc_by_layer").copy()
    assert "no interval for some" not in words(draw("r0_acc_by_layer"))
    shown[["ci_low", "ci_high"]], shown["ci_reason"] = np.nan, "per-question correctness is not at hand"
    figure = draw("r0_acc_by_layer", rows=shown)
    assert "no interval for some: per-question correctness is not at hand" in words(figure)
    assert len(figure.axes[1].lines) < len(draw("r0_acc_by_layer").axes[1].lines)
    matrix = table("r3b_matrix").copy()
    matrix[["ci_low", "ci_high", "row_low", "row_high"]] = np.nan
    assert "no intervals at hand" in words(draw("r3b_matrix", rows=matrix)) and "±" not in words(
        draw("r3b_matrix", rows=matrix)
    )


@pytest.mark.parametrize("name", FIGURES)
def test_empty_tables_are_refused(name):
    with pytest.raises(UsageError, match="empty"):
        FIGURES[name].draw(table(name).iloc[:0])
