"""The server's settings as flags, made from `ServerConfig`: a field's description is its flag's help.

A flag that isn't given is None; then the environment, the settings file or the default decides.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import typer

from models.errors import ConfigError
from server.config import SETTINGS, ServerConfig, flag_of, setting_help
from server.config_sources import load_config

POSITIONAL = "models"
"""This setting is no flag: its value is the references on the command line."""

METAVARS: Final = {
    "host": "ADDRESS",
    "default_type": "T",
    "prompt_format": "NAME",
    "api_keys": "KEY",
    "cors_origins": "ORIGIN",
    "split": "HOST:PORT",
    "allowed_hosts": "NAME",
    "lora": "PATH",
    "draft": "REF",
    "image_hosts": "HOSTS",
    "mmproj": "FILE",
    "socket": "PATH",
    "socket_mode": "MODE",
    "tls_cert": "FILE",
    "tls_key": "FILE",
}
"""The help of these flags has a word of their own for the value."""

METAVARS_OF_TYPES: Final = {bool: None, int: "N", float: "X", str: None, list: None}
"""Flags can have these types; the help of the others has these words for the value."""


def with_settings(
    *names: str,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a flag for each setting (all, if none is named); it takes them as `**settings`."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        flags = [flag_parameter(name) for name in names or SETTINGS if name != POSITIONAL]
        function.__signature__ = signature.replace(parameters=[*own, *flags])  # type: ignore[attr-defined]  # typer reads it
        return function

    return decorate


def flag_parameter(name: str) -> inspect.Parameter:
    """Return the parameter of a Typer function that stands for a setting."""
    kind, metavar = _kind_of(name)
    flag = flag_of(name)
    has_opposite = kind is bool and not name.startswith("no_")
    declaration = f"{flag}/--no-{flag.removeprefix('--')}" if has_opposite else flag
    option = typer.Option(
        declaration, metavar=METAVARS.get(name, metavar), help=_help(name), show_default=False
    )
    annotation: Any = Annotated[list[str] if kind is list else kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def read_settings(
    settings: Mapping[str, Any], config_file: Path | None, env: Mapping[str, str] = os.environ
) -> ServerConfig:
    """Return the settings: flags win over CORRAL_… in `env`, which wins over the file (or CORRAL_CONFIG's).

    Raises ConfigError.
    """
    path = settings_file(config_file, env)
    if path is not None and not path.is_file():
        raise ConfigError(f"there is no settings file at {path}; check --config")
    return load_config(settings, env, path)


def settings_file(config_file: Path | None, env: Mapping[str, str] = os.environ) -> Path | None:
    """Return the path of the settings file: that of `--config`, or else CORRAL_CONFIG's, or None."""
    named = env.get("CORRAL_CONFIG", "").strip("\r\n")
    return config_file or (Path(named) if named else None)


def _help(name: str) -> str:
    default = ServerConfig.model_fields[name].default
    text = setting_help(name)
    if default is None or default == ():
        return text
    shown = {True: "on", False: "off"}[default] if isinstance(default, bool) else default
    return f"{text} [{shown}]"


def _kind_of(name: str) -> tuple[Any, str | None]:
    """Return the type that Typer parses a setting's flag to, and the word for its value in the help.

    A number that may also be a word is parsed as text: pydantic reads it. A setting of any other type is a
    defect: TypeError.
    """
    kinds = value_kinds(ServerConfig.model_fields[name].annotation)
    words = [kind for kind in kinds if isinstance(kind, str)]
    types = [kind for kind in kinds if not isinstance(kind, str)]
    match types:
        case []:
            return str, "|".join(words)
        case [type() as kind] if words:
            return str, "|".join([*words, "N" if kind is int else "X"])
        case [type() as kind] if kind in METAVARS_OF_TYPES:
            return kind, "S" if kind is float and name.endswith("_s") else METAVARS_OF_TYPES[kind]
        case _:
            raise TypeError(f"no flag can be made for the setting {name}, which is {kinds}")


def value_kinds(annotation: Any) -> tuple[type | str, ...]:
    """Return the types and literal words that an annotation allows, None left out.

    A tuple is `list`, `Annotated` counts as what it annotates.
    """
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return value_kinds(arguments[0])
    if origin in (Union, UnionType):
        return tuple(kind for argument in arguments for kind in value_kinds(argument))
    if origin is Literal:
        return tuple(map(str, arguments))
    if origin is tuple:
        return (list,)
    return () if annotation is type(None) else (annotation,)
