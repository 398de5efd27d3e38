"""What the pages point at is there: links, pictures, headings, commands and options."""

import re
import shlex
from pathlib import Path

import nbformat
import pages
import pytest

ROOT = Path(__file__).parents[1]
MARKDOWN = sorted(
    path for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "benchmarks").glob("*.md"))
)
NOTEBOOKS = sorted((ROOT / "docs").rglob("*.ipynb"))


def text_of(path):
    if path.suffix == ".md":
        return path.read_text("utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def prose(text):
    return re.sub(r"^```.*?^```$|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)


def headings(text):
    """The anchors that GitHub gives to headings."""
    found = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}


def broken(path, text):
    """Relative links and pictures of a text that lead nowhere."""
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", prose(text)) if "://" not in link]
    gone = []
    for link in links:
        name, _, anchor = link.partition("#")
        target = (path.parent / name).resolve() if name else path
        inside = target.is_relative_to(ROOT) and target.exists()
        if not inside or (anchor and anchor not in headings(text_of(target))):
            gone.append(link)
    return gone


@pytest.mark.parametrize("path", [*MARKDOWN, *NOTEBOOKS], ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_and_picture_leads_somewhere(path):
    assert broken(path, text_of(path)) == []


def test_a_link_that_leads_nowhere_is_noticed():
    page = "# A heading: two\n[a](nothing.md) ![b](images/no.png) [c](../README.md) [d](#a-heading-two) [e](#else) [f](../../x)"
    here = ROOT / "docs" / "metrics.md"
    assert broken(here, page.replace("#a-heading-two", "#protocols")) == [
        "nothing.md",
        "images/no.png",
        "#else",
        "../../x",
    ]


def test_every_page_is_reached_from_the_readme():
    reached, todo = set(), [ROOT / "README.md"]
    while todo:
        path = todo.pop()
        reached.add(path)
        for link in re.findall(r"\]\(([^)#\s]+)", prose(text_of(path))):
            target = (path.parent / link).resolve()
            if target.suffix in (".md", ".ipynb") and target.exists() and target not in {*reached, *todo}:
                todo.append(target)
    apart = {ROOT / "CHANGELOG.md"}
    assert {*MARKDOWN, *NOTEBOOKS} - reached - apart == set()


def commands(text):
    """Command lines of `probeshift` in a page's shell blocks, continued lines joined."""
    bodies = [block.body.replace("\\\n", " ") for block in pages.blocks(text) if block.language in ("bash", "")]
    lines = [part.strip() for body in bodies for line in body.splitlines() for part in re.split(r"\s\|\s|\s>\s", line)]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("probeshift ")]


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_command_and_option_in_a_shell_block_is_there(path):
    assert [(word, line) for line in commands(text_of(path)) if (word := pages.unknown_word(line))] == []


def test_a_command_that_is_not_there_is_noticed():
    page = "```bash\ncat x | probeshift scor --probe P\nprobeshift score \\\n    --prob P > y\n```\n"
    assert [pages.unknown_word(line) for line in commands(page)] == ["scor", "--prob"]


def test_every_shell_block_closes_before_prose():
    prose_inside = [
        (path.name, line)
        for path in MARKDOWN
        for block in pages.blocks(text_of(path))
        if block.language == "bash"
        for line in block.body.splitlines()
        if "](" in line
    ]
    assert prose_inside == []
