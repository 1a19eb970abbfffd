"""Field types of the request schemas that need more than a range, with the words of their refusals.

A validator raises ValueError; `errors.invalid` makes it the 400 that names the field.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any, cast

from pydantic import AfterValidator, Field, PlainValidator

from models.errors import ConfigError
from models.parse_duration import parse_duration
from server.engine.batch import Adapters
from server.engine.sampling_params import MAX_BREAKERS, RANGES

MAX_STOPS = 4_096
"""The most stop strings of a request: front ends of group chats send several for each name."""
MAX_STOP_CHARS = 1_000
MAX_PROMPTS = 1_024
MAX_BIASES = 10_000
MAX_ADAPTERS = 16
MAX_ADAPTER_SCALE = 1_000
MAX_LOGPROBS = 20
"""The most alternatives per token: OpenAI allows 5 in completions and 20 in chats, other servers more."""
TOKEN_ID_LIMIT = 1 << 31
_SEEDS = (1 << 32) - 1
"""llama.cpp takes 32-bit seeds and draws one for the largest; other whole numbers are folded below it."""

LogitBias = tuple[tuple[int | str, float], ...]
"""Token ids, or texts in llama-server's own routes, and what is added to their logits."""
PromptInput = str | list[int]
"""One prompt is text or token ids."""


def _stop(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise ValueError("must be a string or an array of strings")
    if len(stops) > MAX_STOPS:
        raise ValueError(f"has {len(stops)} stop strings; at most {MAX_STOPS} are allowed")
    for stop in stops:
        if not stop:
            raise ValueError("a stop string must not be empty")
        if len(stop) > MAX_STOP_CHARS:
            raise ValueError(
                f"a stop string has {len(stop):,} characters; at most {MAX_STOP_CHARS:,} are allowed"
            )
    return tuple(dict.fromkeys(stops))


def _logit_bias(value: Any) -> LogitBias:
    """Accept OpenAI's object of token ids or llama-server's array of [id, bias]; `false` bans the token."""
    if value is None:
        return ()
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        pairs = [(pair[0], pair[1]) for pair in value]
    else:
        raise ValueError("must be an object of token ids and biases")
    if len(pairs) > MAX_BIASES:
        raise ValueError(f"has {len(pairs):,} entries; at most {MAX_BIASES:,} are allowed")
    biases: dict[int | str, float] = {_token_id(token): _bias(token, bias) for token, bias in pairs}
    return tuple(biases.items())


def _token_id(token: Any) -> int:
    if isinstance(token, str) and token.isascii() and token.isdigit() and len(token) <= 10:
        token = int(token)
    if isinstance(token, bool) or not isinstance(token, int) or not 0 <= token < TOKEN_ID_LIMIT:
        shown = repr(token)
        shown = shown if len(shown) <= 40 else shown[:39] + "…"
        raise ValueError(f"{shown} is not a token id; keys must be whole numbers, as strings")
    return token


def _bias(token: Any, bias: Any) -> float:
    if bias is False:
        return -math.inf
    if isinstance(bias, bool) or not isinstance(bias, int | float) or not -100 <= bias <= 100:
        raise ValueError(f"the bias of token {token} must be a number from -100 to 100, or false to ban it")
    return float(bias)


def _zero_if_negative(value: float) -> float:
    return max(value, 0)


def _seed(value: int) -> int:
    return value if value == -1 else value % _SEEDS


def _logprobs(value: Any) -> int | None:
    """Accept a number of alternatives; `false` requests nothing: some clients send it to completions too."""
    if value is None or value is False:
        return None
    if type(value) is not int or not 0 <= value <= MAX_LOGPROBS:
        raise ValueError(
            f"must be a whole number from 0 to {MAX_LOGPROBS}: how many alternatives are told with each token"
        )
    return value


def _keep_alive(value: Any) -> float | None:
    try:
        return None if value is None else parse_duration(value)
    except ConfigError as error:
        raise ValueError(error.message) from error


def _adapters(value: Any) -> Adapters | None:
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(adapter, dict) for adapter in value):
        raise ValueError("must be an array of objects with an 'id' and a 'scale'")
    if len(value) > MAX_ADAPTERS:
        raise ValueError(f"has {len(value):,} adapters; at most {MAX_ADAPTERS} are allowed")
    scales: dict[int, float] = {}
    for adapter in value:
        adapter_id, scale = _adapter(adapter)
        if adapter_id in scales:
            raise ValueError(f"names adapter {adapter_id} twice; name it once")
        scales[adapter_id] = scale
    return tuple(sorted(scales.items()))


def _adapter(value: dict[str, Any]) -> tuple[int, float]:
    if value.keys() != {"id", "scale"}:
        raise ValueError("every adapter must have an 'id' and a 'scale' and nothing else")
    adapter_id, scale = value["id"], value["scale"]
    if type(adapter_id) is not int or not 0 <= adapter_id < TOKEN_ID_LIMIT:
        raise ValueError("an adapter's id must be a whole number, 0 or more; GET /admin/adapters lists them")
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not abs(scale) <= MAX_ADAPTER_SCALE:
        raise ValueError(
            f"the scale of adapter {adapter_id} must be a number "
            f"from {-MAX_ADAPTER_SCALE:,} to {MAX_ADAPTER_SCALE:,}"
        )
    return adapter_id, float(scale)


def _prompts(value: Any) -> list[PromptInput]:
    """Return the prompts in order: of a string, strings, token ids or lists of those."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        raise ValueError(
            "must be a string, an array of strings, an array of token ids, or an array of those arrays"
        )
    if _is_tokens(value):
        return [value]
    if len(value) > MAX_PROMPTS:
        raise ValueError(f"has {len(value):,} prompts; at most {MAX_PROMPTS:,} are allowed in one request")
    for prompt in value:
        if not isinstance(prompt, str) and not _is_tokens(prompt):
            raise ValueError("every prompt in the array must be a string or a non-empty array of token ids")
    return value


def _is_tokens(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(type(token) is int and 0 <= token < TOKEN_ID_LIMIT for token in value)
    )


def _token_list(value: Any) -> list[int]:
    if value == []:
        return []
    if not _is_tokens(value):
        raise ValueError("must be an array of token ids")
    tokens: list[int] = value
    return tokens


Stop = Annotated[tuple[str, ...], PlainValidator(_stop, json_schema_input_type=str | list[str] | None)]
Biases = Annotated[
    LogitBias, PlainValidator(_logit_bias, json_schema_input_type=dict[str, float | bool] | None)
]
Prompts = Annotated[
    list[PromptInput],
    PlainValidator(_prompts, json_schema_input_type=str | list[str] | list[int] | list[list[int]]),
]
Logprobs = Annotated[int | None, PlainValidator(_logprobs, json_schema_input_type=int | None)]
LoraAdapters = Annotated[
    Adapters | None, PlainValidator(_adapters, json_schema_input_type=list[dict[str, float]] | None)
]
KeepAlive = Annotated[
    float | None,
    PlainValidator(_keep_alive, json_schema_input_type=str | float | None),
    Field(description="The model stays loaded so long after its last request: 5m, seconds, 0; -1: for ever."),
]
"""Ollama's: the seconds that the model stays loaded after its last request, or a text such as `5m`."""
TokenList = Annotated[list[int], PlainValidator(_token_list, json_schema_input_type=list[int])]


class Limited:
    """The limits of a number, and what becomes of -1, as `RANGES` has them for a field of SamplingParams."""

    def __init__(self, name: str) -> None:
        self._range = RANGES[name]

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], dict[str, Any]]) -> Any:
        least, greatest, minus_one, is_bound = self._range
        limits = {"ge": least if minus_one is None else -1} | ({} if is_bound else {"le": greatest})

        def limited(source: Any) -> Any:
            return {**handler(source), **limits}

        if is_bound:
            change = AfterValidator(lambda value: min(value, greatest))
        elif minus_one == "off":
            change = AfterValidator(_zero_if_negative)
        else:
            return limited(source)
        return change.__get_pydantic_core_schema__(source, cast("Any", limited))


Seed = Annotated[int, Field(ge=-(1 << 63), lt=1 << 63), AfterValidator(_seed)]
"""llama-server's -1, draw one, is left to `to_engine`."""
MaxTokens = Annotated[int, Limited("max_tokens")]
"""The most tokens of an answer; -1, to the context's end, is left to `to_engine`."""
_CAP = AfterValidator(lambda value: min(value, TOKEN_ID_LIMIT - 1))
"""Whole numbers in JSON have no end; more than this bounds nothing here."""
AtMost = Annotated[int, Field(ge=0), _CAP]
"""An upper bound of whatever a field counts; its absence is left to the field."""
AtMostOrOff = Annotated[int, Field(ge=-1), _CAP]
"""The same with -1, whose meaning is left to the field."""
BudgetTokens = AtMostOrOff
"""An upper bound of thoughts; -1, no bound, is left to `reasoning`."""
Breakers = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=100)]],
    Field(min_length=1, max_length=MAX_BREAKERS, fail_fast=True),
    AfterValidator(tuple),
]
AlternativesOrOff = Annotated[int, Field(ge=-1, le=MAX_LOGPROBS), AfterValidator(_zero_if_negative)]
"""llama-server's -1 and 0 both mean "none": they become 0."""
Alternatives = Annotated[int, Field(ge=0, le=MAX_LOGPROBS)]
Priority = Annotated[int, Field(ge=-TOKEN_ID_LIMIT, lt=TOKEN_ID_LIMIT)]
