"""Option groups: a command takes a dataclass with its flags instead of a parameter for each of them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints


def with_option_groups(function: Callable[..., None]) -> Callable[..., None]:
    """Give a command a flag for each field of those of its parameters that are dataclasses.

    A field is annotated as a parameter would be (`Annotated[int, typer.Option(…)]`) and has the flag's
    default. The flags come in the order of the parameters and their fields.
    """
    signature = inspect.signature(function, eval_str=True)
    groups: dict[str, type[Any]] = {
        name: parameter.annotation
        for name, parameter in signature.parameters.items()
        if isinstance(parameter.annotation, type) and is_dataclass(parameter.annotation)
    }

    def command(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        function(**values)

    parameters = [
        flag
        for name, parameter in signature.parameters.items()
        for flag in (_flags_of(groups[name]) if name in groups else [parameter])
    ]
    command.__doc__ = function.__doc__
    command.__signature__ = signature.replace(  # type: ignore[attr-defined]  # typer reads it
        parameters=[flag.replace(kind=inspect.Parameter.KEYWORD_ONLY) for flag in parameters]
    )
    return command


def _flags_of(group: type[Any]) -> list[inspect.Parameter]:
    annotations = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=annotations[field.name],
        )
        for field in fields(group)
    ]
