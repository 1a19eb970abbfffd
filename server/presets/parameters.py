"""The parameters that a preset may set, and their place in each protocol's request. Pure.

A parameter has one name here, chat completions'; a client may have given it by any of its spellings.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel

from server.anthropic.requests.schemas import CountTokensRequest, MessagesRequest
from server.embeddings.read import SCHEMAS as POOLED_SCHEMAS
from server.llama_server.schemas import InfillRequest, NativeCompletionRequest
from server.ollama.schemas import OllamaChatRequest, OllamaGenerateRequest, OllamaOptions
from server.openai.requests.schemas import (
    ApplyTemplateRequest,
    ChatCompletionRequest,
    CompletionRequest,
    ModelRequest,
    SamplingRequest,
)
from server.presets.forms import FORMS
from server.responses.schemas import ResponsesRequest

SCHEMAS: Final[Mapping[str, type[BaseModel]]] = MappingProxyType(
    {
        "chat": ChatCompletionRequest,
        "count_chat": ChatCompletionRequest,
        "apply_template": ApplyTemplateRequest,
        "text": CompletionRequest,
        "native": NativeCompletionRequest,
        "infill": InfillRequest,
        "response": ResponsesRequest,
        "messages": MessagesRequest,
        "count_tokens": CountTokensRequest,
        "ollama_chat": OllamaChatRequest,
        "ollama_generate": OllamaGenerateRequest,
        **{str(purpose): schema for purpose, schema in POOLED_SCHEMAS.items()},
    }
)
"""The schema of each purpose of `server.openai.requests.reading` whose requests a preset changes."""

_WITH_OPTIONS = frozenset({"ollama_chat", "ollama_generate"})
"""The purposes whose requests have their parameters in `options`."""

ANSWERING = frozenset({"chat", "text", "native", "infill", "response", "messages"}) | _WITH_OPTIONS
"""The purposes that make answers: a parameter that has no place in theirs is told in the log."""

SPELLINGS: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "max_tokens": (
            "max_tokens",
            "max_output_tokens",
            "max_completion_tokens",
            "n_predict",
            "options.num_predict",
        ),
        "stop": ("stop", "stop_sequences"),
        "n": ("n", "n_cmpl"),
        "n_probs": ("n_probs", "logprobs", "top_logprobs"),
        "enable_thinking": (
            "enable_thinking",
            "thinking",
            "think",
            "reasoning.enabled",
            "chat_template_kwargs.enable_thinking",
        ),
        "reasoning_effort": (
            "reasoning_effort",
            "reasoning.effort",
            "output_config.effort",
            "chat_template_kwargs.reasoning_effort",
        ),
        "thinking_budget_tokens": (
            "thinking_budget_tokens",
            "reasoning_budget_tokens",
            "reasoning_budget",
            "thinking.budget_tokens",
            "reasoning.max_tokens",
        ),
        "truncate": ("truncate", "truncation", "truncate_prompt_tokens"),
        "normalize": ("normalize", "normalized", "embd_normalize"),
    }
)
"""Each parameter that clients give by several names."""

_FORM_FIELDS = (
    "response_format",
    "json_schema",
    "grammar",
    "regex",
    "choice",
    "lark",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "structured_outputs",
    "text.format",
    "output_config.format",
    "output_format",
    "format",
)
"""An answer has one form: each of these stands in place of the others."""

SETTABLE: Final[tuple[str, ...]] = (
    *(
        name
        for name in SamplingRequest.model_fields
        if name not in {*ModelRequest.model_fields, "max_completion_tokens", "n_predict"}
    ),
    *FORMS,
    *("n", "n_probs", "priority", "cache_prompt", "keep_alive", "context_shift", "n_keep", "show_schema"),
    *("timings_per_token", "return_tokens", "prompt_format", "chat_template_kwargs", "enable_thinking"),
    *("reasoning_effort", "thinking_budget_tokens", "reasoning_format", "include_reasoning"),
    *("parallel_tool_calls", "store", "samplers", "t_max_predict_ms", "dimensions", "normalize", "truncate"),
)
"""The parameters that a preset may force, or give a default for."""

_NEEDED = frozenset(
    {"model", "messages", "prompt", "input", "inputs", "content", "input_prefix", "input_suffix", "query"}
    | {"documents", "texts", "text_1", "text_2", "stream", "stream_options", "max_output_tokens"}
)
"""Without these there is no request, or its client can't read the answer."""

STRIPPABLE: Final[tuple[str, ...]] = tuple(
    dict.fromkeys(name for schema in SCHEMAS.values() for name in schema.model_fields if name not in _NEEDED)
)
"""The fields that a preset may remove from requests."""


_OTHER_PLACES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "max_tokens": ("max_output_tokens",),
        "reasoning_effort": ("reasoning.effort",),
        "enable_thinking": ("think",),
    }
)
"""The places of parameters in requests of `/v1/responses` and of Ollama's, which have not their names."""


def spellings(parameter: str) -> tuple[str, ...]:
    """Return the paths at which a client may have given a parameter."""
    if parameter in FORMS:
        return _FORM_FIELDS
    return _with_option(parameter, SPELLINGS.get(parameter, (parameter,)))


def stripped_paths(name: str) -> tuple[str, ...]:
    """Return the paths of a field to remove: a parameter's own name stands for all of its spellings."""
    if name == "response_format":
        return (name, "text.format", "output_config.format", "output_format", "format")
    return _with_option(name, SPELLINGS.get(name, (name,)))


def _with_option(parameter: str, paths: tuple[str, ...]) -> tuple[str, ...]:
    return (*paths, f"options.{parameter}") if parameter in OllamaOptions.model_fields else paths


def place_in(purpose: str, parameter: str) -> str | None:
    """Return the path of a parameter in a purpose's request; None where it has none by this name."""
    if purpose in _WITH_OPTIONS:
        option = "num_predict" if parameter == "max_tokens" else parameter
        if option in OllamaOptions.model_fields:
            return f"options.{option}"
    fields = SCHEMAS[purpose].model_fields
    for path in (parameter, *_OTHER_PLACES.get(parameter, ())):
        if path.partition(".")[0] in fields:
            return path
    return None
