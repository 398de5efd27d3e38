"""A YAML file of settings: read, checked, and what is wrong with it told in one sentence that names the nearest valid key."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from probeshift.errors import UsageError, nearest

Model = TypeVar("Model", bound=BaseModel)


def read_config(path: Path, model: type[Model], **given: Any) -> Model:
    """The settings of a YAML file, with `given` values over them.

    Raises:
        UsageError: no such file, not YAML, or a key or value that is not valid; the nearest valid key is named.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"config {path} does not exist. Give --config a YAML file; examples/ has some.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"config {path} cannot be read as YAML ({' '.join(str(error).split())}).") from error
    if not isinstance(values, dict):
        raise UsageError(f"config {path} holds no settings. {nearest('', model.model_fields)}")
    try:
        return model.model_validate({**values, **given})
    except ValidationError as error:
        raise UsageError(_sentence(path, model, error)) from None


def _sentence(path: Path, model: type[BaseModel], error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return (
            f"config {path}: unknown key `{where}`. {nearest(str(first['loc'][-1]), _keys_beside(model, first['loc']))}"
        )
    if first["type"] == "missing":
        return f"config {path}: key `{where}` is missing."
    message = first["msg"].removeprefix("Value error, ").rstrip(".")
    return f"config {path}: {where + ': ' if where else ''}{message}."


def _keys_beside(model: type[BaseModel], location: tuple[int | str, ...]) -> list[str]:
    """The valid keys of the settings that the last part of a location stands in."""
    for part in location[:-1]:
        if isinstance(part, str) and part in model.model_fields:
            model = _model_in(model.model_fields[part].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The settings class in an annotation such as `tuple[X, ...]` or `X | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in typing.get_args(annotation) if (found := _model_in(part))), None)
