"""The report's data side: what is packed is what was saved, texts cannot act, details agree with the rows, changes are told from noise."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from report_run import EVIL_TEXTS, LAYER, METHODS, SETS, write_run
from scipy.stats import binomtest
from sklearn.metrics import roc_curve

from probeshift.errors import StoreError, UsageError
from probeshift.experiments.details import write_details
from probeshift.report.html.details import read_details
from probeshift.report.html.limits import limits
from probeshift.report.html.orders import families, orders
from probeshift.report.html.overview import starting_view
from probeshift.report.html.packing import NULL, compressed, pack
from probeshift.report.html.plain_text import shown_text
from probeshift.report.html.run_folder import RunFolder, open_runs
from probeshift.results import ResultFolder
from probeshift.summaries.run_changes import BEYOND, EQUAL, OPEN, PAIRED, UNPAIRED, WITHIN, changes, sign_test
from probeshift.summaries.score_shapes import N_RATES, N_WORST, score_shapes

WEB = Path(__file__).parents[1] / "web"
BUNDLE = Path(__file__).parents[1] / "src/probeshift/report/html/bundle"


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("report")
    folder = write_run(home / "run", home / "acts")
    write_details(folder, LAYER)
    return folder


@pytest.fixture(scope="module")
def page(run_folder):
    from probeshift.report.html import build_page

    return build_page(open_runs([run_folder]))


def unpack(packed):
    """A second reader of the packed bytes, written from the description of the format alone."""
    found, n = {}, packed.header["rows"]
    for column in packed.header["columns"]:
        raw, kind = packed.data[column["offset"] :], column["kind"]
        if kind == "category":
            codes = np.frombuffer(raw, f"<u{np.dtype(column['type']).itemsize}", n)
            found[column["name"]] = [column["values"][c] if c < len(column["values"]) else None for c in codes]
        elif kind in ("integer", "decimal"):
            planes = np.frombuffer(raw, np.uint8, 4 * n).reshape(4, n).T
            whole = np.ascontiguousarray(planes).view("<i4")[:, 0]
            found[column["name"]] = [None if v == NULL else v / 10 ** column.get("places", 0) for v in whole.tolist()]
        else:
            assert kind == "real"
            found[column["name"]] = [None if np.isnan(v) else v for v in np.frombuffer(raw, "<f8", n)]
    return found


def test_packed_columns_unpack_to_the_saved_values():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({
        "value": np.where(rng.random(500) < 0.1, np.nan, rng.normal(size=500)), "n": rng.integers(0, 10**6, 500),
        "huge": rng.normal(size=500) * 1e12, "name": rng.choice(["a", "b", None], 500), "flag": rng.random(500) < 0.5,
        "nothing": [None] * 500, "maybe": np.where(rng.random(500) < 0.5, np.nan, 3.0),
    })  # fmt: skip
    found = unpack(pack(table))
    for name in ("value", "n", "huge", "maybe"):
        read = np.array([np.nan if v is None else v for v in found[name]])
        # Five decimals are kept: half a unit of the last is lost, and another unit where the fourth would round otherwise.
        np.testing.assert_allclose(read, table[name].to_numpy(dtype=float), atol=1.500001e-5, rtol=1e-15)
    assert found["name"] == [None if pd.isna(v) else v for v in table["name"]]
    assert found["flag"] == [("no", "yes")[v] for v in table["flag"]]
    assert found["nothing"] == [None] * 500


def test_a_packed_value_is_shown_as_the_saved_one_is():
    rng = np.random.default_rng(1)
    near_ties = np.arange(0.0055, 1, 0.0005) - rng.random(1989) * 4.9e-6
    saved = np.concatenate([rng.random(20_000), near_ties, -near_ties, rng.integers(0, 200, 500) / 200])
    packed = np.array(unpack(pack(pd.DataFrame({"value": saved})))["value"])
    for places in (2, 3, 4):
        assert [f"{v:.{places}f}" for v in packed] == [f"{v:.{places}f}" for v in saved]
    plain = np.round(saved, 5)  # the twin: rounding twice shows other digits
    assert [f"{v:.3f}" for v in plain] != [f"{v:.3f}" for v in saved]


def test_more_names_than_a_byte_holds_still_unpack():
    table = pd.DataFrame({"name": [f"n{i}" for i in range(255)] + [None]})
    assert unpack(pack(table))["name"] == [*(f"n{i}" for i in range(255)), None]
    wider = pd.DataFrame({"name": [f"n{i}" for i in range(256)] + [None]})
    assert pack(wider).header["columns"][0]["type"] == "uint16"
    assert unpack(pack(wider))["name"][-2:] == ["n255", None]


def test_compressed_bytes_are_raw_deflate_in_base64():
    data = bytes(range(256)) * 50
    assert zlib.decompress(base64.b64decode(compressed(data)), -15) == data


def test_characters_that_act_are_written_out_and_long_texts_are_cut():
    assert shown_text("a\u202eb\u2028c\x00\ud800") == "a⟦U+202E⟧b⟦U+2028⟧c⟦U+0000⟧⟦U+D800⟧"
    assert shown_text("plain äöü 漢字 \n\tשלום") == "plain äöü 漢字 \n\tשלום"  # letters of any script stay
    long = shown_text("x" * 1_000_000)
    assert len(long) < 2100 and "1,000,000 characters" in long


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.scripts, self.others = [], []

    def handle_starttag(self, tag, attributes):
        (self.scripts if tag == "script" else self.others).append(dict(attributes) if tag == "script" else tag)


def test_no_text_of_the_data_stands_in_the_markup(page):
    parsed = Tags()
    parsed.feed(page)
    run_by_browser = [s for s in parsed.scripts if s.get("type") != "application/octet-stream"]
    assert len(run_by_browser) == 1 and "src" not in run_by_browser[0]
    assert {"img", "base", "b", "iframe", "object"}.isdisjoint(parsed.others)
    assert not any(text[:60] in page for text in EVIL_TEXTS) and "hacked" not in page
    blobs = [part.split("</script>")[0] for part in page.split('type="application/octet-stream"')[1:]]
    inside = b"".join(zlib.decompress(base64.b64decode(b.split(">", 1)[1]), -15) for b in blobs)
    assert b"window.hacked" in inside  # it is there to be read, only not as markup


def test_the_policy_names_exactly_the_script_and_style_of_the_page(page):
    script = page[page.rindex("<script>") + 8 : page.rindex("</script>")]
    style = page[page.index("<style>") + 7 : page.index("</style>")]
    for part in (script, style):
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in page[: page.index("<title>")]
        assert hashlib.sha256((part + " ").encode()).digest() != hashlib.sha256(part.encode()).digest()
    assert "default-src 'none'" in page and "unsafe" not in page[: page.index("<title>")]


def test_the_committed_bundle_is_built_from_the_sources():
    if not WEB.exists():
        pytest.skip("the front end's sources are not here: this is an installed package, not a checkout")
    names = [
        "build.mjs",
        "package.json",
        *(f"src/{p.relative_to(WEB / 'src').as_posix()}" for p in (WEB / "src").rglob("*")),
    ]
    digest = hashlib.sha256()
    for name in sorted(n for n in names if n.endswith((".js", ".css", ".mjs", ".json"))):
        digest.update(name.encode() + b"\0" + (WEB / name).read_bytes() + b"\0")
    assert (BUNDLE / "sources.sha256").read_text().strip() == digest.hexdigest(), "run `npm run build` in web/"
    assert "</script" not in (BUNDLE / "report.js").read_text().lower()


def test_building_the_sources_again_gives_the_committed_bundle(tmp_path):
    node = shutil.which("node")
    if node is None or not (WEB / "node_modules" / "esbuild").exists():
        pytest.skip("node or the front end's one build tool is not installed (`npm ci` in web/)")
    subprocess.run([node, "build.mjs", str(tmp_path)], cwd=WEB, check=True)
    for name in ("report.js", "report.css", "sources.sha256"):
        assert (tmp_path / name).read_bytes() == (BUNDLE / name).read_bytes(), "run `npm run build` in web/"


def test_score_shapes_are_what_plain_counting_gives():
    rng = np.random.default_rng(3)
    labels = rng.random(90) < 0.4
    scores = rng.normal(size=(4, 90)) + labels * np.array([[0.0], [1.0], [-2.0], [5.0]])
    shapes = score_shapes(scores, labels)
    for probe, row in enumerate(scores):
        for counts, chosen in ((shapes.true_rows, labels), (shapes.false_rows, ~labels)):
            expected, _ = np.histogram(row[chosen], bins=counts.shape[1], range=tuple(shapes.ends[probe]))
            np.testing.assert_array_equal(counts[probe], expected)
        rates, caught, _ = roc_curve(labels, row, drop_intermediate=False)
        allowed = np.arange(N_RATES) / (N_RATES - 1)
        best = [caught[rates <= a + 1e-9].max() for a in allowed]
        np.testing.assert_allclose(shapes.caught[probe], best)
        ranked = labels[np.argsort(row, kind="stable")]
        np.testing.assert_allclose(shapes.part_share[probe], [part.mean() for part in np.split(ranked, 10)])
        wrong = [i for i in np.argsort(np.where(labels, row, -row), kind="stable") if (row[i] > 0) != labels[i]]
        assert [i for i in shapes.worst[probe] if i >= 0] == wrong[:N_WORST]


def test_a_set_of_few_rows_has_as_many_parts_as_rows():
    shapes = score_shapes(np.array([[0.5, -0.5, 1.5]]), np.array([True, False, False]))
    assert list(shapes.part_rows[0]) == [1, 1, 1] + [0] * 7
    np.testing.assert_array_equal(shapes.part_share[0, :3], [0, 1, 0])
    assert np.isnan(shapes.part_share[0, 3:]).all()


def test_a_perfect_probe_has_no_worst_rows_and_one_class_no_curve():
    labels = np.array([True, False] * 10)
    assert (score_shapes(np.where(labels, 1.0, -1.0)[None], labels).worst == -1).all()
    assert (score_shapes(np.where(labels, -1.0, 1.0)[None], labels).worst >= 0).all()
    assert np.isnan(score_shapes(np.arange(20.0)[None], np.ones(20, dtype=bool)).caught).all()


def test_saved_scores_of_single_rows_give_the_saved_accuracy(run_folder):
    rows = ResultFolder(run_folder).read()
    rows = rows[(rows["split"] == "test") & (rows["metric"] == "accuracy_row") & (rows["layer"] == LAYER)]
    scores = pd.concat(map(pd.read_parquet, (run_folder / "details").glob("*.parquet")))
    hit = (scores["score"] > 0) == scores["label"]
    measured = hit.groupby([scores[n].astype(str) for n in ("method", "train", "test")]).mean()
    saved = rows.set_index(["method", "train", "test"])["value"]
    assert len(measured) == len(saved) == len(rows)
    np.testing.assert_allclose(measured.sort_index(), saved.sort_index(), atol=1e-6)
    turned = (~hit).groupby([scores[n].astype(str) for n in ("method", "train", "test")]).mean()
    assert np.abs(turned.sort_index() - saved.sort_index()).max() > 0.3


def test_details_are_kept_when_they_hold_the_layer_and_made_anew_for_another(run_folder):
    path = run_folder / "details" / "home.parquet"
    before = path.stat().st_mtime_ns
    write_details(run_folder, LAYER)
    assert path.stat().st_mtime_ns == before
    write_details(run_folder, 2)
    assert set(pd.read_parquet(path)["layer"]) == {2}
    write_details(run_folder, LAYER)
    assert set(pd.read_parquet(path)["layer"]) == {LAYER}


def test_scores_of_probes_that_were_fitted_anew_are_not_shown(tmp_path):
    folder = write_run(tmp_path / "run", tmp_path / "acts", sets=SETS[:2], methods=METHODS[:2], evil=False)
    write_details(folder, LAYER)
    assert len(RunFolder.open(folder).details) == 2
    card = folder / "probes" / "dim" / "home.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"fit_id": "another"}))
    assert RunFolder.open(folder).details == [] and read_details(RunFolder.open(folder)) is None


def test_details_of_a_layer_without_probes_are_refused_with_the_fitted_ones(run_folder):
    with pytest.raises(UsageError, match="layer 17 has no probes"):
        write_details(run_folder, 17)


def test_only_texts_among_the_worst_errors_are_carried(run_folder):
    found = read_details(RunFolder.open(run_folder))
    used = set(found.vectors["worst"][found.vectors["worst"] >= 0].tolist())
    assert used == set(range(len(found.texts)))
    everything = pd.concat(map(pd.read_parquet, (run_folder / "details").glob("*.parquet")))
    assert len(found.texts) < everything.drop_duplicates(["test", "row_id"]).shape[0]
    cell = found.cells.index[
        (found.cells["method"] == "dim") & (found.cells["train"] == "home") & (found.cells["test"] == "away")
    ][0]
    place, score = found.vectors["worst"][cell][0], found.vectors["worst_score"][cell][0]
    row = found.texts.iloc[place]
    assert row["test"] == "away" and bool(row["label"]) != (score > 0)


def test_a_side_file_without_its_columns_is_refused(tmp_path, run_folder):
    folder = tmp_path / "run"
    (folder / "details").mkdir(parents=True)
    ResultFolder(run_folder).read().to_parquet(folder / "results.parquet")
    pd.DataFrame({"test": ["a"]}).to_parquet(folder / "details" / "a.parquet")
    with pytest.raises(StoreError, match="lacks"):
        read_details(RunFolder.open(folder))


def test_the_clustered_order_is_the_tree_from_left_to_right(run_folder):
    found = orders(RunFolder.open(run_folder))
    assert found["clustering"][:3] == ["loose", "home", "away"]
    assert all(sorted(names) == sorted(found["name"]) for names in found.values())


def test_the_sign_test_is_scipys_binomial_test():
    rng = np.random.default_rng(0)
    old, new = (rng.random((40, 30)) < 0.5).astype(float), (rng.random((40, 30)) < 0.6).astype(float)
    for p, a, b in zip(sign_test(old, new), old, new, strict=True):
        gained, lost = int((b > a).sum()), int((b < a).sum())
        assert p == pytest.approx(binomtest(gained, gained + lost, 0.5).pvalue)


@pytest.fixture(scope="module")
def two_runs(tmp_path_factory):
    """The same sets and probes; in the second run `away` is far easier on its test split."""
    home = tmp_path_factory.mktemp("two")
    return [
        write_run(home / name, home / f"acts-{name}", strength=s, evil=False)
        for name, s in (("old", 0.5), ("new", 4.0))
    ]


def cells_of(folders, **options):
    old, new = (ResultFolder(folder).read() for folder in folders)
    return changes(old, new, **options)


def test_a_planted_change_is_beyond_noise_and_the_rest_is_equal(two_runs):
    correct = tuple(ResultFolder(folder).correct() for folder in two_runs)
    cells = cells_of(two_runs, correct=correct, same_questions=lambda test: test != "loose")
    learned = cells[cells["method"].eq("dim") & cells["train"].eq("home") & cells["metric"].eq("accuracy")]
    assert set(learned.loc[learned["test"].eq("away"), "verdict"]) == {BEYOND}
    assert set(cells.loc[cells["test"].eq("home"), "verdict"]) == {EQUAL}
    paired = cells["metric"].eq("accuracy") & cells["test"].ne("loose")
    assert set(cells.loc[paired, "basis"]) == {PAIRED} and set(cells.loc[~paired, "basis"]) == {UNPAIRED}
    changed = cells[paired & cells["verdict"].eq(BEYOND)]
    assert (changed["q"] < 0.05).all() and (changed["q"] >= changed["p"]).all()


def test_bounds_of_a_difference_follow_the_saved_intervals_and_pairing_narrows_them(two_runs):
    correct = tuple(ResultFolder(folder).correct() for folder in two_runs)
    alone, together = cells_of(two_runs), cells_of(two_runs, correct=correct, same_questions=lambda test: True)
    row = alone[alone["test"].eq("away") & alone["metric"].eq("accuracy")].iloc[0]
    down = np.hypot(row["value_after"] - row["ci_low_after"], row["ci_high_before"] - row["value_before"])
    assert row["ci_low"] == pytest.approx(row["difference"] - down)
    same = alone["metric"].eq("accuracy") & alone["test"].eq("home")
    width = (together["ci_high"] - together["ci_low"])[same]
    assert (width < (alone["ci_high"] - alone["ci_low"])[same]).all()


def test_a_cell_without_interval_or_value_is_not_decided():
    key = {
        "method": "dim",
        "train": "a",
        "test": ["b", "c", "d"],
        "layer": 0,
        "metric": "auroc",
        "split": "test",
        "n": 9,
    }
    bounds = {"ci_low": [0.4, np.nan, np.nan], "ci_high": [0.6, np.nan, np.nan]}
    rows = pd.DataFrame({**key, "value": [0.5, np.nan, 0.6], **bounds})
    later = rows.assign(value=[0.55, 0.5, 0.7])
    assert list(changes(rows, later)["verdict"]) == [WITHIN, OPEN, OPEN]


def test_seeds_of_a_run_are_compared_each_with_its_own():
    bounds = {"ci_low": [0.4, 0.7], "ci_high": [0.6, 0.9], "n": 9}
    about = {"method": "dim", "train": "a", "test": "b", "layer": 0, "metric": "auroc", "split": "test"}
    rows = pd.DataFrame({**about, "seed": [0, 1], "value": [0.5, 0.8], **bounds})
    assert list(changes(rows, rows[::-1])["verdict"]) == [EQUAL, EQUAL]
    assert len(changes(rows[:1], rows[1:])) == 1  # one seed each: what a new seed changes


def test_rows_with_gaps_in_their_words_are_read(tmp_path):
    about = {"method": "dim", "split": "test", "metric": "auroc", "train": "a", "test": ["a", "b"], "value": [0.5, 0.6]}
    gaps = {"selected": [True, None], "limited": [None, True], "train_family": None, "test_family": ["x", None]}
    pd.DataFrame({**about, **gaps, "layer": [1.0, None], "position": "last"}).to_parquet(tmp_path / "results.parquet")
    found = RunFolder.open(tmp_path)
    assert starting_view(found) == {"method": "dim", "train": "a", "position": "last", "layer": 1}
    assert orders(found)["family"] == ["a", "b"] and families(found.results) == {"a": "x", "b": ""}
    assert any("Cut to a limit" in line and ": b." in line for line in limits(found))


def test_the_command_writes_one_page_and_says_what_went_wrong(run, run_folder, tmp_path):
    code, out, err = run("report", run_folder, "-o", tmp_path / "page.html", "--json")
    assert code == 0, err
    written = json.loads(out)
    assert Path(written["report"]).stat().st_size == written["bytes"] > 50_000
    code, _, err = run("report", tmp_path)
    assert code == 2 and "holds no results.parquet" in err
    code, _, err = run("report", run_folder.parent)
    assert code == 2 and "run" in err.split("below it")[1]
    code, _, err = run("report", run_folder, run_folder)
    assert code == 2 and "twice" in err
    code, _, err = run("report", run_folder, "--details", "some")
    assert code == 2 and "--details" in err
    code, _, err = run("report", run_folder, "--details", "17", "-o", tmp_path / "other.html")
    assert code == 2 and not (tmp_path / "other.html").exists()


def test_a_run_whose_activations_are_gone_is_reported_without_single_rows(run, tmp_path):
    folder = write_run(tmp_path / "run", tmp_path / "acts", sets=SETS[:2], methods=METHODS[:2], evil=False)
    for path in (tmp_path / "acts").glob("*-test-*/index.json"):
        path.unlink()
    code, out, err = run("report", folder)
    assert code == 0 and "not at" in err and Path(out.strip()).exists()
    code, _, err = run("report", folder, "--details", "1")
    assert code == 4 and "--details none" in err


def test_reasons_alike_are_counted_together(run_folder):
    found = RunFolder.open(run_folder)
    rows = found.results.copy()
    rows["reason"] = rows["reason"].astype(object) if "reason" in rows else None
    rows.loc[rows.index[:6], "value"] = np.nan
    rows.loc[rows.index[:6], "reason"] = [f"fit failed: no try reached it ({i})" for i in range(6)]
    found.__dict__["results"] = rows
    (line,) = [line for line in limits(found) if "undefined" in line]
    assert "fit failed: no try reached it: 6" in line


def test_a_metric_that_is_a_copy_of_another_is_named(run_folder, tmp_path):
    rows = ResultFolder(run_folder).read()
    copied = pd.concat([rows, rows[rows["metric"] == "auroc"].assign(metric="auc")])
    for table, alarm in ((rows, False), (copied, True)):
        folder = tmp_path / str(alarm)
        folder.mkdir()
        table.to_parquet(folder / "results.parquet")
        assert any("equal throughout" in line for line in limits(RunFolder.open(folder))) is alarm


def test_a_table_that_holds_no_result_rows_is_refused(run, run_folder, tmp_path):
    rows = ResultFolder(run_folder).read()
    for table, says in ((rows.drop(columns="metric"), "lacks the columns metric"), (rows[:0], "has no rows")):
        table.to_parquet(tmp_path / "results.parquet")
        code, _, err = run("report", tmp_path, "--details", "none")
        assert code == 1 and says in err


def test_help_of_the_command_shows_an_example(run):
    code, out, _ = run("report", "--help")
    assert code == 0 and "Example" in out and "probeshift report " in out


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("not_resolvable:253_of_300_negatives", "too few negatives, 253 of 300: 2"),
        ("single_class:positive", "one class only, positive: 2"),
        ("constant_scores", "constant scores: 2"),
    ],
)
def test_why_values_are_undefined_is_said_in_words(tmp_path, reason, said):
    row = {"model": "m", "method": "dim", "train": "a", "test": "b", "split": "test", "layer": 1, "metric": "auroc"}
    pd.DataFrame([row | {"value": None, "reason": reason}] * 2).to_parquet(tmp_path / "results.parquet")
    assert any(said in line for line in limits(RunFolder.open(tmp_path)))
