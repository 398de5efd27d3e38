"""The report in a real browser: it opens alone, shows the saved numbers, lets nothing in its texts act, and gives files back."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ElementTree
from itertools import product

import numpy as np
import pandas as pd
import pytest
from chromium import BROWSER, WHY_NOT, Chromium
from report_run import EVIL_SCRIPT, LAYER, write_run

from probeshift.experiments.details import write_details
from probeshift.report.html import write_report
from probeshift.results import ResultFolder

pytestmark = pytest.mark.skipif(BROWSER is None, reason=WHY_NOT)

TURNED = "<b onmouseover=alert(1)>turned"
MATRIX = "#matrix svg[aria-label=matrix]"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two runs of the same sets; in the second `away` is far easier."""
    home = tmp_path_factory.mktemp("browser")
    runs = [write_run(home / name, home / f"acts-{name}", strength=s) for name, s in (("old", 0.5), ("new", 4.0))]
    for run in runs:
        write_details(run, LAYER)
    return runs


@pytest.fixture(scope="module")
def path(folders):
    return write_report(folders, folders[0] / "report.html")


@pytest.fixture(scope="module")
def browser():
    with Chromium() as found:
        yield found


@pytest.fixture
def opened(browser, path):
    """Opens the page at a fragment and checks that nothing was fetched and nothing complained, then and at the end."""

    def call(fragment=""):
        browser.errors.clear()
        browser.console.clear()
        browser.requests.clear()
        browser.open(path, fragment)
        return browser

    yield call
    browser.js("1")
    assert not browser.errors and not browser.console
    assert {url.split("#")[0] for url in browser.requests if not url.startswith(("data:", "about:", "blob:"))} == {
        path.resolve().as_uri()
    }


@pytest.fixture(scope="module")
def rows(folders):
    return ResultFolder(folders[0]).read()


def saved(rows, **wanted):
    keep = np.ones(len(rows), dtype=bool)
    for name, value in {"split": "test", **wanted}.items():
        keep &= (rows[name] == value).to_numpy(dtype=bool)
    return rows[keep]


def cell(train, test):
    return f"{MATRIX} [aria-label^={json.dumps(f'trained on {train}, tried on {test}:')}]"


def text(browser, selector):
    return browser.js(f"document.querySelector({json.dumps(selector)})?.textContent ?? null")


def test_every_view_opens_without_an_error_or_a_request(opened):
    browser = opened()
    views = browser.js("[...document.querySelectorAll('section')].map((s) => s.id)")
    assert views == [
        "overview",
        "matrix",
        "layers",
        "methods",
        "mixtures",
        "transfer",
        "steering",
        "compare",
        "tables",
        "provenance",
    ]
    for view in views:
        opened(f"#{view}")
        assert browser.js(f"document.querySelector('#{view} .body').children.length") > 0
        assert browser.js("document.querySelectorAll('.failed').length") == 0
        assert "[object" not in browser.js("document.body.innerText")
        assert "undefined" not in text(browser, f"#{view} .body").replace("are undefined", "")


def test_the_first_view_is_there_at_once_and_all_others_without_scrolling(browser, path):
    browser.ask("Page.navigate", url="about:blank")
    browser.open(path)
    assert browser.js("document.querySelector('#overview .body').children.length") > 0
    browser.until("[...document.querySelectorAll('section .body')].every((body) => body.children.length > 0)")
    assert browser.js("scrollY") == 0 and not browser.errors


def test_a_cell_opened_in_the_layers_view_is_brought_into_the_window(opened):
    browser = opened("#layers")
    browser.click("#layers svg[aria-label=layers] .cell")
    browser.until("document.querySelector('#cell-title') !== null")
    browser.until(
        "(() => { const { top, bottom } = document.querySelector('#cell-title').getBoundingClientRect(); "
        "return bottom > 0 && top < innerHeight; })()"
    )
    assert browser.js("location.hash").startswith("#matrix?")


def test_on_a_narrow_screen_an_open_cell_fits_and_its_titles_are_words(opened):
    try:
        size = {"height": 800, "deviceScaleFactor": 1, "mobile": False}
        opened().ask("Emulation.setDeviceMetricsOverride", width=380, **size)
        browser = opened(f"#matrix?method=dim&layer={LAYER}&train=home&test=loose&cell=open")
        assert browser.js("document.documentElement.scrollWidth") <= 380
        assert browser.js("document.querySelector('#cell-title').offsetHeight") < 60
        assert max(browser.js("[...document.querySelectorAll('.pair h3')].map((n) => n.offsetHeight)")) < 60
    finally:
        browser.ask("Emulation.setDeviceMetricsOverride", width=1400, height=1000, deviceScaleFactor=1, mobile=False)


def test_the_matrix_shows_the_saved_values(opened, rows):
    browser = opened(f"#matrix?method=dim&layer={LAYER}&metric=accuracy")
    shown = browser.js(
        f"[...document.querySelectorAll('{MATRIX} .cell')].map((c) => [c.getAttribute('aria-label'), c.querySelector('text').textContent])"
    )
    found = saved(rows, method="dim", layer=LAYER, metric="accuracy")
    assert len(shown) == len(found) == 16
    for row in found.itertuples():
        ((label, number),) = [
            pair for pair in shown if pair[0].startswith(f"trained on {row.train}, tried on {row.test}:")
        ]
        assert float(number) == pytest.approx(row.value, abs=0.00501)
        assert (
            f"{row.value:.3f} [{row.ci_low:.3f}, {row.ci_high:.3f}], chance {row.chance:.3f}, {row.n} {row.n_kind}"
            in label
        )


def test_another_metric_and_layer_show_other_saved_values(opened, rows):
    browser = opened("#matrix?method=lr&layer=2&metric=auroc")
    (row,) = saved(rows, method="lr", layer=2, metric="auroc", train="home", test="away").itertuples()
    assert f"{row.value:.3f} [{row.ci_low:.3f}, {row.ci_high:.3f}]" in browser.js(
        f"document.querySelector({json.dumps(cell('home', 'away'))}).getAttribute('aria-label')"
    )
    pick = "document.querySelector('#matrix select[data-keep=layer]')"
    browser.js(f"{pick}.value = '0'; {pick}.dispatchEvent(new Event('change'))")
    browser.until("location.hash.includes('layer=0')")
    browser.settle()
    (other,) = saved(rows, method="lr", layer=0, metric="auroc", train="home", test="away").itertuples()
    assert f"{other.value:.3f} [" in browser.js(
        f"document.querySelector({json.dumps(cell('home', 'away'))}).getAttribute('aria-label')"
    )


def test_a_click_opens_a_cell_and_its_address_opens_it_again(opened, rows):
    browser = opened(f"#matrix?method=dim&layer={LAYER}")
    assert text(browser, "#cell-title") is None
    browser.click(cell("home", "away"))
    browser.until("document.querySelector('#cell-title') !== null")
    (row,) = saved(rows, method="dim", layer=LAYER, metric="accuracy", train="home", test="away").itertuples()
    assert text(browser, ".headline").startswith(f"{row.value:.3f}[{row.ci_low:.3f}, {row.ci_high:.3f}]")
    address, details = browser.js("location.hash"), text(browser, ".details")
    for part in ("Scores by class", "ROC", "True rows by score", "furthest on the wrong side", "By layer"):
        assert part in details
    opened(address)
    assert text(browser, ".details") == details
    opened(f"#matrix?method=dim&layer={LAYER}")
    assert text(browser, "#cell-title") is None


def test_arrow_keys_move_and_enter_opens(opened):
    browser = opened("#matrix?method=dim&order=name")
    browser.js(f"document.querySelector('{MATRIX} [tabindex=\"0\"]').focus()")
    names = browser.js(f"[...document.querySelectorAll('{MATRIX} .cell')].map((c) => c.getAttribute('aria-label'))")
    browser.press("ArrowRight")
    browser.press("ArrowDown")
    assert browser.js("document.activeElement.getAttribute('aria-label')") == names[5]
    browser.press("Enter")
    browser.until("document.querySelector('#cell-title') !== null")
    train, test = names[5].removeprefix("trained on ").split(":")[0].split(", tried on ")
    assert text(browser, "#cell-title") == f"{train} → {test}"
    browser.until("document.activeElement.getAttribute('aria-label') !== null")
    browser.press("ArrowRight")  # the matrix was drawn anew; the keys go on where they were
    assert browser.js("document.activeElement.getAttribute('aria-label')") == names[6]


def test_the_worst_errors_and_bins_are_those_of_the_side_file(opened, folders):
    browser = opened(f"#matrix?method=dim&layer={LAYER}&train={'home'}&test=loose&cell=open")
    side = pd.read_parquet(folders[0] / "details" / "loose.parquet")
    side = side[(side["method"] == "dim") & (side["train"] == "home")]
    wrong = side[(side["score"] > 0) != side["label"]]
    worst = wrong.loc[wrong["score"].abs().sort_values(ascending=False, kind="stable").index]
    shown = browser.js("[...document.querySelectorAll('.worst .row-id')].map((n) => n.textContent)")
    assert shown == [str(v) for v in worst["row_id"].head(6)]
    name = browser.downloaded(
        "const all = [...document.querySelectorAll('.details figure')]; "
        "all.find((f) => f.textContent.includes('Scores by class')).querySelector('.export').click()"
    )
    bins = pd.read_csv(name)
    assert bins["true_rows"].sum() == side["label"].sum() and bins["false_rows"].sum() == (~side["label"]).sum()


def test_texts_of_the_data_are_shown_and_never_run(opened):
    browser = opened(f"#matrix?method=random&layer={LAYER}&train=home&test=loose&cell=open")
    assert text(browser, "#cell-title") is not None
    seen = set()
    for method in ("random", "dim", "lr"):
        for train in ("home", "away", "loose"):
            opened(f"#matrix?method={method}&layer={LAYER}&train={train}&test=loose&cell=open")
            seen |= set(browser.js("[...document.querySelectorAll('blockquote')].map((q) => q.textContent)"))
    everything = "\n".join(seen)
    assert EVIL_SCRIPT in everything and "⟦U+202E⟧gnp.exe" in everything and "<base href=" in everything
    assert "⟦first 2,000 of 4,000 characters⟧" in everything  # of the million, the side file keeps 4,000
    opened("#provenance")
    assert EVIL_SCRIPT in text(browser, "#provenance")
    assert (
        f"home → {TURNED}"
        == (opened(f"#matrix?method=dim&train=home&test={TURNED}&cell=open"), text(browser, "#cell-title"))[1]
    )
    assert browser.js("window.hacked ?? null") is None
    assert browser.js("document.querySelectorAll('img, base, iframe, b[onmouseover]').length") == 0


def test_the_policy_stops_a_script_and_a_request_that_got_in(browser, path):
    browser.open(path)
    browser.js(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.hacked = 1'}))"
    )
    browser.js(
        "document.body.append(Object.assign(document.createElement('div'), "
        "{innerHTML: '<img src=x onerror=\"window.hacked=1\">'}))"
    )
    assert browser.js("fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')") == "refused"
    browser.settle()
    assert browser.js("window.hacked ?? null") is None
    assert any("Content Security Policy" in error for error in browser.errors)
    # The twin: without a policy the same script runs, so the browser would have shown it.
    browser.ask("Page.navigate", url="about:blank")
    browser.js(
        "document.documentElement.append(Object.assign(document.createElement('script'), {textContent: 'window.hacked = 1'}))"
    )
    assert browser.js("window.hacked") == 1
    browser.errors.clear()


def test_a_table_exports_all_its_rows_as_they_were_saved(opened, rows):
    browser = opened("#tables?table=all+result+rows")
    browser.until("document.querySelector('#tables .export') !== null")
    file = browser.downloaded("document.querySelector('#tables .export').click()")
    found = pd.read_csv(file)
    key = ["method", "train", "test", "split", "layer", "metric"]
    both = rows.merge(found, on=key, suffixes=("", "_page"))
    assert len(both) == len(rows) == len(found)
    for name in ("value", "ci_low", "ci_high", "chance", "n"):
        np.testing.assert_allclose(both[f"{name}_page"].astype(float), both[name].astype(float), atol=1.51e-5)


def test_a_text_that_a_spreadsheet_would_run_is_exported_as_text(opened):
    browser = opened("#mixtures")
    file = browser.downloaded("document.querySelector('#mixtures .export').click()")
    table = list(csv.reader(io.StringIO(file.read_text())))
    place = table[0].index("set")
    assert {line[place] for line in table[1:]} == {"gold", "'=cmd()"}


def test_figures_are_saved_as_drawing_and_picture(opened):
    browser = opened(f"#matrix?method=dim&layer={LAYER}")
    press = "[...document.querySelectorAll('#matrix figure .export')].find((b) => b.textContent === '%s').click()"
    drawing = browser.downloaded(press % "SVG")
    root = ElementTree.fromstring(drawing.read_text())
    assert root.tag.endswith("svg") and len(root.findall(".//{*}g[@role='gridcell']")) == 16
    assert "var(" not in drawing.read_text()  # colours stand in the file itself
    picture = browser.downloaded(press % "PNG")
    import matplotlib.image

    pixels = matplotlib.image.imread(picture)
    assert (
        pixels.shape[1] == 2 * int(root.get("width"))
        and len(np.unique(pixels.reshape(-1, pixels.shape[2]), axis=0)) > 20
    )


def test_a_planted_change_is_listed_and_an_unchanged_set_is_not(opened):
    browser = opened("#compare")
    listed = text(browser, "#compare")
    assert "Changed beyond noise" in listed
    changed = browser.js(
        "[...[...document.querySelectorAll('#compare .table')].at(-1).querySelectorAll('tbody tr')].map((r) => r.children[3].textContent)"
    )
    assert set(changed) == {"away"}


def test_a_view_is_there_only_when_the_run_has_something_for_it(browser, folders, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    ResultFolder(folders[0]).read().to_parquet(alone / "results.parquet")
    browser.open(write_report([alone], tmp_path / "alone.html"))
    views = browser.js("[...document.querySelectorAll('section')].map((s) => s.id)")
    assert views == ["overview", "matrix", "layers", "methods", "tables", "provenance"]
    assert not browser.errors


def test_light_and_dark_and_print_each_draw(opened, tmp_path):
    browser = opened("#matrix?method=dim")
    ground = "getComputedStyle(document.body).backgroundColor"
    browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    light = browser.js(ground)
    browser.js("[...document.querySelectorAll('.tools button')][0].click()")
    browser.settle()
    assert browser.js(ground) != light
    browser.js("[...document.querySelectorAll('.tools button')][0].click()")
    browser.settle()
    assert browser.js(ground) == light
    browser.until("document.querySelector('#provenance details table') !== null")
    folded = "[...document.querySelectorAll('#provenance details table')].every((node) => node.checkVisibility())"
    browser.js("document.querySelectorAll('details').forEach((node) => { node.open = false; })")
    assert not browser.js(folded)
    browser.ask("Emulation.setEmulatedMedia", media="print")
    assert browser.js(folded)
    browser.ask("Emulation.setEmulatedMedia", media="")
    assert browser.pdf(tmp_path / "page.pdf").read_bytes()[:5] == b"%PDF-"


def test_curves_and_maps_of_any_small_table_are_drawn_from_its_values(opened):
    browser = opened("#steering")
    titles = browser.js("[...document.querySelectorAll('#steering circle title')].map((n) => n.textContent)")
    assert "probe, 2: 2.000 [1.000, 3.000]" in titles and "random, 2: 0.000 [1.000, 3.000]" in titles
    gains = browser.js("[...document.querySelectorAll('#mixtures circle title')].map((n) => n.textContent)")
    # The bounds are those of the column before them, not of the first column with a familiar name.
    assert "gold, 2: 0.200 [0.000, 0.500]" in gains and not any(": 0.900 [" in title for title in gains)
    opened("#transfer")
    shown = browser.js("[...document.querySelectorAll('#transfer circle title')].map((n) => n.textContent)")
    assert shown == ["ridge: 0.600", "mean vector (null): 0.500"]


def test_layers_and_positions_are_mapped_with_the_chosen_cell_outlined(browser, tmp_path):
    about = {
        "model": "m",
        "method": "ridge",
        "train": "a",
        "test": "b",
        "protocol": "strict",
        "metric": "spearman",
        "control": False,
    }
    bounds = {"ci_low": -0.5, "ci_high": 0.9, "n": 50, "n_kind": "rows", "chance": 0.0, "reason": None}
    sites = product(("test", "cv"), range(4), enumerate(("post[-1]", "post[-2]", "post[-3]")))
    cells = [
        {**about, **bounds, "split": split, "layer": layer, "position": position, "value": 0.1 * layer + 0.01 * place,
         "selected": (layer, place) == (2, 1)}
        for split, layer, (place, position) in sites
    ]  # fmt: skip
    pd.DataFrame(cells).to_parquet(tmp_path / "results.parquet")
    predicted = {
        "split": ["test"] * 5 + ["cv"],
        "row": range(6),
        "actual": np.arange(6.0) / 5,
        "predicted": [0.1, 0.2, 0.3, 0.4, 0.5, 0.9],
    }
    pd.DataFrame(predicted).to_parquet(tmp_path / "predictions.parquet")
    browser.open(write_report([tmp_path], tmp_path / "page.html"), "#positions")
    grid = "#positions svg[aria-label=positions]"
    labels = browser.js(f"[...document.querySelectorAll('{grid} .cell')].map((c) => c.getAttribute('aria-label'))")
    assert len(labels) == 12 and labels[0].startswith("layer 3, post[-1]: 0.300 [−0.500, 0.900], chance 0.000, n 50")
    drawn = f"[...document.querySelectorAll('{grid} .cell')]"
    outlined = browser.js(
        f"{drawn}.filter((c) => c.querySelector('rect[fill=none]')).map((c) => c.getAttribute('aria-label'))"
    )
    assert [label.split(":")[0] for label in outlined] == ["layer 2, post[-2]"]
    browser.js(
        f"[...document.querySelectorAll('{grid} .cell')][4].dispatchEvent(new MouseEvent('click', {{bubbles: true}}))"
    )
    browser.until("location.hash.includes('layer=2') && location.hash.includes('post')")
    assert not browser.errors


def test_another_run_of_the_page_is_chosen_and_linked(opened, folders):
    browser = opened("#matrix?run=1&method=dim&layer=1&metric=accuracy")
    (row,) = saved(
        ResultFolder(folders[1]).read(), method="dim", layer=1, metric="accuracy", train="home", test="away"
    ).itertuples()
    assert f": {row.value:.3f} [" in browser.js(
        f"document.querySelector({json.dumps(cell('home', 'away'))}).getAttribute('aria-label')"
    )
    assert text(browser, "h1 bdi") == "new"
