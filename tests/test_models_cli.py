"""`probeshift models`: results on stdout, one JSON object when asked for, exit codes for what a user can cause."""

import json
import os
import subprocess
import sys

from tiny_models import N_LAYERS, build, shared

from probeshift.models.names import SHORT_NAMES

ON_CPU = ("--device", "cpu", "--dtype", "float32")


def _run(*arguments):
    command = [sys.executable, "-c", "from probeshift.cli import main; main()", "models", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})


def test_the_listing_names_every_short_name_and_what_it_stands_for():
    shown = _run().stdout
    assert all(name in shown and place in shown for name, place in SHORT_NAMES.items())
    listed = json.loads(_run("--json").stdout)
    assert {entry["name"]: entry["location"] for entry in listed["models"]} == SHORT_NAMES


def test_check_gives_one_json_object_with_the_marked_tokens():
    done = _run("check", str(shared("llama")), *ON_CPU, "--text", "Is it true?", "--json")
    facts = json.loads(done.stdout)
    assert (done.returncode, facts["schema_version"]) == (0, 1)
    assert (facts["layers"], facts["d_model"], facts["causal"]) == (N_LAYERS, 64, True)
    assert (facts["dtype"], facts["parity"]["max_abs"], facts["parity"]["last_block"]) == ("float32", 0.0, "after norm")
    ids = facts["post_instruction_tokens"]["ids"]
    assert [token["id"] for token in facts["tokens"]][-len(ids) :] == ids
    assert facts["tokens"][-1]["marks"][0] == "-1"


def test_check_shows_a_base_models_tokens_as_they_are(tmp_path):
    folder = build("gpt2", tmp_path / "base", chat=False)
    shown = _run("check", str(folder), *ON_CPU, "--text", "a[b][/b]").stdout
    assert "post instruction tokens  none" in shown
    assert [row.split("│")[3].strip() for row in shown.splitlines() if row.startswith("│")] == list("a[b][/b]")


def test_what_a_user_can_cause_is_one_sentence_and_an_exit_code():
    unknown, absent = _run("check", "qwen3-4bb"), _run("check", "nobody-at-all/no-such-model")
    assert (unknown.returncode, absent.returncode) == (2, 4)
    assert "Nearest: `qwen3-4b`" in unknown.stderr
    assert "hf download nobody-at-all/no-such-model" in absent.stderr
    assert unknown.stdout == absent.stdout == ""
    assert "Traceback" not in unknown.stderr + absent.stderr
