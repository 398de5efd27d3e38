"""The command prints results on stdout, plain for people and JSON for programs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from probeshift.cli.datasets import app
from probeshift.datasets import DATASETS
from probeshift.errors import UsageError


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


@pytest.fixture(autouse=True)
def no_data_folder(monkeypatch):
    monkeypatch.delenv("PROBESHIFT_DATA", raising=False)


def test_the_list_names_every_dataset_on_a_line_of_its_own():
    lines = run().splitlines()
    for spec in DATASETS:
        assert sum(line.split()[0] == spec.name for line in lines if line.split()) == 1


def test_the_list_as_json_says_what_is_available():
    listed = {row["name"]: row for row in json.loads(run("--json"))["datasets"]}
    assert listed["facts_cities"]["available"] == "bundled"
    assert listed["got_cities"]["available"] == "missing"
    assert listed["rte"]["hub_id"] == "aps/super_glue"


def test_show_prints_splits_leak_and_two_examples():
    shown = run("show", "facts_cities")
    assert "of test rows share a city with the first 400 train questions" in shown
    assert shown.count("--- an example") == 2


def test_show_as_json_is_one_object_with_a_schema_version():
    report = json.loads(run("show", "facts_cities_conj", "--split-by", "entity", "--json"))
    assert report["schema_version"] == 1
    assert report["split_by"] == "entity"
    assert report["entity_leak_whole_train"]["n_rows"] == 0
    assert report["entity_leak_by_question"]["share"] > 0.3
    assert {example["label"] for example in report["examples"]} == {True, False}


def test_show_reads_a_file_of_your_own(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("claim,ok\n" + "".join(f"Claim [{i}],{i % 2}\n" for i in range(30)))
    report = json.loads(run("show", "--data", str(path), "--text-column", "claim", "--label-column", "ok", "--json"))
    assert sum(split["n_rows"] for split in report["splits"]) == 30
    assert "Claim [" in run("show", "--data", str(path), "--text-column", "claim", "--label-column", "ok")


@pytest.mark.parametrize("arguments", [("show",), ("show", "facts_cities", "--data", "x.csv")])
def test_show_wants_a_name_or_a_file(arguments):
    with pytest.raises(UsageError, match="either the name of a dataset or --data"):
        CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def test_importing_the_datasets_loads_nothing_heavy():
    heavy = ("torch", "transformers", "pandas", "pyarrow", "numpy", "datasets")
    code = f"import sys, probeshift.datasets; print([m for m in {heavy} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
