"""Command-line options made from settings models: a field's name, type, default and help are told once, in the model."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from probeshift.errors import UsageError

_PLAIN = (bool, int, float, str, Path)


def options_from(
    *models: type[BaseModel], skip: tuple[str, ...] = (), **renamed: str
) -> Callable[[Callable], Callable]:
    """Give a command one option per field of the models; it receives those the user set, as a dict named `given`.

    Fields in `skip` and nested settings get no option. `renamed` maps a field to its option name.
    """

    def decorate(command: Callable) -> Callable:
        own = [p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "given"]
        made = [
            _parameter(n, f, m, renamed)
            for m in models
            for n, f in m.model_fields.items()
            if n not in skip and _type_of(f)
        ]
        names = {p.name for p in made}

        @functools.wraps(command)
        def wrapped(**values: Any) -> Any:
            given = {k: v for k, v in values.items() if k in names and v not in (None, [])}
            return command(given=given, **{k: v for k, v in values.items() if k not in names})

        wrapped.__signature__ = inspect.Signature([*own, *made])  # type: ignore[attr-defined]
        wrapped.__annotations__ = {p.name: p.annotation for p in [*own, *made]}
        return wrapped

    return decorate


def _parameter(name: str, field: FieldInfo, model: type[BaseModel], renamed: dict[str, str]) -> inspect.Parameter:
    option = "--" + renamed.get(name, name).replace("_", "-")
    kind = _type_of(field)
    flags = [f"{option}/--no-{option[2:]}"] if kind is bool else [option]
    if name == "model":
        flags.append("-m")
    default = "required" if field.is_required() else _shown(field.default)
    info = typer.Option(*flags, help=field.description, show_default=default, rich_help_panel=_panel(model))
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[kind | None, info]
    )


def _type_of(field: FieldInfo) -> Any:
    """The option's type, or None for a nested model."""
    annotation = field.annotation
    if typing.get_origin(annotation) is tuple:
        inner = typing.get_args(annotation)[0]
        return list[str] if inner is str else None
    members = [
        a for a in (typing.get_args(annotation) if _is_union(annotation) else (annotation,)) if a is not type(None)
    ]
    if len(members) == 1 and members[0] in _PLAIN:
        return members[0]
    nested = any(isinstance(m, type) and issubclass(m, BaseModel) for m in members)
    return None if nested else str  # a choice; the model checks it


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _shown(default: Any) -> str | bool:
    if default is None or default is False:
        return False
    if isinstance(default, tuple):
        return ",".join(default) if len(default) <= 3 else f"{len(default)} names"
    return str(default)


_PANELS = {"ModelSettings": "Model", "DataSettings": "Data", "OwnFile": "Your own data"}


def _panel(model: type[BaseModel]) -> str:
    return next((_PANELS[kind.__name__] for kind in model.__mro__ if kind.__name__ in _PANELS), "Experiment")


def pick(given: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    """The part of the given options that belongs to a model, comma lists split."""
    found = {k: v for k, v in given.items() if k in model.model_fields}
    return {k: [x for item in v for x in item.split(",") if x] if isinstance(v, list) else v for k, v in found.items()}


def checked(model: type[BaseModel], values: dict[str, Any]) -> Any:
    """The settings, or one sentence about the first value that is not valid.

    Raises:
        UsageError: a value the model refuses.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = "--" + str(first["loc"][-1]).replace("_", "-")
        if first["type"] == "missing":
            raise UsageError(f"{name} is missing. See --help.") from None
        raise UsageError(f"{name}: {first['msg'].lower()}, got `{first.get('input')}`. See --help.") from None
