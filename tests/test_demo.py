"""The demo on a tiny model: the comparison, then the sweep of the same facts on the activations that were read for it."""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
import tiny_models

from probeshift import cli
from probeshift.activations import ActivationStore
from probeshift.experiments import demo, sweep
from probeshift.experiments.inputs import DataSettings, ModelSettings
from probeshift.experiments.sweep_settings import SweepSettings
from probeshift.report.sweep import draw_sweep

FIGURES = ("auroc_by_step", "gap_by_step", "gain_per_row")


def call(*args):
    """Runs the command line in this process; gives its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["probeshift", *args])
        before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        try:
            cli.main()
        except SystemExit as stop:
            return stop.code or 0
        finally:
            signal.signal(signal.SIGINT, before[0])
            signal.signal(signal.SIGTERM, before[1])
    return 0


@pytest.fixture(scope="module", autouse=True)
def small(tmp_path_factory):
    """The shipped recipe with a tiny model, few questions and two methods, run once; the tests look at what it left."""
    home = tmp_path_factory.mktemp("demo")
    shipped = demo.settings()
    limits = {"train_limit": 60, "selection_limit": 20, "eval_limit": 30}
    changed = {
        "model": ModelSettings(model=str(tiny_models.shared("llama"))),
        "data": DataSettings(datasets=shipped.data.datasets, **limits),
        "methods": ("dim", "lr", "random"),
        "n_resamples": 20,
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "settings", lambda output_dir: shipped.model_copy(update=changed))
        patch.setenv("PROBESHIFT_CACHE", str(home / "cache"))
        patch.chdir(home)
        assert call("demo") == 0
        yield


def sweep_folder():
    return next(Path("output/demo").glob("*/sweep"))


def comparison():
    return json.loads((sweep_folder() / "comparison.json").read_text())


def texts(store):
    return ActivationStore.open(Path(store)).rows["text"]


def test_the_demo_sweeps_the_facts_on_activations_it_has_read():
    found = comparison()
    assert [s["training_data"] for s in found["step_values"]] == [list(demo.FAMILIES[:n]) for n in range(1, 6)]
    assert [row["left_out"] for row in found["leave_one_out"]] == list(demo.FAMILIES)
    stores = list(Path(os.environ["PROBESHIFT_CACHE"]).glob("activations/*/*/plan.json"))
    assert len(stores) == 15, "five datasets, three splits: the sweep reads none of its own"
    assert all((sweep_folder() / f"{name}{end}").exists() for name in FIGURES for end in (".png", ".csv"))


def test_no_row_that_chose_the_layer_is_in_the_sweep():
    settings = json.loads((sweep_folder() / "settings.json").read_text())
    swept = {text for source in settings["sources"] for store in source["store"] for text in texts(store)}
    manifest = json.loads((sweep_folder().parent / "manifest.json").read_text())
    chose = [s["store"] for s in manifest["stores"] if s["split"] == "selection"]
    seen = {text for store in chose for text in texts(store)}
    assert len(chose) == 5 and seen and swept and not seen & swept


def test_the_demo_again_fits_and_draws_nothing_of_the_sweep(monkeypatch, capsys):
    before = {name: (sweep_folder() / f"{name}.png").stat().st_mtime_ns for name in FIGURES}
    found = comparison()

    def never(*_args, **_kwargs):
        raise AssertionError("the sweep ran again")

    monkeypatch.setattr("probeshift.experiments.sweep.run", never)
    assert call("demo") == 0
    out = capsys.readouterr().out
    assert "AUROC with 95 % intervals" in out and "It may not be concluded" in out
    assert comparison() == found
    assert {name: (sweep_folder() / f"{name}.png").stat().st_mtime_ns for name in FIGURES} == before


def test_other_settings_are_not_taken_for_finished():
    folder = sweep_folder()
    settings = SweepSettings.model_validate(json.loads((folder / "settings.json").read_text()))
    assert sweep.finished(settings) == comparison()
    assert sweep.finished(settings.model_copy(update={"seed": 1})) is None


def test_a_figure_that_is_lost_or_whose_numbers_changed_is_drawn_again():
    folder, found = sweep_folder(), comparison()
    lost = folder / "gap_by_step.png"
    lost.unlink()
    draw_sweep(found, folder)
    drawn = lost.stat().st_mtime_ns
    draw_sweep(found, folder)
    assert lost.stat().st_mtime_ns == drawn
    draw_sweep({**found, "title": "another title"}, folder)
    assert lost.stat().st_mtime_ns > drawn
