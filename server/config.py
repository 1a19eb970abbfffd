"""`ServerConfig`: all settings of a server, checked and joined.

They are read by `server.config_sources`. The server's own are fields of `server.server_options`, those of a
served model of `server.serve_options`.
"""

from __future__ import annotations

import math
import re
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from models.errors import ConfigError, InvalidReference, RequestError
from models.parse_duration import parse_duration
from models.reference import canonical_type
from models.rpc.address import parse_servers
from server.chat.named_templates import template_of
from server.chat.prompt_formats import canonical_name
from server.chat.template_file import InvalidTemplateFile, read_template
from server.listener import host_names, is_loopback
from server.model_rules import canonical_key, checked, values_by_model, whole_number
from server.presets.table import PresetTable
from server.serve_options import SERVE_SETTINGS, ServeOptions
from server.server_options import (
    BatchOptions,
    CatalogueOptions,
    HttpOptions,
    LifeOptions,
    LimitOptions,
    LogOptions,
    StateOptions,
    ToolOptions,
)
from server.supervisor.life import LifeSettings
from server.toolbox.mcp_config import read_servers
from server.toolbox.names import TOOL_NAMES

T = TypeVar("T")

ENVIRONMENT_PREFIX = "CORRAL_"
_MODE = re.compile(r"0?[0-7]{3}")
_ORIGIN = re.compile(
    r"\*|null|localhost|[A-Za-z][A-Za-z0-9+.-]*://(\[[0-9A-Fa-f:.]+\]|[^\s*:/?#@,\[\]]*)(:\d{1,5})?/?"
)
_PATH = re.compile(r"(/[A-Za-z0-9._~:@!$&'()*+,;=-]+)+")
_HOST_NAME = re.compile(r"\*|(\*\.)?[^\s*:/@,.\[\]][^\s*:/@,\[\]]*|\[[0-9A-Fa-f:.]+\]|[0-9A-Fa-f:.]+")


# Pydantic and the flags list the fields of the last base first.
class ServerConfig(
    BaseModel,
    ToolOptions,
    BatchOptions,
    StateOptions,
    LogOptions,
    LimitOptions,
    ServeOptions,
    LifeOptions,
    CatalogueOptions,
    HttpOptions,
    frozen=True,
):
    """Everything `corral serve` can be given. `None` means "not set": chosen for the model or the machine."""

    model_config = ConfigDict(
        extra="forbid", validate_default=True, hide_input_in_errors=True, arbitrary_types_allowed=True
    )

    presets: PresetTable = PresetTable()
    """The presets of the settings file, which no flag and no variable has."""

    @property
    def serve(self) -> ServeOptions:
        """The settings of each served model, as a worker gets them."""
        return ServeOptions(**{name: getattr(self, name) for name in SERVE_SETTINGS})

    @field_validator("prompt_format")
    @classmethod
    def _known_format(cls, value: str | None) -> str | None:
        try:
            return None if value is None else canonical_name(value)
        except RequestError as error:
            raise ValueError(error.message) from error

    @field_validator("chat_template")
    @classmethod
    def _template(cls, value: str | None) -> str | None:
        try:
            return None if value is None else template_of(value)
        except ConfigError as error:
            raise ValueError(error.message) from error

    @field_validator("chat_template_file")
    @classmethod
    def _readable(cls, value: str | None, info: ValidationInfo) -> str | None:
        """Return the whole path: workers have another folder."""
        if value is None:
            return None
        if info.data.get("chat_template") is not None:
            raise ValueError("chat_template is given, too; leave one of them out")
        try:
            read_template(Path(value))
        except InvalidTemplateFile as error:
            raise ValueError(error.message) from error
        return str(Path(value).resolve())

    @field_validator("split")
    @classmethod
    def _servers(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        is_private = bool(info.data.get("network_is_private"))
        if is_private and not value:
            raise ValueError(
                "--network-is-private says where its servers may be, and there are none; give both, or none"
            )
        try:
            return tuple(map(str, parse_servers(value, network_is_private=is_private)))
        except ConfigError as error:
            raise ValueError(error.message) from error

    @field_validator("default_type")
    @classmethod
    def _canonical_type(cls, value: str) -> str:
        try:
            return canonical_type(value)
        except InvalidReference as error:
            raise ValueError(error.message) from error

    @property
    def lives(self) -> LifeSettings:
        """The wishes for models' lives, by their names."""
        return LifeSettings(
            keep_alive_s=math.inf if self.keep_alive is None else parse_duration(self.keep_alive),
            keep_alives_s=values_by_model(self.model_keep_alive, parse_duration),
            priorities=values_by_model(self.priority, int),
            pinned=frozenset(map(canonical_key, self.pin)),
        )

    @field_validator("keep_alive")
    @classmethod
    def _a_time(cls, value: str | None) -> str | None:
        if value is not None:
            checked(parse_duration, value)
        return value

    @field_validator("model_keep_alive")
    @classmethod
    def _times(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        values_by_model(value, lambda text: checked(parse_duration, text))
        return value

    @field_validator("priority")
    @classmethod
    def _priorities(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        values_by_model(value, whole_number)
        return value

    @field_validator("api_keys")
    @classmethod
    def _clean_keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        """Cut off line breaks and space around a key, which a secret from a file has and no header."""
        keys = [key.get_secret_value().replace("\r", "").replace("\n", "").strip() for key in value]
        if not all(keys):
            raise ValueError("an API key must not be empty")
        if not all(key.isprintable() for key in keys):
            raise ValueError("an API key must not have control characters")
        return tuple(map(SecretStr, keys))

    @field_validator("slot_save_path")
    @classmethod
    def _a_folder(cls, value: str | None) -> str | None:
        if value is not None and not Path(value).is_dir():
            raise ValueError(f"there is no folder {value}; make it first")
        return value

    @field_validator("socket_mode")
    @classmethod
    def _access_rights(cls, value: str) -> str:
        if not _MODE.fullmatch(value):
            raise ValueError("write three octal digits, such as 660: user and group may call the server")
        return value

    @field_validator("tls_cert")
    @classmethod
    def _no_socket_with_tls(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value is not None and info.data.get("socket") is not None:
            raise ValueError(
                "a unix socket (--socket) has no TLS, as nobody can listen in; leave out one of them"
            )
        return value

    @field_validator("tls_key")
    @classmethod
    def _a_pair(cls, value: str | None, info: ValidationInfo) -> str | None:
        if "tls_cert" in info.data and (value is None) != (info.data["tls_cert"] is None):
            raise ValueError("--tls-cert and --tls-key belong together; give both, or none")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not _ORIGIN.fullmatch(origin.strip()) for origin in value):
            raise ValueError(
                "an origin is a scheme and a host, with a port or without, such as https://app.example, or *"
            )
        return value

    @field_validator("health_route", "predict_route")
    @classmethod
    def _plain_path(cls, value: str | None) -> str | None:
        if value is not None and not _PATH.fullmatch(value):
            raise ValueError(
                "write a path such as /predict: letters, digits and -._~:@!$&'()*+,;= between slashes"
            )
        return value

    @field_validator("tools")
    @classmethod
    def _known_tools(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        names = tuple(name.strip() for text in value for name in text.split(",") if name.strip())
        for name in names:
            if name not in (*TOOL_NAMES, "all"):
                raise ValueError(f"there is no tool {name!r}; there are {', '.join(TOOL_NAMES)}, and all")
        return names

    @field_validator("mcp_servers")
    @classmethod
    def _readable_servers(cls, value: str | None) -> str | None:
        try:
            if value is not None:
                read_servers(value)
        except ConfigError as error:
            raise ValueError(error.message) from error
        return value

    @field_validator("tools", "mcp_servers")
    @classmethod
    def _guarded(cls, value: T, info: ValidationInfo) -> T:
        """Refuse what other machines could use without a key."""
        host, keys = info.data.get("host", ""), info.data.get("api_keys")
        if value and not keys and not all(map(is_loopback, host_names(host))):
            raise ValueError(
                f"tools would be open to everybody who reaches {host}; set --api-key, or leave --host at"
                " 127.0.0.1"
            )
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _host_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not _HOST_NAME.fullmatch(name) for name in value):
            raise ValueError(
                "a host is a name without scheme and port, such as corral.example, or *.example, or *"
            )
        return value


SETTINGS: tuple[str, ...] = tuple(name for name in ServerConfig.model_fields if name != "presets")
"""The names of all settings that have a flag, in the order of their flags."""
_DESCRIPTIONS: dict[str, str] = {
    field.name: field.metadata["description"]
    for options in (
        HttpOptions,
        CatalogueOptions,
        LifeOptions,
        ServeOptions,
        LimitOptions,
        LogOptions,
        StateOptions,
        BatchOptions,
        ToolOptions,
    )
    for field in fields(options)
}
FLAG_NAMES = {
    "default_models": "--default-model",
    "default_type": "--type",
    "api_keys": "--api-key",
    "cors_origins": "--cors-origin",
    "allowed_hosts": "--allowed-host",
    "tools": "--tool",
}
"""These flags aren't called like their setting."""


def setting_help(name: str) -> str:
    """The help text of a setting's flag."""
    return _DESCRIPTIONS[name]


def flag_of(name: str) -> str:
    """`api_keys` → `--api-key`."""
    return FLAG_NAMES.get(name, f"--{name.replace('_', '-')}")
