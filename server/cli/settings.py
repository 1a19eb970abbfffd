"""The server's settings as flags, made from `ServerConfig`: a field's description is its flag's help.

A flag that isn't given is None, and then the environment, the settings file or the default decides.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from models.errors import ConfigError
from server.config import SETTINGS, ServerConfig, flag_of, load_config, setting_help

POSITIONAL = "models"
"""The setting that is no flag: the references on the command line."""

METAVARS = {
    "host": "ADDRESS",
    "gpu_layers": "auto|N",
    "default_type": "T",
    "prompt_format": "NAME",
    "api_keys": "KEY",
    "cors_origins": "ORIGIN",
    "lora": "PATH",
    "draft": "REF",
}


def with_settings(
    *names: str,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command a flag for each setting (all, if none is named); it takes them as `**settings`."""

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        signature = inspect.signature(function, eval_str=True)
        own = [p for p in signature.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        flags = [flag_parameter(name) for name in names or SETTINGS if name != POSITIONAL]
        function.__signature__ = signature.replace(parameters=[*own, *flags])  # type: ignore[attr-defined]
        return function

    return decorate


def flag_parameter(name: str) -> inspect.Parameter:
    """The parameter of a Typer function that stands for a setting."""
    kind, metavar = _kind_of(name)
    flag = flag_of(name)
    declaration = f"{flag}/--no-{flag.removeprefix('--')}" if kind is bool else flag
    option = typer.Option(
        declaration, metavar=METAVARS.get(name, metavar), help=_help(name), show_default=False
    )
    annotation: Any = Annotated[list[str] if kind is list else kind | None, option]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def read_settings(
    settings: Mapping[str, Any], config_file: Path | None, env: Mapping[str, str] = os.environ
) -> ServerConfig:
    """The flags that were given, over CORRAL_… in `env`, over the settings file (also CORRAL_CONFIG)."""
    named = env.get("CORRAL_CONFIG")
    path = config_file or (Path(named) if named else None)
    if path is not None and not path.is_file():
        raise ConfigError(f"there is no settings file at {path}; check --config")
    return load_config(settings, env, path)


def _help(name: str) -> str:
    default = ServerConfig.model_fields[name].default
    text = setting_help(name)
    if default is None or default == ():
        return text
    shown = {True: "on", False: "off"}[default] if isinstance(default, bool) else default
    return f"{text} [{shown}]"


def _kind_of(name: str) -> tuple[Any, str | None]:
    """The type that Typer parses a setting's flag to, and what stands for its value in the help."""
    choices = _choices(ServerConfig.model_fields[name].annotation)
    if choices:
        return str, "|".join(choices)
    annotation = str(ServerConfig.model_fields[name].annotation)
    if annotation.startswith("tuple"):
        return list, None
    if "bool" in annotation:
        return bool, None
    if "Literal" in annotation:  # a choice or a number: pydantic tells
        return str, None
    if "float" in annotation:
        return float, "S" if name.endswith("_s") else "X"
    if "int" in annotation:
        return int, "N"
    return str, None


def _choices(annotation: Any) -> tuple[str, ...]:
    return tuple(map(str, get_args(annotation))) if get_origin(annotation) is Literal else ()
