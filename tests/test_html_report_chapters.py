"""A page over a sweep and a transfer study, written by the commands that make them: chapters, and views of their real tables.

The models are random and tiny and the truth is planted, so the numbers mean nothing; that the page shows the saved ones is what is tested.
"""

import json

import pandas as pd
import planted_sweep
import pytest
import transfer_study
from chromium import BROWSER, WHY_NOT, Chromium

from probeshift.experiments import sweep
from probeshift.experiments.sweep_settings import read_sweep
from probeshift.experiments.transfer.evaluate import run as run_transfer
from probeshift.experiments.transfer.settings import TransferSettings
from probeshift.experiments.transfer.study import Study
from probeshift.report.html import write_report
from probeshift.report.html.introduction import told
from probeshift.report.html.run_folder import RunFolder
from probeshift.report.sweep import draw_sweep
from probeshift.report.sweep import write_report as write_text

pytestmark = pytest.mark.skipif(BROWSER is None, reason=WHY_NOT)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    home = tmp_path_factory.mktemp("chapters")
    settings = read_sweep(None, cache=planted_sweep.write_cache(home / "cache"), output_dir=home / "sweep")
    found = sweep.run(settings)
    draw_sweep(found, home / "sweep")
    write_text(found, home / "sweep" / "report.txt")
    run_transfer(Study.open(TransferSettings.model_validate(transfer_study.values(home / "transfer"))))
    return home / "sweep", home / "transfer"


@pytest.fixture(scope="module")
def browser():
    with Chromium() as found:
        yield found


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory):
    return write_report(list(runs), tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture
def opened(browser, page):
    def open_at(view):
        browser.open(page, f"#{view}")
        return browser

    yield open_at
    assert not browser.errors and {r for r in browser.requests if not r.startswith("file:")} == set()


def dots(browser, chart):
    """What the points of a chart say of themselves."""
    return browser.js(
        f"[...document.querySelectorAll('svg[aria-label={json.dumps(chart)}] circle title')].map((n) => n.textContent)"
    )


def shown(value):
    text = f"{value:.3f}"
    return (text[1:] if text == "-0.000" else text).replace("-", "−")


def test_runs_of_two_kinds_are_two_chapters_in_reading_order(opened):
    browser = opened("overview")
    ids = browser.js("[...document.querySelectorAll('section')].map((s) => s.id)")
    assert ids == [
        "overview",
        "about-mixture",
        "mixtures",
        "about-model",
        "transfer",
        "steering",
        "tables",
        "provenance",
    ]
    assert browser.js("document.querySelectorAll('.failed').length") == 0
    browser.js("document.querySelector('nav a[data-view=transfer]').click()")
    browser.until("location.hash.startsWith('#transfer')")


def test_the_introduction_says_every_sentence_that_was_made_of_the_runs(opened, runs):
    text = opened("overview").js("document.getElementById('overview').textContent")
    for folder in runs:
        about = told(RunFolder.open(folder))
        assert about["found"]
        for sentence in (about["asked"], *about["found"]):
            assert sentence.replace("`", "") in text


def test_the_first_screen_answers_each_question_in_one_sentence(opened, runs):
    answers = opened("overview").js("[...document.querySelectorAll('.answers li')].map((n) => n.textContent)")
    assert len(answers) == len(runs)
    for number, (folder, answer) in enumerate(zip(runs, answers, strict=True), 1):
        about = told(RunFolder.open(folder))
        assert answer == f"{number}. {about['title']}. {about['found'][0].replace('`', '')}"


def test_a_set_has_one_colour_in_all_curves_of_the_mixtures(opened):
    pairs = opened("mixtures").js(
        "['auroc_by_step', 'gain_per_row', 'gap_by_step'].flatMap((name) => "
        "[...document.querySelectorAll(`#mixtures svg[aria-label=${name}] circle`)].map((c) => "
        "[c.textContent.split(',')[0], c.getAttribute('fill')]))"
    )
    colours = {name: {colour for other, colour in pairs if other == name} for name, _ in pairs}
    assert len(colours) == 2 and all(len(found) == 1 for found in colours.values())
    assert len({min(found) for found in colours.values()}) == len(colours)


def test_each_chapter_names_its_own_limits(opened, runs):
    browser = opened("about-model")
    assert "5 concepts are a smoke test" in browser.js("document.getElementById('about-model').textContent")
    conclusions = json.loads((runs[0] / "comparison.json").read_text())["conclusions"]
    text = browser.js("document.getElementById('about-mixture').textContent")
    assert [c for c in conclusions["may_not"] if c[1:].replace("`", "") not in text] == []
    clauses = [clause.replace("`", "") for clause in conclusions["may_not"] if clause.startswith("That ")]
    assert clauses and [c for c in clauses if f"It does not follow t{c[1:]}" not in text] == []


def test_cosines_and_detection_are_those_of_the_study(opened, runs):
    browser, close = opened("transfer"), pd.read_parquet(runs[1] / "analysis" / "closeness.parquet")
    known = close[close["cosine"].notna()]
    assert dots(browser, "cosines") == [f"{r.condition}: {shown(r.cosine)}" for r in known.itertuples()]
    known = close[close["auroc"].notna()]
    assert dots(browser, "detection") == [f"{r.condition}: {shown(r.auroc)}" for r in known.itertuples()]
    cosines = pd.read_parquet(runs[1] / "evaluation" / "cosines.parquet")["cosine"].notna().sum()
    assert browser.js("document.querySelectorAll('svg[aria-label=cosines] path').length") == cosines


def test_scores_and_their_costs_are_those_of_the_study(opened, runs):
    browser, rows = opened("transfer"), pd.read_parquet(runs[1] / "analysis" / "conditions.parquet")
    for at, part in rows.groupby("at", sort=False):
        known = part[part["score"].notna()]
        assert dots(browser, f"scores {at}") == [f"{r.condition}: {shown(r.score)}" for r in known.itertuples()]
    table = browser.js("document.getElementById('transfer').textContent")
    assert all(reason.replace("_", " ") in table.replace("_", " ") for reason in rows["recovery_reason"].dropna())


def test_strength_curves_and_texts_are_those_of_the_study(opened, runs):
    browser, curves = opened("steering"), pd.read_parquet(runs[1] / "analysis" / "curves.parquet")
    steered = curves[~curves["condition"].isin(["none", "prompted"])]
    points = dots(browser, "effect by strength")
    assert sorted(points) == sorted(f"{r.condition}, {r.strength:g}: {shown(r.score)} " for r in steered.itertuples())
    texts = pd.read_parquet(runs[1] / "evaluation" / "texts.parquet")
    tried = texts[texts["split"] == "selection"]
    first = tried[(tried["concept"] == tried["concept"].iloc[0]) & (tried["prompt"] == tried["prompt"].iloc[0])]
    written = browser.js("[...document.querySelectorAll('#steering .texts td bdi')].map((n) => n.textContent)")
    for row in first[first["condition"] == "native"].itertuples():
        assert any(text.startswith(row.text[:20]) for text in written), row.text


def test_left_out_sources_and_gains_are_those_of_the_sweep(opened, runs):
    browser, found = opened("mixtures"), json.loads((runs[0] / "comparison.json").read_text())
    left = [row for row in found["leave_one_out"] if row["auroc"] is not None]
    assert dots(browser, "left out source") == [f"{r['left_out']}: {shown(r['auroc'])}" for r in left]
    assert dots(browser, "source gains") == [
        f"{g['source']}: {shown(g['shapley'])}" for g in found["marginal"]["gains"]
    ]
    titles = browser.js("[...document.querySelectorAll('#mixtures h3')].map((n) => n.textContent)")
    assert any("Leakage" in title for title in titles) and "AUROC by step" in titles


def test_a_study_alone_is_a_page_without_chapters(browser, runs, tmp_path):
    browser.open(write_report([runs[1]], tmp_path / "alone.html"))
    assert browser.js("[...document.querySelectorAll('section')].map((s) => s.id)") == [
        "overview",
        "transfer",
        "steering",
        "tables",
        "provenance",
    ]
    assert "smoke test" in browser.js("document.getElementById('overview').textContent")
    assert not browser.errors


def test_what_stands_in_both_themes_and_on_a_narrow_screen_fits(browser, page):
    for width in (380, 1400):
        browser.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        browser.open(page, "#provenance")
        assert browser.js("document.documentElement.scrollWidth") <= width
    assert not browser.errors
