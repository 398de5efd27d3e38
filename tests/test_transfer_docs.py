"""The page that maps the studies' scripts to commands: each command and each option it names is there."""

import re
import shlex
from pathlib import Path

import pytest
import typer

from probeshift.cli import app

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "from-the-papers.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"`(probeshift [^`]+)`", PAGE)))
ROOT = typer.main.get_command(app)


def unknown(line):
    """The first word of a command line that is neither a command nor one of its options; None when all are known."""
    command, words = ROOT, shlex.split(line)[1:]
    while words and hasattr(command, "commands"):
        if words[0] not in command.commands:
            return words[0]
        command = command.commands[words.pop(0)]
    options = {
        name.replace("_", "-") for parameter in command.params for name in parameter.opts + parameter.secondary_opts
    }
    asked = [word.split("=")[0].replace("_", "-") for word in words if word.startswith("--")]
    return next((word for word in asked if word not in options), None)


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_page_is_there(line):
    if line.startswith("probeshift sweep") and "sweep" not in ROOT.commands:
        pytest.skip("the sweep is not part of this installation")
    assert unknown(line) is None


def test_a_command_or_option_that_is_not_there_is_noticed():
    assert unknown("probeshift transfer fitt") == "fitt"
    assert unknown("probeshift transfer fit --metod linear") == "--metod"


def test_all_five_studies_are_on_the_page():
    assert [
        word
        for word in ("crossdata extract", "crossdata compare", "sweep run", "train", "transfer run")
        if word not in PAGE
    ] == []
