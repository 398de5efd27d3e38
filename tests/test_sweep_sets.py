"""Sets of a sweep given as tables and stores: which rows are read, and what a mistake is told."""

import json

import numpy as np
import pytest
import tiny_models

from probeshift.errors import MissingError, UsageError
from probeshift.experiments.sweep_sets import read_sets
from probeshift.experiments.sweep_settings import SweepSettings
from probeshift.feature_tables import FeatureTable, stacked

ROWS = [
    {"text": f"Sentence {i} about {'rivers' if i % 3 else 'stones'}.", "label": ("aligned", "faking")[i % 2], "origin": "ab"[i // 6]}
    for i in range(12)
]  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PROBESHIFT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def data(tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps({"samples": ROWS}))
    return tmp_path


def settings(data, source, **more):
    steps = [{"name": "base", "add": [source["name"]]}]
    given = {
        "model": str(tiny_models.shared("llama")),
        "layer": 1,
        "data_dir": data,
        "sources": [source],
        "steps": steps,
    }
    return SweepSettings.model_validate({**given, **more})


def test_a_table_below_the_data_folder_gives_the_rows_that_were_asked_for(data):
    found = read_sets(settings(data, {"name": "b", "table": "mine.json", "where": {"origin": "b"}})).sources[0]
    assert found.texts == tuple(row["text"] for row in ROWS[6:])
    assert found.labels.tolist() == [row["label"] == "faking" for row in ROWS[6:]]
    whole = read_sets(settings(data, {"name": "all", "table": "mine.json"})).sources[0]
    np.testing.assert_allclose(whole.values[6:], found.values, atol=1e-5)


@pytest.mark.parametrize(
    ("changed", "error", "says"),
    [
        ({"where": {"orgin": "a"}}, UsageError, "origin"),
        ({"where": {"origin": "c"}}, UsageError, "no row with origin = c"),
        ({"table": "none.json"}, MissingError, "--data-dir"),
    ],
)
def test_a_table_or_rows_that_are_not_there_are_named(data, changed, error, says):
    with pytest.raises(error, match=says):
        read_sets(settings(data, {"name": "mine", "table": "mine.json", **changed}))


def test_rows_are_chosen_of_tables_only(data):
    with pytest.raises(ValueError, match="where"):
        settings(data, {"name": "mine", "dataset": "facts_cities", "where": {"origin": "a"}})


def test_stores_read_as_one_set_are_their_rows_below_each_other(data):
    parts = [settings(data, {"name": n, "table": "mine.json", "where": {"origin": n}}) for n in "ab"]
    tables = [read_sets(part).sources[0] for part in parts]
    stores = [path.parent for path in sorted((data / "cache" / "activations").glob("*/*/plan.json"))]
    assert len(stores) == 2
    both = read_sets(settings(data, {"name": "both", "store": list(map(str, stores))})).sources[0]
    assert sorted(both.texts) == sorted(row["text"] for row in ROWS)
    of_text = dict(
        zip((t for table in tables for t in table.texts), np.concatenate([t.values for t in tables]), strict=True)
    )
    np.testing.assert_array_equal(both.values, np.stack([of_text[text] for text in both.texts]))


def test_what_one_part_does_not_know_the_whole_does_not_know():
    labels = np.array([True, False])
    known = FeatureTable("a", np.ones((2, 3)), labels, "1", texts=("x", "y"), groups=("g", "h"))
    unknown = FeatureTable("b", np.zeros((2, 3)), labels, "2", texts=("z", "w"))
    whole = stacked([known, unknown])
    assert (whole.texts, whole.groups, whole.name) == (("x", "y", "z", "w"), None, "a")
    assert stacked([known]) is known
