"""The page that maps the studies' scripts to commands: each command and each option it names is there."""

import re
import shlex

import pages
import pytest

PAGE = (pages.DOCS / "from-the-papers.md").read_text(encoding="utf-8")
COMMANDS = sorted(set(re.findall(r"`(probeshift [^`]+)`", PAGE)))


def unknown(line):
    return pages.unknown_word(shlex.split(line))


@pytest.mark.parametrize("line", COMMANDS)
def test_every_command_of_the_page_is_there(line):
    if line.startswith("probeshift sweep") and "sweep" not in pages.ROOT.commands:
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
