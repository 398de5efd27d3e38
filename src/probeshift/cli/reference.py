"""The page docs/cli.md, from the same commands and options that --help shows: `python -m probeshift.cli.reference > docs/cli.md`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

HEAD = """# All commands

*Made from `--help` by `python -m probeshift.cli.reference > docs/cli.md`; a test keeps it current.*

Names with `_` work like those with `-`. `probeshift --install-completion` sets up completion for your shell. Results go to standard
output, talk to standard error. Exit codes: 0 done; 1 the run failed; 2 not valid as given; 4 model or data missing; 5 out of memory;
130 and 143 interrupted.
"""


def reference() -> str:
    """The page as Markdown."""
    import typer.main

    from probeshift.cli import app

    parts = (
        part
        for name, command in _commands("probeshift", typer.main.get_command(app))
        for part in _section(name, command)
    )
    return HEAD + "\n" + "\n".join(parts) + "\n"


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """All commands, parents first, in the order of --help."""
    yield name, command
    for inner_name, inner in getattr(command, "commands", {}).items():
        yield from _commands(f"{name} {inner_name}", inner)


def _section(name: str, command: Any) -> Iterator[str]:
    yield f"{'#' * min(4, 1 + len(name.split()))} {name}\n"
    told, *examples = (command.help or "").split("Example:")
    yield from (" ".join(part.split()) + "\n" for part in told.split("\n\n") if part.strip())
    if examples:
        yield "\n".join(("```bash", *(" ".join(example.split()) for example in examples), "```")) + "\n"
    inner = getattr(command, "commands", {})
    if inner:
        yield "\n".join(f"- `{name} {n}`: {c.get_short_help_str(200)}" for n, c in inner.items()) + "\n"
    rows = [_row(p) for p in command.params if not getattr(p, "hidden", False) and "completion" not in p.name]
    if rows:
        yield "| option | default | what |\n|---|---|---|\n" + "\n".join(rows) + "\n"


def _row(parameter: Any) -> str:
    flags = [*parameter.opts, *parameter.secondary_opts]
    if parameter.param_type_name == "argument":
        flags = [(parameter.metavar or parameter.name or "").upper()]
    default = "required" if parameter.required else _default(parameter)
    cells = (", ".join(f"`{flag}`" for flag in flags), default, getattr(parameter, "help", None) or "")
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"


def _default(parameter: Any) -> str:
    shown = getattr(parameter, "show_default", None)
    if isinstance(shown, str):
        return shown
    value = parameter.default
    empty = (
        value is None
        or value is False
        or value == ""
        or callable(value)
        or isinstance(value, list | tuple)
        or shown is False
    )
    return "" if empty else str(value)


if __name__ == "__main__":
    print(reference(), end="")
