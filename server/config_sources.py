"""`load_config`: the settings, made once from flags > environment > TOML file > host > defaults.

`host` is what a cloud's host says of the address. It is pure but for reading the TOML file it is given.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from models.errors import ConfigError
from server.config import ENVIRONMENT_PREFIX, FLAG_NAMES, SETTINGS, ServerConfig, flag_of, setting_help

# Variables of that prefix that are no settings of the server.
_OTHER_VARIABLES = frozenset(
    {
        *("CORRAL_HOME", "CORRAL_CONFIG", "CORRAL_DEBUG", "CORRAL_TLS_CA"),
        *("CORRAL_KERNELS_LIBRARY", "CORRAL_KERNELS_SET", "CORRAL_RPC_LIBRARY"),
    }
)
_SERVICE_VARIABLE = re.compile(
    r"(.+_)?(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?|ENV_.+)"
)
_PORT_VARIABLE = re.compile(r"(.+_)?PORT")
_SERVICE_ADDRESS = re.compile(r"(tcp|udp|sctp)://.+", re.IGNORECASE)

_OF_HOSTS = {
    "port": "AIP_HTTP_PORT",
    "health_route": "AIP_HEALTH_ROUTE",
    "predict_route": "AIP_PREDICT_ROUTE",
}
"""Variables in which a cloud's host, Vertex AI, says where it calls."""

_BY_FLAG: dict[str, str] = {
    flag.removeprefix("--").replace("-", "_"): name for name, flag in FLAG_NAMES.items()
}
"""The settings that are also known in files and in the environment by the names of their flags."""
_LISTS = frozenset(
    {
        *(
            "models",
            "api_keys",
            "cors_origins",
            "allowed_hosts",
            "lora",
            "dry_sequence_breakers",
            "split",
            "tools",
        ),
        *("model_keep_alive", "pin", "preload", "priority", "default_models"),
    }
)


def load_config(
    flags: Mapping[str, Any], env: Mapping[str, str], toml_path: Path | None = None
) -> ServerConfig:
    """Merge the sources. `flags` has field names as keys; None and () there mean "not given".

    In the environment, lists are separated by commas. Raises ConfigError for an unknown key (naming the
    nearest), a bad value (naming its source) and an unreadable file.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, given in (
        ("host", {name: env[variable] for name, variable in _OF_HOSTS.items() if env.get(variable)}),
        ("toml", _from_toml(toml_path)),
        ("env", _from_environment(env)),
        ("flag", _from_flags(flags)),
    ):
        for name, value in given.items():
            values[name] = value
            sources[name] = _source_name(source, name, toml_path)
    try:
        return ServerConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_describe(error, sources)) from error


def _from_flags(flags: Mapping[str, Any]) -> dict[str, Any]:
    for name in flags:
        if name not in SETTINGS:
            raise ConfigError(f"unknown setting '{name}'{_nearest(name)}")
    return {name: value for name, value in flags.items() if value is not None and value not in ((), [])}


def _from_environment(env: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings among the variables.

    A variable that only resembles a setting is taken for a typing error; others are not ours.
    """
    settings: dict[str, Any] = {}
    for variable, text in env.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in _OTHER_VARIABLES:
            continue
        if is_service_variable(variable.removeprefix(ENVIRONMENT_PREFIX), text):
            continue
        spelled = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        name = _BY_FLAG.get(spelled, spelled)
        if name in settings:
            other = ENVIRONMENT_PREFIX + _other_name(spelled).upper()
            raise ConfigError(f"{variable} and {other} are the same setting; set one of them")
        if name in _LISTS:
            settings[name] = [part.strip() for part in text.split(",") if part.strip()]
        elif name in SETTINGS:
            if text.strip():
                settings[name] = text.strip()
        elif difflib.get_close_matches(name, SETTINGS, n=1, cutoff=0.72):
            raise ConfigError(
                f"unknown setting {variable} in the environment{_nearest(name, ENVIRONMENT_PREFIX)}"
            )
    return settings


def is_service_variable(name: str, value: str) -> bool:
    """True for what Kubernetes makes of a service called corral, or corral-and-more, for every pod beside it.

    `name` is without CORRAL_: SERVICE_HOST, PORT (tcp://…), PORT_8000_TCP, V1_PORT, API_SERVICE_PORT_HTTP …
    Docker's links have the same names, and ENV_… for each variable of the other container. A PORT that is no
    such address is the setting.
    """
    if _SERVICE_VARIABLE.fullmatch(name):
        return True
    return (
        _PORT_VARIABLE.fullmatch(name) is not None and _SERVICE_ADDRESS.fullmatch(value.strip()) is not None
    )


def _from_toml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        text = path.read_text(encoding="utf-8")
        settings: dict[str, Any] = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"can't read the settings file {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the settings file {path} is not valid TOML: {error}") from error
    values: dict[str, Any] = {}
    if (section := settings.pop("presets", None)) is not None:
        from server.presets.read import read_presets  # it needs all protocols' schemas

        values["presets"] = read_presets(section, text, str(path))
    for spelled, value in settings.items():
        name = _BY_FLAG.get(spelled, spelled)
        if name not in SETTINGS:
            raise ConfigError(f"unknown setting '{spelled}' in {path}{_nearest(spelled)}")
        if name in values:
            other = _other_name(spelled)
            raise ConfigError(f"'{spelled}' and '{other}' in {path} are the same setting; give one of them")
        values[name] = value
    return values


def _other_name(spelled: str) -> str:
    """Return a setting's name by its flag's name, and the other way round."""
    by_setting = {name: flag for flag, name in _BY_FLAG.items()}
    return _BY_FLAG.get(spelled, by_setting.get(spelled, spelled))


def _nearest(name: str, prefix: str = "") -> str:
    known = SETTINGS if prefix else (*SETTINGS, "presets")
    near = difflib.get_close_matches(name.lower().replace("-", "_"), known, n=1, cutoff=0.5)
    if not near:
        return f"; known are {', '.join(known)}"
    spelled = prefix + (near[0].upper() if prefix else near[0])
    return f"; did you mean {spelled}?"


def _source_name(source: str, name: str, toml_path: Path | None) -> str:
    if source == "flag":
        return flag_of(name)
    if source == "host":
        return _OF_HOSTS[name]
    if source == "env":
        return ENVIRONMENT_PREFIX + name.upper()
    return f"'{name}' in {toml_path}"


def _describe(error: ValidationError, sources: Mapping[str, str]) -> str:
    """Say the first problem in one line: setting, source, what is wrong. Never the value: it may be a key."""
    errors = error.errors(include_url=False, include_context=False)
    where = errors[0]["loc"]
    name = str(where[0]) if where else "settings"
    is_union = len(where) > 1 and isinstance(where[1], str)  # then each kind of value has an error
    told = [one for one in errors if one["loc"][:1] == where[:1]] if is_union else errors[:1]
    messages = [one["msg"].removeprefix("Value error, ") for one in told]
    wrong = ", or ".join(message[:1].lower() + message[1:] for message in messages)
    return f"bad value for {sources.get(name, name)}: {wrong} ({setting_help(name)})"
