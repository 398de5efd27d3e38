"""The page of all commands is what the commands say, completion scripts are scripts, and help waits for no heavy library."""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from probeshift.cli.reference import reference

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "transformers", "sklearn", "scipy", "pandas", "pyarrow", "matplotlib")


COMMAND = [sys.executable, "-c", "import sys; sys.argv[0] = 'probeshift'; from probeshift import cli; cli.main()"]


def help_of(*command):
    script = (
        "import json, sys\nfrom probeshift import cli\n"
        f"sys.argv = {['probeshift', *command]!r}\n"
        "try:\n    cli.main()\nexcept SystemExit as stop:\n    code = stop.code\n"
        f"print(json.dumps([code, [m for m in {HEAVY!r} if m in sys.modules]]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout, *json.loads(done.stdout.splitlines()[-1])


def test_the_page_of_all_commands_is_current():
    stale = "docs/cli.md is not current: run python -m probeshift.cli.reference > docs/cli.md"
    assert (ROOT / "docs" / "cli.md").read_text() == reference(), stale


def test_the_page_knows_every_command_and_an_example_of_each():
    page = reference()
    for command in (
        "score",
        "export",
        "import",
        "table",
        "ls",
        "show",
        "diff",
        "doctor",
        "extract",
        "train",
        "crossdata compare",
    ):
        section = page.split(f" probeshift {command}\n", 1)[1].split("\n#", 1)[0]
        assert f"```bash\nprobeshift {command} " in section, command
    assert "| `--layer` |" in page.split(" probeshift score\n", 1)[1].split("\n#", 1)[0]


@pytest.mark.parametrize(
    "command", [("--help",), ("score", "--help"), ("diff", "-h"), ("crossdata", "compare", "--help")]
)
def test_help_loads_no_heavy_library(command):
    out, code, loaded = help_of(*command)
    assert code == 0 and "Usage" in out and loaded == []


def test_the_check_for_heavy_libraries_can_fail():
    _, code, loaded = help_of("table", "no-such-run")
    assert code == 2 and "pandas" in loaded


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_scripts(shell):
    env = {**os.environ, "_PROBESHIFT_COMPLETE": f"source_{shell}"}
    done = subprocess.run(COMMAND, capture_output=True, text=True, env=env)
    assert done.returncode == 0 and "_PROBESHIFT_COMPLETE" in done.stdout, done.stderr
    if shutil.which(shell):
        checked = subprocess.run([shell, "-n"], input=done.stdout, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stderr


def test_completion_offers_commands_and_options():
    def complete(words, cursor):
        env = {**os.environ, "_PROBESHIFT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(cursor)}
        return subprocess.run(COMMAND, capture_output=True, text=True, env=env).stdout.split()

    assert {"score", "show"} <= set(complete("probeshift s", 1)) and "table" not in complete("probeshift s", 1)
    assert "--probe" in complete("probeshift score --pr", 2)


def test_the_citation_names_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (cited["cff-version"], cited["version"], cited["type"]) == ("1.2.0", project["version"], "software")
    assert cited["title"].startswith(project["name"]) and cited["authors"] and cited["message"]
