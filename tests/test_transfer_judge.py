"""A study judged over HTTP by a server that answers on a real socket: what it says of costs, before and after."""

import json

import pandas as pd
import pytest
import transfer_study
import yaml
from judge_server import Reply, serving

PRICES = {"prompt": 1.0, "reply": 10.0, "as_of": "2026-11-01"}


def config(folder, **judge):
    """A study of two concepts, scored by a judge."""
    found = transfer_study.values(
        folder / "out",
        concepts={"rules": transfer_study.RULES[:3], "evaluate": transfer_study.RULES[:2], "rows": 4, "max_tokens": 200},
        methods=["linear"], strengths=[1.0], prompts={"n_selection": 1, "n_test": 1}, kl_target=None, score="overall",
        judge={"backend": "openai", "model": "m", "concurrency": 4, "prices": PRICES, **judge},
    )  # fmt: skip
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(found))
    return path


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """A finished study, how many calls the server saw, and its settings."""
    from typer.testing import CliRunner

    from probeshift.cli import app

    folder = tmp_path_factory.mktemp("judged")
    with serving(Reply()) as server:
        path = config(folder, base_url=server.base_url)
        planned = CliRunner().invoke(app, ["transfer", "run", "--config", str(path), "--dry-run", "--json"])
        done = CliRunner().invoke(app, ["transfer", "run", "--config", str(path)])
        calls = len(server.seen)
    assert done.exit_code == 0, done.output
    return folder / "out", calls, json.loads(planned.output[planned.output.index("{") :]), done.output


def test_the_cost_is_said_before_the_first_call_and_is_no_less_than_what_was_asked(judged):
    _, calls, planned, said = judged
    assert planned["judge"]["ratings"] >= calls > 0
    assert planned["judge"]["most_cost"] > planned["judge"]["cost"] > 0
    assert "(prices of 2026-11-01)" in said


def test_the_totals_afterwards_count_every_call_those_on_its_quality_too(judged):
    out, calls, *_ = judged
    (told,) = json.loads((out / "evaluation/judge.json").read_text())["usage"]
    assert (
        f" {calls:,} calls, {100 * calls:,} + {7 * calls:,} tokens, ${calls * (100 * 1 + 7 * 10) / 1e6:,.4f}, 0 missing"
        in told
    )
    assert told in (out / "analysis/report.md").read_text()


def test_the_report_shows_the_three_ratings_beside_the_score(judged):
    out, *_ = judged
    report = (out / "analysis/report.md").read_text()
    means = pd.read_parquet(out / "analysis/conditions.parquet").set_index("condition")
    assert (means[["judge_concept", "instruction", "fluency"]] == 2).all(axis=None)
    assert "| strict | loose | concept | instruction | fluency | KL |" in report
    assert "| 2.00 | 2.00 | 2.00 |" in report


def test_a_key_that_is_not_there_is_said_with_the_plan(tmp_path, run, monkeypatch):
    monkeypatch.delenv("MY_JUDGE_KEY", raising=False)
    path = config(tmp_path, key_variable="MY_JUDGE_KEY", base_url="https://judge.example/v1")
    code, out, _ = run("transfer", "run", "--config", path, "--dry-run")
    assert code == 0 and "MY_JUDGE_KEY is not set" in out
    monkeypatch.setenv("MY_JUDGE_KEY", "k")
    code, out, _ = run("transfer", "run", "--config", path, "--dry-run")
    assert code == 0 and "MY_JUDGE_KEY" not in out
