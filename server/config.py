"""`ServerConfig`: the server's settings; a field's description is its flag's help.

They are read by `server.config_sources`. The settings of a served model are those of `server.serve_options`.
"""

# ruff: noqa: RUF009 - `setting` makes a dataclass field

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationInfo,
    field_validator,
)

from models.errors import ConfigError, InvalidReference, RequestError
from models.parse_duration import parse_duration
from models.reference import canonical_type
from server.chat.named_templates import template_of
from server.chat.prompt_formats import canonical_name
from server.chat.template_file import InvalidTemplateFile, read_template
from server.listener import host_names, is_loopback
from server.presets.table import PresetTable
from server.serve_options import SERVE_SETTINGS, ServeOptions
from server.setting import Bounds, Positive, setting
from server.supervisor.life import LifeSettings
from server.toolbox.mcp_config import read_servers
from server.toolbox.names import TOOL_NAMES

T = TypeVar("T")

ENVIRONMENT_PREFIX = "CORRAL_"
_MODE = re.compile(r"0?[0-7]{3}")
_ORIGIN = re.compile(
    r"\*|null|localhost|[A-Za-z][A-Za-z0-9+.-]*://(\[[0-9A-Fa-f:.]+\]|[^\s*:/?#@,\[\]]*)(:\d{1,5})?/?"
)
_HOST_NAME = re.compile(r"\*|(\*\.)?[^\s*:/@,.\[\]][^\s*:/@,\[\]]*|\[[0-9A-Fa-f:.]+\]|[0-9A-Fa-f:.]+")

Seconds = Annotated[float, Bounds(gt=0)]


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Time = Annotated[str, BeforeValidator(_as_text)]
"""A time as `parse_duration` reads it; in a settings file also a number."""


@dataclass(frozen=True, kw_only=True)
class HttpOptions:
    """The address to listen on, and who may call it."""

    host: Annotated[str, Field(min_length=1)] = setting(
        "127.0.0.1", "Address to listen on; 0.0.0.0 for all, several are separated by commas."
    )
    port: Annotated[int, Bounds(ge=0, le=65535)] = setting(8000, "Port to listen on; 0 takes a free one.")
    api_keys: tuple[SecretStr, ...] = setting(
        (), "Keys of which a client must send one; none: no key is asked for."
    )
    cors_origins: tuple[str, ...] = setting(
        (),
        "Web origins whose pages may call this server (`*` for all, `localhost` for pages of this machine);"
        " none: CORS is off.",
    )
    socket: str | None = setting(None, "Path of a unix socket to listen at, in place of --host and --port.")
    socket_mode: str = setting(
        "660", "Access rights of that socket, as chmod takes them: who may call the server."
    )
    tls_cert: str | None = setting(
        None,
        "Certificate for HTTPS, with those between it and its authority: a PEM file. It is read anew when it"
        " changes.",
    )
    tls_key: str | None = setting(None, "Key of that certificate: a PEM file without a password.")
    dialect: Literal["openai", "llama-server"] = setting(
        "openai",
        "The API to follow where OpenAI's and llama-server's contradict each other: docs/llama-server.md.",
    )
    allowed_hosts: tuple[str, ...] = setting(
        (),
        "Names, `*.example` too, by which this server is called without API keys, besides addresses and local"
        " names (`*` for all).",
    )


@dataclass(frozen=True, kw_only=True)
class CatalogueOptions:
    """The models and adapters that are served."""

    models: tuple[str, ...] = setting(
        (), "Models to load at the start; others in the store are loaded on demand."
    )
    default_type: str = setting("Q4_K_M", "Quantization type served where a model's name doesn't say one.")
    max_loaded: Positive | None = setting(
        None,
        "Models loaded at the same time; beyond it the idle one used longest ago is unloaded."
        " Not set: as memory allows.",
    )
    lora: tuple[str, ...] = setting(
        (),
        "LoRA adapter for the model, a GGUF file or a PEFT folder: PATH[=NAME][@SCALE]. It is on"
        " unless the scale is 0; requests choose with `lora`, or MODEL:NAME.",
    )


@dataclass(frozen=True, kw_only=True)
class LifeOptions:
    """The time that models stay loaded, and which of them go when another one needs room."""

    keep_alive: Time | None = setting(
        None,
        "Time without requests after which a model is unloaded: 5m, 1h30m, a number of seconds; -1: for ever,"
        " and so is not set. A request may ask for another one.",
    )
    model_keep_alive: tuple[str, ...] = setting(
        (), "The same for one model: MODEL=TIME; may be given several times."
    )
    pin: tuple[str, ...] = setting(
        (), "Model that is never unloaded once it is loaded, neither for its idle time nor to make room."
    )
    preload: tuple[str, ...] = setting(
        (), "Model to load at the start beside those named as REF, without waiting for it."
    )
    priority: tuple[str, ...] = setting(
        (), "MODEL=N: when another needs room, models with a lower number go first. 0 for those not named."
    )


@dataclass(frozen=True, kw_only=True)
class LimitOptions:
    """Limits on time and size."""

    request_timeout_s: Seconds | None = setting(None, "Most seconds for one request; not set: no end.")
    load_wait_s: Seconds = setting(
        120.0, "Seconds a request waits for its model to be loaded before it gets 503."
    )
    shutdown_grace_s: Annotated[float, Bounds(ge=0)] = setting(
        30.0, "Seconds that running requests get to finish at shutdown."
    )
    body_limit_bytes: Positive = setting(32 << 20, "Largest request body.")
    sse_comment_s: Seconds = setting(
        15.0, "Seconds of silence in a stream after which a comment keeps proxies from closing it."
    )


@dataclass(frozen=True, kw_only=True)
class LogOptions:
    """The log, what can be seen of requests, and traces."""

    metrics: bool = setting(True, "Have GET /metrics, for Prometheus.")
    slots: bool = setting(True, "Have GET /slots, which tells what the requests of this moment do.")
    slot_save_path: str | None = setting(
        None, "Folder in which POST /slots/{id} keeps what slots hold, and finds it again."
    )
    log_level: Literal["debug", "info", "warning", "error"] = setting("info", "Least severe log line.")
    log_format: Literal["text", "json"] = setting(
        "text", "Form of a log line: `text` for people, `json` for programs that collect logs."
    )
    inspect: Literal["off", "shape", "content"] = setting(
        "off",
        "Keep the latest requests for `GET /admin/inspect`: `shape` with lengths in place of"
        " texts, `content` with the texts. Keys are never kept.",
    )
    inspect_count: Annotated[int, Bounds(gt=0, le=1000)] = setting(
        100, "Number of requests that are kept for `/admin/inspect`."
    )
    tracing: bool = setting(
        False,
        "Send a span of each request by OpenTelemetry, as its OTEL_… variables say. Needs `corral[tracing]`.",
    )


@dataclass(frozen=True, kw_only=True)
class StateOptions:
    """The keeping of answers, so that requests can go on with them, and of usage."""

    response_store: bool = setting(
        True,
        "Keep responses, conversations and stored chats under CORRAL_HOME, so that requests can name them.",
    )
    response_store_bytes: Positive = setting(
        1 << 30, "Bytes of kept answers, beyond which those used longest ago go."
    )
    response_store_count: Positive = setting(
        10_000, "Number of kept answers, beyond which those used longest ago go."
    )
    web_page: bool = setting(True, "Have a chat page at `/`, and keep its chats under CORRAL_HOME.")
    web_page_bytes: Positive = setting(
        1 << 30, "Bytes of the page's chats, beyond which those gone on with longest ago go."
    )
    usage: bool = setting(True, "Count requests and tokens per key, model and day under CORRAL_HOME.")


@dataclass(frozen=True, kw_only=True)
class BatchOptions:
    """Files and batches, which are answered while nobody else asks."""

    batches: bool = setting(True, "Have /v1/files and /v1/batches, kept under CORRAL_HOME.")
    batch_parallel: Positive = setting(8, "Lines of batches that are answered at the same time.")
    file_limit_bytes: Positive = setting(200 << 20, "Largest file of /v1/files.")
    files_bytes: Positive = setting(
        10 << 30, "Bytes of all files, those of results too; beyond it none can be added."
    )


@dataclass(frozen=True, kw_only=True)
class ToolOptions:
    """The tools that this server itself runs for its clients."""

    tools: tuple[str, ...] = setting(
        (),
        f"Built-in tool to run for clients by /tools: {', '.join(TOOL_NAMES)}, or all. They read, write and"
        " execute as this user.",
    )
    mcp_servers: Annotated[str, Field(min_length=1)] | None = setting(
        None,
        "MCP servers whose tools /tools lists and calls: a JSON file, or JSON, with `mcpServers`; each is"
        " started by its command.",
    )


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
            keep_alives_s=_by_model(self.model_keep_alive, parse_duration),
            priorities=_by_model(self.priority, int),
            pinned=frozenset(map(canonical_key, self.pin)),
        )

    @field_validator("keep_alive")
    @classmethod
    def _a_time(cls, value: str | None) -> str | None:
        if value is not None:
            _checked(parse_duration, value)
        return value

    @field_validator("model_keep_alive")
    @classmethod
    def _times(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        _by_model(value, lambda text: _checked(parse_duration, text))
        return value

    @field_validator("priority")
    @classmethod
    def _priorities(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        _by_model(value, _whole_number)
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


def _by_model(rules: Sequence[str], read: Callable[[str], T]) -> dict[str, T]:
    """Return what `read` makes of each MODEL=VALUE, by the model's key. Raises ValueError."""
    values: dict[str, T] = {}
    for rule in rules:
        model, equals, text = rule.rpartition("=")
        if not equals or not model.strip():
            raise ValueError(f"write it as MODEL=VALUE, not {rule!r}")
        values[canonical_key(model.strip())] = read(text.strip())
    return values


def canonical_key(name: str) -> str:
    """Return a model's name with the type at its end, if there is one, as it is written: `demo:Q8_0`."""
    base, colon, type_ = name.rpartition(":")
    try:
        return f"{base}:{canonical_type(type_)}" if colon else name
    except InvalidReference:
        return name


def _checked(read: Callable[[str], T], text: str) -> T:
    try:
        return read(text)
    except ConfigError as error:
        raise ValueError(error.message) from error


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is no whole number; write it as MODEL=2") from None


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
