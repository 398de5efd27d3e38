"""A page of the docs, run as a reader would: its blocks in order, in one folder, its outputs compared with what comes out."""

import contextlib
import io
import math
import os
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import typer

from probeshift.cli import app
from probeshift.provenance import cache_root

DOCS = Path(__file__).parents[1] / "docs"
NUMBER = re.compile(r"-?\d+(?:,\d{3})*(?:\.\d+)?")
FRAMES = str.maketrans(dict.fromkeys("│┃━─┏┓┗┛┡┩╇┳┻└┘┴┬├┤┼", " "))
# Decimals on a page came from another machine: float32 sums in another order, a tied question that falls the other way.
ATOL, RTOL = 0.02, 0.02


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, the line of the page it begins on, and the file that is named just before it."""

    language: str
    body: str
    line: int
    file: str | None


def blocks(page: str) -> list[Block]:
    found = re.finditer(r"^(?:`([\w./-]+)`:\n\n)?```(\w*)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    return [Block(m[2], m[3], page.count("\n", 0, m.start(2)) + 1, m[1]) for m in found]


def run_page(page: str, folder: Path, *, env: dict[str, str] | None = None) -> None:
    """Run all `bash` and `python` blocks in the folder; each `text` block must be what the block before it printed.

    Python blocks share their names. One below a file's name is written into that file, a `diff` changes it; Python blocks behind them
    run in processes of their own, which see the changed files. A command that fails, an exception or another output is an AssertionError.
    """
    env, names, printed, changed = {**os.environ, **shell_environment(folder), **(env or {})}, {}, None, None
    for block in blocks(page):
        where = f"block at line {block.line}"
        changed = folder / block.file if block.file else changed
        if block.language == "bash":
            printed = _shell(block.body, folder, env, where)
        elif block.language == "diff":
            assert changed is not None, f"{where}: a change of no file"
            _change(changed, block.body, where)
        elif block.language == "python" and block.file:
            changed.write_text(block.body)
        elif block.language == "python" and changed:
            printed = _run([sys.executable, "-c", block.body], folder, env, where)
        elif block.language == "python":
            printed = _python(block.body, folder, names, where)
        elif block.language == "text":
            assert printed is not None, f"{where}: an output without a command"
            missing = first_missing(block.body, printed)
            assert missing is None, f"{where}: not printed: {missing!r}\n--- printed:\n{printed}"
        else:
            raise AssertionError(f"{where}: a {block.language or 'nameless'} block, which nothing runs")


def shell_environment(folder: Path) -> dict[str, str]:
    """A `probeshift` and a `python` that are those of this process, and a cache of its own that knows the converted models."""
    bin_folder, cache = folder / ".bin", folder / ".cache"
    bin_folder.mkdir()
    for name, command in (("probeshift", f"{sys.executable} -m probeshift"), ("python", sys.executable)):
        path = bin_folder / name
        path.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    cache.mkdir()
    (cache_root() / "models").mkdir(parents=True, exist_ok=True)
    (cache / "models").symlink_to(cache_root() / "models")
    return {"PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}", "PROBESHIFT_CACHE": str(cache), "COLUMNS": "400"}


def _shell(body: str, folder: Path, env: dict[str, str], where: str) -> str:
    bash = shutil.which("bash")
    assert bash, "the pages' commands are written for bash"
    return _run([bash, "-euo", "pipefail", "-c", body], folder, env, where)


def _run(command: list[str], folder: Path, env: dict[str, str], where: str) -> str:
    done = subprocess.run(command, cwd=folder, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, f"{where}: exit code {done.returncode}\n{done.stdout}"
    return done.stdout


def _change(path: Path, diff: str, where: str) -> None:
    """Replace the one place that has the lines without `+` by those without `-`."""
    before, after = ("".join(line[1:] + "\n" for line in diff.splitlines() if line[0] in kept) for kept in (" -", " +"))
    text = path.read_text()
    assert text.count(before) == 1, f"{where}: {path.name} has these lines {text.count(before)} times"
    path.write_text(text.replace(before, after))


def _python(body: str, folder: Path, names: dict, where: str) -> str:
    out, before = io.StringIO(), (Path.cwd(), os.environ.get("PROBESHIFT_CACHE"))
    os.chdir(folder)
    os.environ["PROBESHIFT_CACHE"] = str(folder / ".cache")
    try:
        with contextlib.redirect_stdout(out):
            exec(compile(body, f"<{where}>", "exec"), names)
    finally:
        os.chdir(before[0])
        os.environ.pop("PROBESHIFT_CACHE")
        if before[1] is not None:
            os.environ["PROBESHIFT_CACHE"] = before[1]
    return out.getvalue()


def first_missing(claimed: str, printed: str) -> str | None:
    """The first claimed line that is not among the printed ones behind the line before it; None when all are.

    Words must be equal, whole numbers too, decimals nearly; `...` alone is any lines, within a line any words. Without a `...` between
    them, claimed lines must follow each other.
    """
    lines = [text for line in printed.splitlines() if (text := plain(line))]
    here, free = 0, True
    for line in filter(None, map(plain, claimed.splitlines())):
        if line == "...":
            free = True
            continue
        reach = lines[here:] if free else lines[here : here + 1]
        found = next((i for i, text in enumerate(reach) if alike(line, text)), None)
        if found is None:
            return line
        here, free = here + found + 1, False
    return None


def plain(line: str) -> str:
    return " ".join(line.translate(FRAMES).split())


def alike(claimed: str, printed: str) -> bool:
    words = ".*".join(_words(part) for part in claimed.split("..."))
    match = re.fullmatch(words, printed)
    if match is None:
        return False
    wanted = NUMBER.findall(claimed.replace("...", ""))
    return all(_near(a, b) for a, b in zip(wanted, match.groups(), strict=True))


def _words(text: str) -> str:
    """A pattern of the text in which every number is a group."""
    parts = re.split(f"({NUMBER.pattern})", text)
    return "".join(f"({NUMBER.pattern})" if i % 2 else re.escape(part) for i, part in enumerate(parts))


def _near(claimed: str, printed: str) -> bool:
    if "." not in claimed and "." not in printed:
        return claimed == printed
    a, b = (float(number.replace(",", "")) for number in (claimed, printed))
    return math.isclose(a, b, rel_tol=RTOL, abs_tol=ATOL)


ROOT = typer.main.get_command(app)


def unknown_word(line: list[str]) -> str | None:
    """The first word of a `probeshift` command line that is neither a command nor an option of it; None when all are known."""
    command, words = ROOT, line[1:]
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        if words[0] not in command.commands:
            return words[0]
        command = command.commands[words.pop(0)]
    known = {
        name.replace("_", "-") for parameter in command.params for name in parameter.opts + parameter.secondary_opts
    }
    asked = [word.split("=")[0].replace("_", "-") for word in words if word.startswith("--")]
    return next((word for word in asked if word not in {*known, "--help"}), None)
