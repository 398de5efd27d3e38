"""From and to, the tree of datasets, TruthfulQA and the validation figures: tables against planted strengths, figures against tables."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from simulated_study import FAMILY, Simulation, study
from test_anchors import FOLDER

from probeshift.errors import UsageError
from probeshift.report.comparison import clustering as tree_figures
from probeshift.report.comparison import scatter, validation
from probeshift.report.comparison.clustering import draw_clustering
from probeshift.report.comparison.scatter import draw_from_and_to, draw_truthful_qa
from probeshift.report.comparison.validation import draw_arc_easy, draw_got, draw_lda, draw_repe
from probeshift.summaries import Won
from probeshift.summaries.directions import clustering, distances, from_and_to, merges
from probeshift.summaries.generalisation import train_test_means
from probeshift.summaries.matrix_means import matrix_of
from probeshift.summaries.validation import (
    ON_ITSELF,
    REPE_LINES,
    arc_easy_by_layer,
    got_by_layer,
    lda_against_dim,
    own_accuracy,
    repe_by_layer,
    share_above,
    truthful_qa,
)

FIGURES = {figure.name: figure for module in (scatter, tree_figures, validation) for figure in module.FIGURES}
METHODS = ("dim", "lda", "lda-shrunk", "lr", "lr-g", "ridge", "ccs", "pca", "pca-g", "lat", "random")
SETS = (
    *FAMILY, "amazon_polarity", "ag_news", "dbpedia_14", "rte", "copa", "open_book_qa", "common_sense_qa", "arc_challenge",
    "got_sp_en_trans", "got_larger_than", "got_cities_cities_disj",
)  # fmt: skip


@pytest.fixture(scope="module")
def made():
    return study()


@pytest.fixture(scope="module")
def published():
    return study(Simulation(protocol="published"))


@pytest.fixture(scope="module")
def wide():
    """17 training sets and 11 methods."""
    return study(
        Simulation(methods=METHODS, trains=SETS, tests=(*SETS, "truthful_qa"), layers=(3, 8), n_questions=12), 40
    )


@pytest.fixture(scope="module")
def narrow():
    return study(
        Simulation(methods=("dim", "lda"), trains=("imdb", "boolq"), tests=("imdb", "boolq"), layers=(3, 6)), 40
    )


def words(figure):
    return "\n".join(text.get_text() for text in figure.findobj(Text))


def by_gid(figure, start):
    return {gid: a for a in figure.findobj() if (gid := str(a.get_gid())).startswith(start)}


# -- r3c ------------------------------------------------------------------------------------------------------------------


def naive_from_and_to(made, name):
    cells = made.cells[made.cells["method"].ne("random") & made.cells["test"].ne("truthful_qa")]
    if not made.published:
        cells = cells[cells["train"].ne(cells["test"]) & (cells["layer"] >= made.cut_layer)]
    column = "clipped" if made.published else "value"
    return cells[cells["train"] == name][column].mean(), cells[cells["test"] == name][column].mean()


@pytest.mark.parametrize("protocol", ["made", "published"])
def test_from_and_to_are_means_over_the_cells_the_protocol_counts(protocol, request):
    made = request.getfixturevalue(protocol)
    table = from_and_to(made)
    assert set(table["dataset"]) == set(FAMILY)
    for row in table.itertuples():
        assert (row.generalizes_from, row.generalizes_to) == pytest.approx(naive_from_and_to(made, row.dataset))
        assert row.from_low <= row.generalizes_from <= row.from_high and row.to_low < row.to_high
    assert table["generalizes_from"].is_monotonic_decreasing


def test_the_published_rule_counts_more_cells(made, published):
    strict, folded = (from_and_to(s).set_index("dataset") for s in (made, published))
    assert (folded["from_cells"] == 6 * 3 * 4).all() and (strict["from_cells"] == 5 * 3 * 3).all()


def test_a_set_that_teaches_and_a_set_that_is_easy_are_told_apart():
    def strength(method, train, layer, test):
        return (2.5 if train == "imdb" else 0.6) * (0.2 if test == "race" and train != "race" else 1.0)

    table = from_and_to(study(Simulation(strength=staticmethod(strength).__func__, n_questions=150))).set_index(
        "dataset"
    )
    assert table.index[0] == "imdb" and table["generalizes_to"].idxmin() == "race"
    assert table["generalizes_from"].idxmin() != "race"


def test_r3c_draws_each_dataset_at_its_means_with_both_bars(made):
    table = from_and_to(made)
    figure = draw_from_and_to(table)
    points = by_gid(figure, "point|")
    for row in table.itertuples():
        at = points[f"point|{row.dataset}"].get_xydata()[0]
        assert at == pytest.approx((row.generalizes_from, row.generalizes_to))
    axes = figure.axes[0]
    assert axes.get_xlim()[0] < table["from_low"].min() and table["from_high"].max() < axes.get_xlim()[1]
    bars = [path.vertices for c in axes.collections for path in c.get_paths()]
    for low, high in table[["to_low", "to_high"]].to_numpy():
        assert any(np.allclose(sorted(bar[:, 1]), (low, high)) for bar in bars)


def test_r3c_names_a_dataset_that_lacks_one_mean(made):
    table = from_and_to(made)
    assert "not shown" not in words(draw_from_and_to(table))
    table.loc[table["dataset"] == "race", ["generalizes_to", "to_low", "to_high"]] = np.nan
    figure = draw_from_and_to(table)
    assert "undefined: race" in words(figure) and "point|race" not in by_gid(figure, "point|")


def test_r3c_hollows_datasets_that_do_not_clear_guessing():
    weak = study(Simulation(strength=staticmethod(lambda *key: 1.5 if key[1] == key[3] else 0.0).__func__))
    table = from_and_to(weak)
    assert "hollow" in words(draw_from_and_to(table))
    faces = {a.get_markerfacecolor() for a in by_gid(draw_from_and_to(table), "point|").values()}
    strong = study(Simulation(strength=staticmethod(lambda *key: 3.0).__func__))
    filled = {a.get_markerfacecolor() for a in by_gid(draw_from_and_to(from_and_to(strong)), "point|").values()}
    assert faces == {"white"} and "white" not in filled


def test_no_set_trained_and_evaluated_is_a_clear_refusal():
    only = study(Simulation(trains=("imdb", "boolq"), tests=("imdb", "boolq")))
    rows = only.rows[~((only.rows["train"] == "boolq") & (only.rows["test"] == "imdb"))]
    with pytest.raises(UsageError, match="both trained and evaluated"):
        from_and_to(replace(only, rows=rows))


# -- r3d ------------------------------------------------------------------------------------------------------------------


def by_hand(apart):
    """Average linkage, naively: always join the two clusters with the least mean distance between their members."""
    clusters, steps = [frozenset([name]) for name in apart.index], []

    def mean(one, other):
        return np.mean([apart.loc[a, b] for a in one for b in other])

    while len(clusters) > 1:
        one, other = min(combinations(clusters, 2), key=lambda pair: mean(*pair))
        steps.append((mean(one, other), one | other))
        clusters = [c for c in clusters if c not in (one, other)] + [one | other]
    return steps


def random_matrix(seed, n=9):
    names = [f"set_{number}" for number in range(n)]
    return pd.DataFrame(np.random.default_rng(seed).uniform(0.4, 1.2, (n, n)), names, names)


@pytest.mark.parametrize("seed", range(5))
def test_merges_are_those_of_naive_average_linkage_even_below_zero(seed):
    matrix = random_matrix(seed)
    apart = distances(matrix)
    assert (apart.to_numpy() == apart.to_numpy().T).all() and (np.diag(apart) == 0).all()
    assert apart.loc["set_1", "set_4"] == 1 - (matrix.loc["set_1", "set_4"] + matrix.loc["set_4", "set_1"]) / 2
    steps, expected = merges(apart), by_hand(apart)
    np.testing.assert_allclose(steps["height"], [height for height, _ in expected])
    assert [frozenset(members) for members in steps["members"]] == [members for _, members in expected]


def planted(*key):
    return 3.0 if FAMILY[key[1]] == FAMILY.get(key[3]) else 0.4


def test_families_that_share_a_direction_are_clusters_with_full_support():
    made = study(Simulation(strength=staticmethod(planted).__func__, n_questions=200))
    table = clustering(made)
    joined = table[table["dataset"].isna()]
    for family in set(FAMILY.values()):
        members = {name for name in FAMILY if FAMILY[name] == family}
        row = joined[joined["members"].str.split(" + ", regex=False).map(set) == members]
        assert len(row) == 1 and row["support"].item() > 0.99
    assert list(table["family"].dropna()) == [FAMILY[name] for name in table["dataset"].dropna()]


def test_equal_datasets_are_clusters_without_support(made):
    joined = clustering(made).query("n_datasets == 2")
    assert len(joined) and joined["support"].max() < 0.9


@pytest.mark.parametrize("protocol", ["made", "published"])
def test_the_tree_is_that_of_the_r3b_matrix_with_bounds_around_its_heights(protocol, request):
    made = request.getfixturevalue(protocol)
    table = clustering(made)
    joined = table[table["dataset"].isna()]
    steps = merges(distances(matrix_of(train_test_means(made))))
    assert sorted(joined["height"]) == pytest.approx(sorted(steps["height"]))
    assert (joined["ci_low"] < joined["height"]).all() and (joined["height"] < joined["ci_high"]).all()
    # The last step joins all pairs of its two sides, each way, with three methods at three layers.
    last = joined.iloc[-1]
    sizes = [table.set_index("node").loc[int(node), "n_datasets"] for node in (last["left"], last["right"])]
    assert last["n_cells"] == sizes[0] * sizes[1] * 2 * 3 * 3


def test_without_correctness_heights_have_no_bounds_and_say_why(made):
    table = clustering(replace(made, won=Won({}, {})))
    joined = table[table["dataset"].isna()]
    assert joined[["ci_low", "ci_high", "support"]].isna().all(axis=None) and joined["height"].notna().all()
    assert joined["ci_reason"].str.contains("correctness").all()
    assert "no intervals at hand" in words(draw_clustering(table))


def test_undefined_pairs_and_lonely_sets_are_refused():
    matrix = random_matrix(0)
    matrix.loc["set_2", "set_5"] = np.nan
    with pytest.raises(UsageError, match="`set_2`, `set_5`"):
        distances(matrix)
    with pytest.raises(UsageError, match="two datasets"):
        distances(random_matrix(0).iloc[:, :1])


def test_r3d_joins_at_the_heights_of_its_table(made):
    table = clustering(made)
    figure = draw_clustering(table)
    branches = by_gid(figure, "merge|")
    for row in table[table["dataset"].isna()].itertuples():
        assert branches[f"merge|{row.node}"].get_xdata()[1:3] == pytest.approx([row.height] * 2)
    shown = by_gid(figure, "support|")
    assert len(shown) == len(branches) - 1  # the whole tree is always there
    labels = [t.get_text() for t in figure.findobj(Text) if t.get_text() in FAMILY and t.get_visible()]
    assert sorted(labels) == sorted(FAMILY)


# -- r4 -------------------------------------------------------------------------------------------------------------------


def test_truthful_qa_has_a_row_per_learned_probe_with_the_mean_over_other_sets(made):
    table = truthful_qa(made)
    assert len(table) == 3 * 6 * 4 and "random" not in set(table["method"])
    for row in table.iloc[::7].itertuples():
        cells = made.cells[
            made.cells["method"].eq(row.method) & made.cells["train"].eq(row.train) & made.cells["layer"].eq(row.layer)
        ]
        others = cells[~cells["test"].isin([row.train, "truthful_qa"])]
        assert row.recovered == pytest.approx(others["value"].mean()) and row.n_cells == len(others) == 5
        assert row.value == cells[cells["test"] == "truthful_qa"]["accuracy"].item() and row.chance == 0.25


@pytest.mark.parametrize("strength, low, high", [(2.0, 0.99, 1.0), (0.0, 0.2, 0.8), (-2.0, 0.0, 0.01)])
def test_probes_of_truth_beat_chance_on_truthful_qa_and_probes_of_likelihood_do_not(strength, low, high):
    def planted(method, train, layer, test):
        return strength if test == "truthful_qa" else 2.0

    share = share_above(truthful_qa(study(Simulation(strength=staticmethod(planted).__func__))), 0.25)
    assert share["n"] > 50 and low <= share["value"] <= high


def test_without_a_probe_above_80_percent_the_share_is_undefined(made):
    table = truthful_qa(made).assign(recovered=0.8)
    assert np.isnan(share_above(table, 0.25)["value"]) and share_above(table, 0.25)["n"] == 0
    assert "no probe recovers more than 80 %" in words(draw_truthful_qa(table))


def test_r4_prints_its_shares_and_draws_every_probe(made):
    table = truthful_qa(made)
    share = share_above(table, 0.25)
    figure = draw_truthful_qa(table)
    assert f"of {share['n']} probes above 80 % recovered, {share['wins']} are above chance (0.250)" in words(figure)
    assert "exact 95 %" not in words(figure) and "no interval: all answer the same questions" in words(figure)
    drawn = [tuple(at) for cloud in figure.axes[0].collections for at in cloud.get_offsets()]
    assert set(zip(table["recovered"], table["value"], strict=True)) <= set(drawn)


def test_literature_lines_on_truthful_qa_are_for_the_published_protocol_only(made, published):
    strict, folded = (draw_truthful_qa(truthful_qa(s)) for s in (made, published))
    assert len(by_gid(strict, "line|")) == 1 and "Llama" not in words(strict)
    lines = by_gid(folded, "line|")
    assert sorted(float(line.get_ydata()[0]) for line in lines.values()) == [0.25, 0.359, 0.503]
    table = truthful_qa(published)
    assert f"{share_above(table, 0.359)['wins']} are above 35.9 %" in words(folded) and "RepE paper" in words(folded)


def test_a_study_without_truthful_qa_says_how_to_get_it():
    with pytest.raises(UsageError, match="Add it to --datasets"):
        truthful_qa(study(Simulation(tests=tuple(FAMILY))))


# -- v1 to v4 -------------------------------------------------------------------------------------------------------------


def test_accuracy_at_home_is_that_of_the_rows_on_the_test_split(wide):
    table = got_by_layer(wide)
    assert len(table) == 2 * 3 * 2 and table["missing"].iloc[0] == ""
    rows = wide.rows[wide.rows["metric"].eq("accuracy") & wide.rows["split"].eq("test")]
    for row in table.itertuples():
        one = rows[
            rows["method"].eq(row.method)
            & rows["train"].eq(row.test)
            & rows["test"].eq(row.test)
            & rows["layer"].eq(row.layer)
        ]
        assert (row.value, row.ci_low, row.ci_high) == tuple(one[["value", "ci_low", "ci_high"]].iloc[0])
        assert row.ceiling == wide.ceilings.set_index("test").loc[row.test, "value"]
    v1 = arc_easy_by_layer(wide)
    assert set(v1["method"]) == set(METHODS) - {"random"} and set(v1["test"]) == set(v1["train"]) == {"arc_easy"}
    supervised = {"dim", "lda", "lda-shrunk", "lr", "lr-g", "ridge"}
    assert set(v1.loc[v1["supervised"], "method"]) == supervised


def test_what_was_not_evaluated_is_named(made, wide):
    assert repe_by_layer(wide)["missing"].iloc[0] == ""
    assert got_by_layer(made)["missing"].iloc[0] == "got_sp_en_trans, got_larger_than"
    table = own_accuracy(made, methods=("dim", "lat"), sets=("race", "piqa"))
    assert table["missing"].iloc[0] == "lat, piqa" and set(table["test"]) == {"race"}
    rows = made.rows[~(made.rows["method"].eq("lda") & made.rows["train"].eq("race"))]
    pair = own_accuracy(replace(made, rows=rows), methods=("dim", "lda"), sets=("race", "imdb"))
    assert pair["missing"].iloc[0] == "lda on race"
    assert "not evaluated, so not shown: got_sp_en_trans, got_larger_than" in words(draw_got(got_by_layer(made)))


@pytest.mark.parametrize("table, name", [(repe_by_layer, "lat"), (got_by_layer, "got_sp_en_trans")])
def test_nothing_to_show_names_the_command_that_gives_it(narrow, table, name):
    with pytest.raises(UsageError, match=f"Evaluate with --methods .*{name}"):
        table(narrow)


def test_v1_draws_supervised_methods_solid_and_others_dashed_over_chance_and_ceiling(wide):
    table = arc_easy_by_layer(wide)
    figure = draw_arc_easy(table)
    lines = {line.get_label(): line for axes in figure.axes for line in axes.lines}
    for method, part in table.groupby("method"):
        assert lines[method].is_dashed() != part["supervised"].all()
        np.testing.assert_array_equal(lines[method].get_ydata(), part.sort_values("layer")["value"])
    looks = {(line.get_color(), line.is_dashed()) for label, line in lines.items() if label in set(table["method"])}
    assert len(looks) == 10
    assert by_gid(figure, "chance|")["chance|arc_easy"].get_ydata()[0] == table["chance"].iloc[0]
    assert by_gid(figure, "ceiling|")["ceiling|arc_easy"].get_ydata()[0] == table["ceiling"].iloc[0]


def test_v2_has_a_panel_per_method_and_set(wide):
    figure = draw_got(got_by_layer(wide))
    titles = [title for title in words(figure).splitlines() if " on got_" in title]
    assert titles == [
        f"{m} on {s}, n = 12" for m in ("dim", "lda") for s in ("got_cities", "got_sp_en_trans", "got_larger_than")
    ]


def test_v3_draws_the_literature_in_the_colour_of_its_set(wide):
    figure = draw_repe(repe_by_layer(wide))
    lines = by_gid(figure, "literature|")
    assert {gid.split("|")[1]: line.get_ydata()[0] for gid, line in lines.items()} == REPE_LINES
    curves = {line.get_label(): line for axes in figure.axes for line in axes.lines}
    for gid, line in lines.items():
        assert line.get_color() == curves[gid.split("|")[1]].get_color()
    assert len({line.get_color() for line in lines.values()}) == 4
    assert "RepE paper's number for Llama-2-13B-chat" in words(figure)


def test_v4_compares_at_the_layer_of_the_best_probe_away_and_at_home(wide, made):
    table = lda_against_dim(wide)
    assert set(table["layer"]) == {wide.best.layer} and list(dict.fromkeys(table["trained_on"])) == ["boolq", ON_ITSELF]
    assert set(table["method"]) == {"dim", "lda", "lda-shrunk"} and set(table["test"]) == set(SETS)
    assert (table["train"] == np.where(table["trained_on"] == "boolq", "boolq", table["test"])).all()
    assert set(lda_against_dim(made)["method"]) == {"dim", "lda"} and lda_against_dim(made)["missing"].iloc[0] == ""


def test_v4_is_drawn_at_the_best_layer_and_not_at_the_last_one():
    def planted(method, train, layer, test):
        return 2.5 if layer == 3 else 0.5

    made = study(Simulation(strength=staticmethod(planted).__func__))
    assert set(lda_against_dim(made)["layer"]) == {3} and made.rows["layer"].max() == 8


def test_v4_marks_chance_and_ceiling_of_each_set(wide):
    table = lda_against_dim(wide)
    own = table[table["trained_on"] == ON_ITSELF].drop_duplicates("test").set_index("test")
    below = draw_lda(table).axes[1]
    names = [label.get_text() for label in below.get_xticklabels()]
    marks = {c.get_label(): [segment[0, 1] for segment in c.get_segments()] for c in below.collections}
    assert set(names) == set(SETS)
    for kind in ("chance", "ceiling"):
        assert marks[kind] == pytest.approx(list(own.loc[names, kind]))


def test_v4_without_boolq_takes_the_best_probe_s_training_set_and_says_so():
    trains = ("imdb", "race", "got_cities")
    made = study(Simulation(trains=trains, tests=trains, methods=("dim", "random")))
    table = lda_against_dim(made)
    assert table["trained_on"].iloc[0] == made.best.train and table["missing"].iloc[0] == "lda"
    assert f"{made.best.train} (of the best probe) in its place" in words(draw_lda(table))


def test_v4_draws_the_published_bars():
    """The published numbers as a table: LDA wins at home on the DLK sets, and loses where the set is another one."""
    anchor = pd.read_csv(FOLDER / "v4_lda_l21_acc.csv", index_col=0)
    table = pd.DataFrame(
        [
            {"method": method.lower(), "test": name, "trained_on": trained_on, "value": anchor.loc[name, f"train_{side}_{method}"]}
            for name in anchor.index
            for side, trained_on in (("boolq", "boolq"), ("eval", ON_ITSELF))
            for method in ("DIM", "LDA")
        ]
    ).assign(
        layer=21, ci_low=np.nan, ci_high=np.nan, chance=np.nan, ceiling=np.nan, n=np.nan, n_kind="questions", missing="",
        substitute="", test_family="any", model="Llama-2-13b-chat", protocol="published",
    )  # fmt: skip
    figure = draw_lda(table)
    assert "n = unknown" in words(figure) and "published procedure" in words(figure)
    groups = [bars for axes in figure.axes for bars in axes.containers if hasattr(bars, "patches")]
    heights = [[bar.get_height() for bar in bars] for bars in groups]
    np.testing.assert_array_equal(np.array(heights).T, anchor.to_numpy())


# -- all figures ----------------------------------------------------------------------------------------------------------

EVERYWHERE = [(name, size) for name in FIGURES for size in ("wide", "narrow")]
NOT_NARROW = {"v1_arc_easy", "v2_got", "v3_repe", "r4_truthful_qa"}


def test_the_figures_have_their_names():
    assert set(FIGURES) == {
        "r3c_to_and_from",
        "r3d_clustering",
        "r4_truthful_qa",
        "v1_arc_easy",
        "v2_got",
        "v3_repe",
        "v4_lda",
    }


@pytest.mark.parametrize("name", FIGURES)
def test_figures_say_model_and_protocol(name, wide):
    table = FIGURES[name].table(wide)
    strict = words(FIGURES[name].draw(table))
    assert "model simulated" in strict and "published procedure" not in strict
    assert "published procedure" in words(FIGURES[name].draw(table.assign(protocol="published")))
    assert "95 %" in strict and any(word in strict for word in ("questions", "cells"))


@pytest.mark.parametrize("name", FIGURES)
def test_empty_tables_are_refused(name, wide):
    with pytest.raises(UsageError, match="empty"):
        FIGURES[name].draw(FIGURES[name].table(wide).iloc[:0])


def ticks_out_of_range(figure):
    """Labels that matplotlib makes and never draws."""
    found = []
    for axis in (axis for axes in figure.axes for axis in (axes.xaxis, axes.yaxis)):
        low, high = sorted(axis.get_view_interval())
        slack = 1e-9 * (high - low)
        found += [t.label1 for t in axis.get_major_ticks() if not low - slack <= t.get_loc() <= high + slack]
    return found


@pytest.mark.parametrize("name, size", [pair for pair in EVERYWHERE if pair[1] == "wide" or pair[0] not in NOT_NARROW])
def test_no_words_overlap_and_none_leave_the_page(name, size, request):
    figure = FIGURES[name].draw(FIGURES[name].table(request.getfixturevalue(size)))
    FigureCanvasAgg(figure).draw()
    outside = ticks_out_of_range(figure)
    shown = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible() and t not in outside]
    shown = [text for text in shown if not str(text.get_gid()).startswith("support|")]  # they stand on branches
    boxes = [(text.get_text(), text.get_window_extent()) for text in shown]
    boxes = [(text, box) for text, box in boxes if box.width > 0 and figure.bbox.overlaps(box)]
    assert len(boxes) > 5
    for text, box in boxes:
        assert figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and figure.bbox.y0 <= box.y0, text
    slanted = {text.get_text() for text in shown if text.get_rotation() % 90}  # side by side, only their frames overlap
    boxes = [(text, box) for text, box in boxes if text not in slanted]
    for (one, first), (other, second) in combinations(boxes, 2):
        assert not first.padded(-1).overlaps(second.padded(-1)), (one, other)


@pytest.mark.parametrize("name", ["r3c_to_and_from", "r3d_clustering"])
def test_datasets_without_a_family_are_drawn_without_a_legend(name, made):
    table = FIGURES[name].table(made)
    assert "family" in words(FIGURES[name].draw(table))
    assert "family" not in words(FIGURES[name].draw(table.assign(family=None)))
