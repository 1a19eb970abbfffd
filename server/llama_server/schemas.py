"""Requests of `/completion` and `/infill`, typed and checked; field names are the wire's."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, PlainValidator

from server.openai.requests.field_types import (
    MAX_BIASES,
    MAX_PROMPTS,
    TOKEN_ID_LIMIT,
    AlternativesOrOff,
    AtMostOrOff,
    LogitBias,
)
from server.openai.requests.schemas import GenerationRequest

NativePrompt = list[str | int]
"""One prompt: texts and token ids, in their order."""

_MAX_PARTS = 1 << 20
_MAX_BIAS_CHARS = 1_000
_MOST_BIAS = 1e30
"""More would be no number of 32 bits beside a logit."""
_FORMS = "a string, an array of token ids and strings, an object with 'prompt_string', or an array of those"


def _prompts(value: Any) -> list[NativePrompt]:
    """Return the prompts in order. An array that has a token id is one prompt, any other several."""
    if not isinstance(value, list):
        return [_prompt(value)]
    if any(type(part) is int for part in value):
        return [_prompt(value)]
    if not value:
        raise ValueError(f"must be {_FORMS}")
    if len(value) > MAX_PROMPTS:
        raise ValueError(f"has {len(value):,} prompts; at most {MAX_PROMPTS:,} are allowed in one request")
    return [_prompt(prompt) for prompt in value]


def _prompt(value: Any) -> NativePrompt:
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        return [_text_of(value)]
    if not isinstance(value, list) or not value:
        raise ValueError(f"must be {_FORMS}")
    if len(value) > _MAX_PARTS:
        raise ValueError(f"has a prompt of {len(value):,} parts; at most {_MAX_PARTS:,} are allowed")
    for part in value:
        if not isinstance(part, str) and not (type(part) is int and 0 <= part < TOKEN_ID_LIMIT):
            raise ValueError("has a prompt with a part that is neither a string nor a token id")
    return value


def _text_of(value: dict[str, Any]) -> str:
    if value.get("multimodal_data"):
        raise ValueError(
            "has 'multimodal_data', and only chats have images: send them to /v1/chat/completions"
        )
    match value.get("prompt_string"):
        case str(text):
            return text
        case _:
            raise ValueError("has an object without a 'prompt_string'")


def _biases(value: Any) -> LogitBias:
    """Accept an object or an array of pairs, of token ids or texts, and numbers; `false` bans."""
    if value is None:
        return ()
    if isinstance(value, dict):
        pairs = [(_key(key), bias) for key, bias in value.items()]
    elif isinstance(value, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        pairs = [(pair[0], pair[1]) for pair in value]
    else:
        raise ValueError("must be an array of [token id or text, bias], or an object of those")
    if len(pairs) > MAX_BIASES:
        raise ValueError(f"has {len(pairs):,} entries; at most {MAX_BIASES:,} are allowed")
    return tuple({_bias_of(key): _bias(key, bias) for key, bias in pairs}.items())


def _key(key: str) -> int | str:
    return int(key) if key.isascii() and key.isdigit() and len(key) <= 10 else key


def _bias_of(key: Any) -> int | str:
    if isinstance(key, str) and 0 < len(key) <= _MAX_BIAS_CHARS:
        return key
    if type(key) is int and 0 <= key < TOKEN_ID_LIMIT:
        return key
    raise ValueError(f"has {key!r:.60}, which is neither a token id nor a text")


def _bias(key: Any, bias: Any) -> float:
    if bias is False:
        return -math.inf
    if isinstance(bias, bool) or not isinstance(bias, int | float) or not abs(bias) <= _MOST_BIAS:
        most = f"{_MOST_BIAS:g}"
        raise ValueError(
            f"the bias of {key!r:.60} must be a number from -{most} to {most}, or false to ban it"
        )
    return float(bias)


NativePrompts = Annotated[
    list[NativePrompt],
    PlainValidator(_prompts, json_schema_input_type=str | list[int | str | list[int | str]] | dict[str, str]),
]
NativeBiases = Annotated[
    LogitBias, PlainValidator(_biases, json_schema_input_type=dict[str, float | bool] | None)
]


def _no_images(value: Any) -> None:
    if value:
        raise ValueError("has images, and only chats have them: send them to /v1/chat/completions")


NoImages = Annotated[
    None, PlainValidator(_no_images, json_schema_input_type=list[dict[str, JsonValue]] | None)
]
ResponseFields = Annotated[list[Annotated[str, Field(max_length=128)]], Field(max_length=64)]
_Whole = Annotated[int, Field(ge=0, le=TOKEN_ID_LIMIT)]


class NativeRequest(GenerationRequest):
    """The fields that llama-server's own routes have beyond those of OpenAI's."""

    logit_bias: NativeBiases = ()
    response_fields: ResponseFields | None = Field(
        default=None, description="Only these fields are answered; `timings/prompt_n` is one within."
    )
    t_max_predict_ms: AtMostOrOff | None = Field(
        default=None,
        description="The answer ends so long after its first token, once it has a whole line; 0: never.",
    )

    samplers: JsonValue = Field(
        default=None, description="Names of samplers, or their letters; those that are left out are off."
    )
    post_sampling_probs: bool | None = Field(
        default=None,
        description="True: probabilities are those behind the samplers, as `prob` and `top_probs`.",
    )

    image_data: NoImages = Field(default=None, description="Must be empty: only chats have images.")

    # Accepted and without effect here, which is logged.
    n_indent: _Whole | None = None
    min_keep: _Whole | None = None
    adaptive_target: float | None = None
    adaptive_decay: float | None = None
    backend_sampling: bool | None = None
    n_discard: _Whole | None = None
    n_cache_reuse: _Whole | None = None
    sse_ping_interval: Annotated[int, Field(ge=-1)] | None = None


class NativeCompletionRequest(NativeRequest):
    """`POST /completion`."""

    prompt: NativePrompts = Field(
        description="Text, or texts and token ids in one sequence, or an array of such prompts."
    )
    n_cmpl: Annotated[int, Field(ge=1, le=128)] | None = Field(default=None, description="Another name of n.")
    logprobs: AlternativesOrOff | None = Field(default=None, description="Another name of n_probs.")


class ExtraInput(BaseModel):
    """Another file's text in `input_extra`."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)

    text: str
    filename: str | None = None


class InfillRequest(NativeRequest):
    """`POST /infill`."""

    input_prefix: str = Field(description="The text before the gap.")
    input_suffix: str = Field(description="The text after the gap.")
    prompt: str | None = Field(default=None, description="The beginning of what fills the gap.")
    input_extra: Annotated[list[ExtraInput], Field(max_length=1_024, fail_fast=True)] | None = Field(
        default=None, description="Other files' texts."
    )
    spm_infill: bool | None = Field(
        default=None, description="True: the suffix goes before the prefix; the model's own order by default."
    )


class SlotFile(BaseModel):
    """The body of `POST /slots/{id}`, for all but erasing."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    filename: str | None = None
