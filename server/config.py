"""The server's settings: one frozen object, made once from flags > environment > TOML file > defaults, and
passed in.

`load_config` is pure but for reading the TOML file it is given. A field's description is its flag's help.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from models.errors import ConfigError, InvalidReference, RequestError
from models.reference import canonical_type
from server.chat.prompt_formats import canonical_name

ENVIRONMENT_PREFIX = "CORRAL_"
# Variables of that prefix that are no settings of the server.
_OTHER_VARIABLES = frozenset({"CORRAL_HOME", "CORRAL_CONFIG", "CORRAL_DEBUG"})

KVType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl"]
Positive = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ServerConfig(BaseModel):
    """Everything `corral serve` can be told. `None` means "not set": chosen for the model or the machine."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, hide_input_in_errors=True)

    models: tuple[str, ...] = Field(
        default=(), description="Models to load at the start; others in the store are loaded on demand."
    )
    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 for all.")
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    api_keys: tuple[SecretStr, ...] = Field(
        default=(), description="Keys of which a client must send one; none: no key is asked for."
    )
    cors_origins: tuple[str, ...] = Field(
        default=(),
        description="Web origins whose pages may call this server (`*` for all); none: CORS is off.",
    )

    ctx: Positive | None = Field(
        default=None, description="Context of one request in tokens; not set: the model's own, at most 4096."
    )
    parallel: int = Field(
        default=8, ge=1, le=256, description="Requests that one model computes at the same time."
    )
    gpu_layers: Literal["auto"] | Annotated[int, Field(ge=0)] = Field(
        default="auto", description="Layers on the GPU; auto: as many as fit its free memory."
    )
    default_type: str = Field(
        default="Q4_K_M", description="Quantization type served where a model's name doesn't say one."
    )
    max_loaded: Positive | None = Field(
        default=None,
        description="Models loaded at the same time; beyond it the idle one used longest ago is unloaded."
        " Not set: as memory allows.",
    )
    prompt_format: str | None = Field(
        default=None, description="Prompt format of every model; not set: told from its metadata and name."
    )

    lora: tuple[str, ...] = Field(
        default=(),
        description="LoRA adapter for the model, a GGUF file or a PEFT folder: PATH[=NAME][@SCALE]. It is on"
        " unless the scale is 0; requests choose with `lora`, or MODEL:NAME.",
    )

    threads: Positive | None = Field(
        default=None, description="Threads for decoding; not set: one per physical core."
    )
    threads_batch: Positive | None = Field(
        default=None, description="Threads for prompts; not set: as for decoding."
    )
    n_batch: Positive = Field(default=2048, description="Most tokens in one call of llama_decode.")
    n_ubatch: Positive = Field(default=512, description="Most tokens computed at once within such a call.")
    prefill_chunk_tokens: Positive = Field(
        default=512, description="Most tokens of waiting prompts in a step in which other requests decode."
    )
    gap_ms: float = Field(
        default=200.0,
        gt=0,
        allow_inf_nan=False,
        description="Most milliseconds between two tokens of a request while others' prompts are computed,"
        " as far as the model is fast enough.",
    )
    speculate: Literal["off", "ngram"] = Field(
        default="off",
        description="Guess the next tokens and check them in one step; ngram: from what the request repeats.",
    )
    draft: str | None = Field(
        default=None,
        description="A small model of the same vocabulary that guesses the next tokens of those served.",
    )
    draft_max: int = Field(default=31, ge=1, le=64, description="Most tokens guessed at a time.")
    kv_unified: bool = Field(
        default=False, description="One KV cache that all sequences share, instead of one each."
    )
    flash_attn: Literal["auto", "on", "off"] = Field(default="auto", description="Flash attention.")
    type_k: KVType = Field(default="f16", description="Type of the K cache.")
    type_v: KVType = Field(
        default="f16", description="Type of the V cache; a quantized one needs flash attention."
    )
    prefix_cache_gib: float = Field(
        default=4.0,
        ge=0,
        allow_inf_nan=False,
        description="GiB of disk for the beginnings of prompts, kept over restarts; 0: off. Never more than a"
        " quarter of what is free.",
    )
    use_mmap: bool = Field(default=True, description="Map the model's file instead of reading it.")
    use_mlock: bool = Field(default=False, description="Keep the model from being swapped out.")
    use_extra_bufts: bool = Field(
        default=True,
        description="Let llama.cpp repack weights for this CPU (AMX, AVX); off if a worker crashes there.",
    )

    prompt_side: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="On a CPU, compute prompts on weights as the file has them and tokens on repacked ones,"
        " at the price of more memory; auto: where that is faster and fits.",
    )
    device_sampling: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Leave logits on the device that computes them and fetch only each row's largest, where a"
        " request's sampling needs no more; auto: on a GPU, where that is faster.",
    )

    queue_size: int = Field(
        default=256, ge=0, description="Requests that may wait per model; beyond it: 429."
    )
    request_timeout_s: Seconds | None = Field(
        default=None, description="Most seconds for one request; not set: no end."
    )
    load_wait_s: Seconds = Field(
        default=120.0, description="Seconds a request waits for its model to be loaded before it gets 503."
    )
    shutdown_grace_s: float = Field(
        default=30.0,
        ge=0,
        allow_inf_nan=False,
        description="Seconds that running requests get to finish at shutdown.",
    )
    body_limit_bytes: Positive = Field(default=32 << 20, description="Largest request body.")
    sse_comment_s: Seconds = Field(
        default=15.0,
        description="Seconds of silence in a stream after which a comment keeps proxies from closing it.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe log line."
    )

    @field_validator("prompt_format")
    @classmethod
    def _known_format(cls, value: str | None) -> str | None:
        try:
            return None if value is None else canonical_name(value)
        except RequestError as error:
            raise ValueError(error.message) from error

    @field_validator("default_type")
    @classmethod
    def _canonical_type(cls, value: str) -> str:
        try:
            return canonical_type(value)
        except InvalidReference as error:
            raise ValueError(error.message) from error

    @field_validator("api_keys")
    @classmethod
    def _keys_not_empty(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if any(not key.get_secret_value().strip() for key in value):
            raise ValueError("an API key must not be empty")
        return value


SETTINGS: tuple[str, ...] = tuple(ServerConfig.model_fields)
FLAG_NAMES = {"default_type": "--type", "api_keys": "--api-key", "cors_origins": "--cors-origin"}
"""Flags that aren't called like their setting."""
_LISTS = frozenset({"models", "api_keys", "cors_origins", "lora"})


def setting_help(name: str) -> str:
    """The help text of a setting's flag."""
    return ServerConfig.model_fields[name].description or ""


def load_config(
    flags: Mapping[str, Any], env: Mapping[str, str], toml_path: Path | None = None
) -> ServerConfig:
    """Merge the sources. `flags` has field names as keys; None and () there mean "not given".

    In the environment, lists are separated by commas. Raises ConfigError for an unknown key (naming the
    nearest), a bad value (naming its source) and an unreadable file.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, found in (
        ("toml", _from_toml(toml_path)),
        ("env", _from_environment(env)),
        ("flag", _from_flags(flags)),
    ):
        for name, value in found.items():
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
    """Settings among the variables.

    A variable that only resembles a setting is taken for a typing error; others are not ours (Kubernetes
    makes CORRAL_SERVICE_HOST and the like for a service called corral).
    """
    found: dict[str, Any] = {}
    for variable, text in env.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in _OTHER_VARIABLES:
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name in _LISTS:
            found[name] = [part.strip() for part in text.split(",") if part.strip()]
        elif name in SETTINGS:
            if text.strip():
                found[name] = text.strip()
        elif difflib.get_close_matches(name, SETTINGS, n=1, cutoff=0.72):
            raise ConfigError(
                f"unknown setting {variable} in the environment{_nearest(name, ENVIRONMENT_PREFIX)}"
            )
    return found


def _from_toml(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        with path.open("rb") as file:
            found = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"can't read the settings file {path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the settings file {path} is not valid TOML: {error}") from error
    for name in found:
        if name not in SETTINGS:
            raise ConfigError(f"unknown setting '{name}' in {path}{_nearest(name)}")
    return found


def _nearest(name: str, prefix: str = "") -> str:
    near = difflib.get_close_matches(name.lower().replace("-", "_"), SETTINGS, n=1, cutoff=0.5)
    if not near:
        return f"; known are {', '.join(SETTINGS)}"
    spelled = prefix + (near[0].upper() if prefix else near[0])
    return f"; did you mean {spelled}?"


def flag_of(name: str) -> str:
    """`api_keys` → `--api-key`."""
    return FLAG_NAMES.get(name, f"--{name.replace('_', '-')}")


def _source_name(source: str, name: str, toml_path: Path | None) -> str:
    if source == "flag":
        return flag_of(name)
    if source == "env":
        return ENVIRONMENT_PREFIX + name.upper()
    return f"'{name}' in {toml_path}"


def _describe(error: ValidationError, sources: Mapping[str, str]) -> str:
    """The first problem, in one line: setting, source, what is wrong. Never the value: it may be a key."""
    first = error.errors(include_url=False, include_context=False)[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    message = first["msg"].removeprefix("Value error, ")
    return (
        f"bad value for {sources.get(name, name)}: {message[:1].lower()}{message[1:]} ({setting_help(name)})"
    )
