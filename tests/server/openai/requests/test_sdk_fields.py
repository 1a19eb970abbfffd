"""Every field that the official SDKs can send is known: done, taken without effect, or refused by name.

The fields are those of the SDKs' own types, so a new version with a new one fails here. A page of the docs
has each.
"""

from __future__ import annotations

import json
import re
from enum import Enum, auto
from pathlib import Path
from typing import Any

import msgspec
import pytest
from anthropic.types import ToolParam
from anthropic.types.beta.message_count_tokens_params import MessageCountTokensParams as BetaCountParams
from anthropic.types.beta.message_create_params import MessageCreateParamsBase as BetaMessageParams
from anthropic.types.message_create_params import MessageCreateParamsBase as MessageParams
from openai.types.chat.completion_create_params import CompletionCreateParamsBase as ChatParams
from openai.types.completion_create_params import CompletionCreateParamsBase as TextParams
from openai.types.responses.response_create_params import ResponseCreateParamsBase as ResponseParams

from models.errors import RequestError
from server.openai.requests.reading import (
    GenerationRead,
    Purpose,
    QuestionRead,
    ReadJob,
    ReadRequest,
    read,
)
from server.responses.read import ResponseRead

DOCS = Path(__file__).parents[4] / "docs"
USER: dict[str, Any] = {"role": "user", "content": "Hi"}
FUNCTION = {"type": "function", "function": {"name": "f"}}
FLAT = {"type": "function", "name": "f"}
TOOL: dict[str, Any] = {"name": "f", "input_schema": {"type": "object"}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}


class Fate(Enum):
    """What becomes of a field."""

    DONE = auto()
    VAIN = auto()
    """It is accepted, and changes nothing."""
    LOGGED = auto()
    """It changes nothing, and the log says so."""
    REFUSED = auto()
    """A 400 names it."""


DONE, VAIN, LOGGED, REFUSED = Fate
Rows = dict[str, tuple[Fate, Any]]
"""What becomes of a field, and a value of it that asks for something."""

CHAT: Rows = {
    "messages": (DONE, [USER, USER]),
    "model": (DONE, "other"),
    "audio": (REFUSED, {"voice": "x", "format": "wav"}),
    "frequency_penalty": (DONE, 0.5),
    "function_call": (DONE, {"name": "f"}),
    "functions": (DONE, [{"name": "f"}]),
    "logit_bias": (DONE, {"5": 1}),
    "logprobs": (DONE, True),
    "max_completion_tokens": (DONE, 5),
    "max_tokens": (DONE, 5),
    "metadata": (VAIN, {"a": "b"}),
    "modalities": (REFUSED, ["text", "audio"]),
    "moderation": (REFUSED, {"model": "m"}),
    "n": (DONE, 2),
    "parallel_tool_calls": (DONE, False),
    "prediction": (REFUSED, {"type": "content", "content": "x"}),
    "presence_penalty": (DONE, 0.5),
    "prompt_cache_key": (VAIN, "k"),
    "prompt_cache_options": (VAIN, {"mode": "explicit"}),
    "prompt_cache_retention": (VAIN, "24h"),
    "reasoning_effort": (DONE, "low"),
    "response_format": (DONE, {"type": "json_object"}),
    "safety_identifier": (VAIN, "s"),
    "seed": (DONE, 5),
    "service_tier": (VAIN, "auto"),
    "stop": (DONE, ["x"]),
    "store": (DONE, True),
    "stream": (DONE, True),
    "stream_options": (DONE, {"include_usage": True}),
    "temperature": (DONE, 0.5),
    "tool_choice": (DONE, "required"),
    "tools": (DONE, [FUNCTION]),
    "top_logprobs": (DONE, 2),
    "top_p": (DONE, 0.5),
    "user": (VAIN, "u"),
    "verbosity": (LOGGED, "low"),
    "web_search_options": (REFUSED, {}),
}
TEXT: Rows = {
    "prompt": (DONE, "other"),
    "model": (DONE, "other"),
    "best_of": (DONE, 2),
    "echo": (DONE, True),
    "frequency_penalty": (DONE, 0.5),
    "logit_bias": (DONE, {"5": 1}),
    "logprobs": (DONE, 2),
    "max_tokens": (DONE, 5),
    "n": (DONE, 2),
    "presence_penalty": (DONE, 0.5),
    "seed": (DONE, 5),
    "stop": (DONE, "x"),
    "stream": (DONE, True),
    "stream_options": (DONE, {"include_usage": True}),
    "suffix": (DONE, "x"),
    "temperature": (DONE, 0.5),
    "top_p": (DONE, 0.5),
    "user": (VAIN, "u"),
}
RESPONSE: Rows = {
    "access_programs": (VAIN, {"cyber": "standard"}),
    "background": (REFUSED, True),
    "context_management": (LOGGED, [{"type": "compaction"}]),
    "conversation": (DONE, "conv_1"),
    "image": (VAIN, {"context_compression": "auto"}),
    "include": (DONE, ["reasoning.encrypted_content"]),
    "input": (DONE, "other"),
    "instructions": (DONE, "x"),
    "max_output_tokens": (DONE, 5),
    "max_tool_calls": (VAIN, 5),
    "metadata": (DONE, {"a": "b"}),
    "model": (DONE, "other"),
    "moderation": (REFUSED, {"model": "m"}),
    "parallel_tool_calls": (DONE, False),
    "previous_response_id": (DONE, "resp_1"),
    "prompt": (REFUSED, {"id": "p"}),
    "prompt_cache_key": (VAIN, "k"),
    "prompt_cache_options": (VAIN, {"mode": "explicit"}),
    "prompt_cache_retention": (VAIN, "24h"),
    "reasoning": (DONE, {"effort": "low"}),
    "safety_identifier": (VAIN, "s"),
    "service_tier": (VAIN, "auto"),
    "store": (DONE, True),
    "stream": (DONE, True),
    "stream_options": (VAIN, {"include_obfuscation": False}),
    "temperature": (DONE, 0.5),
    "text": (DONE, {"format": {"type": "json_object"}}),
    "tool_choice": (DONE, "required"),
    "tools": (DONE, [FLAT]),
    "top_logprobs": (DONE, 2),
    "top_p": (DONE, 0.5),
    "truncation": (DONE, "auto"),
    "user": (VAIN, "u"),
}
MESSAGE: Rows = {
    "betas": (VAIN, ["x"]),
    "billing_policy": (VAIN, {"type": "billing_policy"}),
    "cache_control": (VAIN, {"type": "ephemeral"}),
    "compaction": (REFUSED, {"type": "auto"}),
    "container": (REFUSED, "c"),
    "context_management": (LOGGED, {"edits": []}),
    "diagnostics": (LOGGED, {"previous_message_id": "msg_1"}),
    "fallback_credit_token": (VAIN, "t"),
    "fallbacks": (VAIN, "default"),
    "inference_geo": (VAIN, "eu"),
    "max_tokens": (DONE, 5),
    "mcp_servers": (REFUSED, [{"type": "url", "url": "https://a", "name": "a"}]),
    "messages": (DONE, [USER, USER]),
    "metadata": (VAIN, {"user_id": "u"}),
    "model": (DONE, "other"),
    "output_config": (DONE, {"format": {"type": "json_schema", "schema": SCHEMA}}),
    "service_tier": (VAIN, "auto"),
    "speed": (VAIN, "fast"),
    "stop_sequences": (DONE, ["x"]),
    "stream": (DONE, True),
    "system": (DONE, "Be brief."),
    "temperature": (DONE, 0.5),
    "thinking": (DONE, {"type": "enabled", "budget_tokens": 1024}),
    "thread": (REFUSED, {"type": "create"}),
    "tool_choice": (DONE, {"type": "any"}),
    "tools": (DONE, [TOOL]),
    "top_k": (DONE, 5),
    "top_p": (DONE, 0.5),
    "user_profile_id": (VAIN, "u"),
    "workspace_id": (VAIN, "w"),
}
COUNT: Rows = {name: row for name, row in MESSAGE.items() if name in BetaCountParams.__annotations__}
COUNT["compaction"] = (VAIN, {"type": "auto"})  # as at Anthropic: what is sent is counted
ANTHROPICS_TOOL: Rows = {
    "allowed_callers": (REFUSED, ["code_execution_20250825"]),
    "cache_control": (VAIN, {"type": "ephemeral"}),
    "defer_loading": (DONE, True),
    "description": (DONE, "Does it."),
    "eager_input_streaming": (VAIN, True),
    "input_examples": (DONE, [{"a": 1}]),
    "input_schema": (DONE, SCHEMA),
    "name": (DONE, "g"),
    "strict": (DONE, True),
    "type": (VAIN, "custom"),
}
BASES: dict[Purpose, dict[str, Any]] = {
    "chat": {"model": "demo", "messages": [USER]},
    "text": {"model": "demo", "prompt": "Hi"},
    "response": {"model": "demo", "input": "Hi", "store": False},
    "messages": {"model": "demo", "messages": [USER], "max_tokens": 9},
    "count_tokens": {"model": "demo", "messages": [USER]},
}
NEEDED: dict[tuple[Purpose, str], dict[str, Any]] = {
    ("chat", "function_call"): {"functions": [{"name": "f"}]},
    ("chat", "tool_choice"): {"tools": [FUNCTION]},
    ("chat", "parallel_tool_calls"): {"tools": [FUNCTION]},
    ("chat", "top_logprobs"): {"logprobs": True},
    ("chat", "stream_options"): {"stream": True},
    ("text", "stream_options"): {"stream": True},
    ("response", "stream_options"): {"stream": True},
    ("response", "tool_choice"): {"tools": [FLAT]},
    ("response", "parallel_tool_calls"): {"tools": [FLAT]},
    ("response", "top_logprobs"): {"include": ["message.output_text.logprobs"]},
    ("messages", "tool_choice"): {"tools": [TOOL]},
    ("count_tokens", "tool_choice"): {"tools": [TOOL]},
}
"""What a field needs beside it."""
TABLES: dict[Purpose, tuple[Rows, tuple[Any, ...], str]] = {
    "chat": (CHAT, (ChatParams,), "openai.md"),
    "text": (TEXT, (TextParams,), "openai.md"),
    "response": (RESPONSE, (ResponseParams,), "responses.md"),
    "messages": (MESSAGE, (MessageParams, BetaMessageParams), "anthropic.md"),
    "count_tokens": (COUNT, (BetaCountParams,), "anthropic.md"),
}
EACH = [(purpose, name) for purpose, (rows, _, _) in TABLES.items() for name in rows]


def read_body(purpose: Purpose, body: dict[str, Any]) -> ReadRequest:
    return read(ReadJob(purpose=purpose, request_id="r"), json.dumps(body).encode())


def outcome(made: ReadRequest) -> Any:
    """What a request makes, without what is told in the log and repeated in the answer."""
    if isinstance(made, ResponseRead):
        form = msgspec.structs.replace(made.form, echo=b"", warnings=[])
        return msgspec.structs.replace(made, form=form, unknown=[], without_effect=[])
    if isinstance(made, GenerationRead | QuestionRead):
        return msgspec.structs.replace(made, unknown=[], without_effect=[])
    return made


def ignored(made: ReadRequest) -> list[str]:
    assert isinstance(made, ResponseRead | GenerationRead | QuestionRead)
    return [*made.unknown, *made.without_effect]


def assert_fate(purpose: Purpose, fate: Fate, base: dict[str, Any], body: dict[str, Any], name: str) -> None:
    before = read_body(purpose, base)
    assert ignored(before) == []
    if fate == REFUSED:
        with pytest.raises(RequestError) as caught:
            read_body(purpose, body)
        assert caught.value.param == name
        assert caught.value.code == "unsupported_parameter"
        return
    after = read_body(purpose, body)
    if fate == DONE:
        if isinstance(after, ResponseRead):
            assert after != before
        else:
            assert outcome(after) != outcome(before)
    else:
        assert outcome(after) == outcome(before)
    if isinstance(after, ResponseRead | GenerationRead | QuestionRead):
        assert ignored(after) == ([name] if fate == LOGGED else [])


@pytest.mark.parametrize("purpose", TABLES)
def test_every_field_of_the_sdk_has_its_row(purpose: Purpose) -> None:
    rows, types, _ = TABLES[purpose]
    fields = {name for each in types for name in each.__annotations__}
    assert fields <= set(rows)


def test_every_field_of_anthropics_tools_has_its_row() -> None:
    assert set(ToolParam.__annotations__) <= set(ANTHROPICS_TOOL)


@pytest.mark.parametrize(("purpose", "name"), EACH)
def test_what_becomes_of_a_field(purpose: Purpose, name: str) -> None:
    rows, _, _ = TABLES[purpose]
    fate, value = rows[name]
    base = {**BASES[purpose], **NEEDED.get((purpose, name), {})}
    assert_fate(purpose, fate, base, {**base, name: value}, name)


@pytest.mark.parametrize("name", ANTHROPICS_TOOL)
def test_what_becomes_of_a_field_of_anthropics_tools(name: str) -> None:
    fate, value = ANTHROPICS_TOOL[name]
    base = {**BASES["messages"], "tools": [TOOL]}
    body = {**base, "tools": [{**TOOL, name: value}]}
    assert_fate("messages", fate, base, body, f"tools[0].{name}")


@pytest.mark.parametrize("purpose", TABLES)
def test_null_is_as_good_as_nothing(purpose: Purpose) -> None:
    for name in TABLES[purpose][0].keys() - BASES[purpose].keys():
        base = BASES[purpose]
        assert outcome(read_body(purpose, {**base, name: None})) == outcome(read_body(purpose, base)), name


@pytest.mark.parametrize(("purpose", "name"), EACH)
def test_a_page_tells_of_the_field(purpose: Purpose, name: str) -> None:
    page = (DOCS / TABLES[purpose][2]).read_text()
    assert re.search(rf"`{name}\b", page), f"{name} isn't in {TABLES[purpose][2]}"


@pytest.mark.parametrize("name", ANTHROPICS_TOOL)
def test_the_page_tells_of_the_field_of_a_tool(name: str) -> None:
    assert re.search(rf"`{name}\b", (DOCS / "anthropic.md").read_text())
