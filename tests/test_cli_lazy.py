"""The root command imports a command when it runs, and tells what it would have told with all of them imported."""

import os
import subprocess
import sys

import pytest
from typer.main import get_command

from probeshift.cli import app
from probeshift.cli.lazy import COMMANDS, LazyCommands

HEAVY = ("torch", "transformers", "numpy", "pandas", "pydantic", "probeshift.datasets", "probeshift.experiments")


def loaded_after(*arguments):
    code = (
        "import sys\nfrom probeshift.cli import main\nsys.argv = ['probeshift', *sys.argv[1:]]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\nprint('LOADED', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    return done.stdout, set(done.stdout.rsplit("LOADED", 1)[1].split())


def test_help_lists_every_command_and_imports_none():
    out, loaded = loaded_after("--help")
    assert all(f" {name} " in out for name in COMMANDS)
    assert not loaded & set(HEAVY)


def test_a_command_imports_what_it_needs_and_no_other_command():
    _, loaded = loaded_after("report", "--help")
    assert "probeshift.cli.report" in loaded and "probeshift.cli.crossdata" not in loaded
    assert "probeshift.cli.crossdata" in loaded_after("crossdata", "--help")[1]


@pytest.mark.parametrize("name", COMMANDS)
def test_what_help_lists_is_what_the_command_says_of_itself(name):
    commands = LazyCommands()
    with commands.listing():
        listed = commands[name].get_short_help_str(200)
    assert listed and listed == commands[name].get_short_help_str(200)


def test_a_name_that_is_no_command_is_none():
    commands = get_command(app).commands
    assert commands.get("demo").name == "demo" and commands.get("dmeo") is None and len(commands) == len(COMMANDS)


@pytest.mark.parametrize(
    ("words", "found"), [("probeshift tr", {"train", "transfer"}), ("probeshift crossdata e", {"extract", "evaluate"})]
)
def test_completion_knows_commands_of_the_root_and_of_groups(words, found):
    code = "from probeshift.cli import app; app(prog_name='probeshift')"
    asked = {"_PROBESHIFT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, **asked})
    assert set(done.stdout.split()) == found
