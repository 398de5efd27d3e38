"""The root command: it knows its commands by name and imports one when it runs; `--help` and completion read docstrings alone."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

# Name: module and what it holds; an `app` is a group of commands.
COMMANDS = {
    "demo": "demo.demo", "plan": "crossdata.plan", "extract": "positions.extract", "train": "positions.train", "steer": "steer.steer",
    "score": "score.score", "export": "exchange.export", "import": "exchange.import_", "table": "inspect.table", "ls": "inspect.ls",
    "show": "inspect.show", "diff": "inspect.diff", "doctor": "inspect.doctor", "report": "report.report",
    "crossdata": "crossdata.app", "sweep": "sweep.app", "datasets": "datasets.app", "models": "models.app", "transfer": "transfer.app",
}  # fmt: skip


class LazyCommands(Mapping[str, Any]):
    """The commands by name, each imported when it is asked for; while `listing`, only what --help says of them."""

    def __init__(self) -> None:
        self.loaded: dict[str, Any] = {}
        self.is_listing = False

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = COMMANDS[name].partition(".")
        if self.is_listing:
            return TyperCommand(name, help=told(module, attribute))
        if name not in self.loaded:
            self.loaded[name] = _command(name, getattr(importlib.import_module(f"probeshift.cli.{module}"), attribute))
        return self.loaded[name]

    @contextmanager
    def listing(self) -> Iterator[None]:
        """Names and first lines only."""
        self.is_listing = True
        try:
            yield
        finally:
            self.is_listing = False


class LazyGroup(TyperGroup):
    """A group over `LazyCommands`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = LazyCommands()

    def format_help(self, ctx: Any, formatter: Any) -> None:
        with self.commands.listing():
            super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        with self.commands.listing():
            return super().shell_complete(ctx, incomplete)


def told(module: str, attribute: str) -> str:
    """The docstring of a command, or the help of a group, read from its source without importing it."""
    spec = find_spec(f"probeshift.cli.{module}")
    assert spec and spec.origin
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == attribute:
            return ast.get_docstring(node) or ""
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and _name(node.targets[0]) == attribute:
            return next((str(ast.literal_eval(k.value)) for k in node.value.keywords if k.arg == "help"), "")
    raise AssertionError(f"{module} has no {attribute}")


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else ""


def _command(name: str, found: Any) -> Any:
    if isinstance(found, typer.Typer):
        group = get_group(found)
        group.name = name
        return group
    alone = typer.Typer(add_completion=False)
    alone.command(name)(found)
    return get_command(alone)
