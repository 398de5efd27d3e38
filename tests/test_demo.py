"""The demo on a tiny model: a comparison, its sweep, layers and tokens, another model, steering, and the page over them all."""

import json
import os
import signal
import sys
from pathlib import Path

import pandas as pd
import pytest
import tiny_models

from probeshift import cli
from probeshift.activations import ActivationStore
from probeshift.experiments import demo, sweep
from probeshift.experiments.demo import steering
from probeshift.experiments.inputs import DataSettings, ModelSettings
from probeshift.experiments.sweep_settings import SweepSettings
from probeshift.experiments.transfer.settings import TransferSettings
from probeshift.report.html.introduction import told
from probeshift.report.html.run_folder import open_runs
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
    tiny, transfer = str(tiny_models.shared("llama")), demo.transfer_settings
    entries = [
        {"name": name, "path": tiny, "layer": 1, **more} for name, more in (("one", {}), ("copy", {"rotation_seed": 1}))
    ]
    concepts = transfer(Path()).concepts.model_dump() | {"max_tokens": 200}
    small_transfer = {"source": "one", "target": "copy", "models": entries, "concepts": concepts}
    extract = demo.extract_settings
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "settings", lambda output_dir: shipped.model_copy(update=changed))
        patch.setattr(
            demo, "extract_settings",
            lambda folder: extract(folder).model_copy(update={"model": ModelSettings(model=tiny), "layers": "embeddings,1"}),
        )  # fmt: skip
        patch.setattr(
            demo,
            "transfer_settings",
            lambda folder: TransferSettings.model_validate(transfer(folder).model_dump() | small_transfer),
        )
        patch.setattr(steering, "STRENGTHS", (1.0,))
        patch.setenv("PROBESHIFT_CACHE", str(home / "cache"))
        patch.chdir(home)
        assert call("demo") == 0
        yield


def run_folder():
    return next(path.parent for path in Path("output/demo").glob("*/shown.json"))


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
    assert len(stores) == 16, "five datasets, three splits, the questions of the chat: the sweep reads none of its own"
    assert all((sweep_folder() / f"{name}{end}").exists() for name in FIGURES for end in (".png", ".csv"))


def test_no_row_that_chose_the_layer_is_in_the_sweep():
    settings = json.loads((sweep_folder() / "settings.json").read_text())
    swept = {text for source in settings["sources"] for store in source["store"] for text in texts(store)}
    manifest = json.loads((sweep_folder().parent / "manifest.json").read_text())
    chose = [s["store"] for s in manifest["stores"] if s["split"] == "selection"]
    seen = {text for store in chose for text in texts(store)}
    assert len(chose) == 5 and seen and swept and not seen & swept


def test_the_demo_again_computes_and_draws_nothing_and_says_the_same(monkeypatch, capsys):
    before = {path: path.stat().st_mtime_ns for path in Path("output").rglob("*") if path.is_file()}
    found = comparison()

    def never(*_args, **_kwargs):
        raise AssertionError("something ran again")

    for name in ("compare.open_study", "sweep.run", "positions.train.train", "transfer.evaluate.run"):
        monkeypatch.setattr(f"probeshift.experiments.{name}", never)
    assert call("demo") == 0
    out = capsys.readouterr().out
    assert "AUROC with 95 % intervals" in out and out.rstrip().endswith("report.html")
    assert comparison() == found
    assert {path: path.stat().st_mtime_ns for path in Path("output").rglob("*") if path.is_file()} == before


def test_a_part_is_finished_only_under_its_key_and_with_all_its_files(tmp_path):
    made = tmp_path / "page.html"
    assert not demo.is_finished(tmp_path, "key")
    made.write_text("page")
    demo.mark_finished(tmp_path, "key", [made])
    assert demo.is_finished(tmp_path, "key") and not demo.is_finished(tmp_path, "another")
    made.unlink()
    assert not demo.is_finished(tmp_path, "key")


def test_the_fingerprint_changes_with_settings_and_with_the_program(monkeypatch):
    settings = demo.settings(None)
    key = demo.fingerprint(settings.model.model, settings)
    assert demo.fingerprint(settings.model.model, settings) == key
    assert demo.fingerprint(settings.model.model, settings.model_copy(update={"seed": 1})) != key
    monkeypatch.setattr("probeshift.experiments.demo.finished._program", lambda: ["another"])
    assert demo.fingerprint(settings.model.model, settings) != key


def test_every_part_of_the_demo_is_of_its_kind_and_tells_what_it_found():
    folder = run_folder()
    runs = open_runs([folder, *(folder / part for part in ("sweep", "positions", "transfer", "steering"))])
    assert [run.kind for run in runs] == ["dataset", "mixture", "position", "model", "steering"]
    for run in runs:
        about = told(run)
        assert about["asked"] and about["found"], run.kind
        assert not any(word in line for line in about["found"] for word in ("nan", "None")), run.kind


def test_no_vector_leaves_a_text_uncounted():
    texts, curves = (pd.read_parquet(run_folder() / "steering" / f"{name}.parquet") for name in ("texts", "curves"))
    steered = curves[curves["strength"] > 0]
    assert steered["n"].sum() == len(texts[texts["condition"] != "none"]) > 0
    assert ((curves["score_low"] <= curves["score"]) & (curves["score"] <= curves["score_high"])).all()
    assert steered.loc[steered["condition"] == "native", "same_as_native"].eq(steered["n"].iloc[0]).all()


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
