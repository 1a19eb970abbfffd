"""The server's own options: a group of settings for each part of it; a field's help is its flag's.

`server.config` joins them with those of a served model (`server.serve_options`) and checks them.
"""

# ruff: noqa: RUF009 - `setting` makes a dataclass field

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, SecretStr

from server.setting import Bounds, Positive, setting
from server.toolbox.names import TOOL_NAMES

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
    health_route: str | None = setting(
        None, "A further path of GET /ready, where a cloud's host names one (AIP_HEALTH_ROUTE)."
    )
    predict_route: str | None = setting(
        None, "A further path of POST /invocations, where a cloud's host names one (AIP_PREDICT_ROUTE)."
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
    default_models: tuple[str, ...] = setting(
        (),
        "Model to load at the start where REF names none: of several the first that is here. A path counts"
        " where there is a model, as one that a host mounts.",
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
    drain_delay_s: Annotated[float, Bounds(ge=0)] = setting(
        0.0,
        "Seconds after SIGTERM in which /ready says 503 and requests are still taken, until balancers have"
        " noticed; the seconds of --shutdown-grace-s come after them.",
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
