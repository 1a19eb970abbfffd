from __future__ import annotations

import json
from typing import Any

import pytest

from models.errors import RequestError
from server.openai.requests.checks import check
from server.openai.requests.schemas import ChatCompletionRequest, CompletionRequest

TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


def check_fields(kind: str, fields: dict[str, Any]) -> None:
    if kind == "chat":
        body = {"messages": [{"role": "user", "content": "Hi"}], **fields}
        check(ChatCompletionRequest.model_validate_json(json.dumps(body)))
    else:
        check(CompletionRequest.model_validate_json(json.dumps({"prompt": "x", **fields})))


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("chat", "tools", [TOOL]),
        ("chat", "tool_choice", "required"),
        ("chat", "tool_choice", {"type": "function", "function": {"name": "f"}}),
        ("chat", "functions", [{"name": "f"}]),
        ("chat", "response_format", {"type": "json_object"}),
        ("chat", "response_format", {"type": "json_schema", "json_schema": {}}),
        ("chat", "response_format", "text"),
        ("chat", "modalities", ["text", "audio"]),
        ("chat", "audio", {"voice": "x"}),
        ("chat", "prediction", {"type": "content"}),
        ("chat", "web_search_options", {}),
        ("chat", "grammar", "root ::= x"),
        ("chat", "json_schema", {}),
        ("chat", "keep_alive", 300),
        ("text", "suffix", "x"),
        ("text", "grammar", "root ::= x"),
    ],
)
def test_what_is_not_served_is_refused_by_name(kind: str, name: str, value: Any) -> None:
    with pytest.raises(RequestError) as caught:
        check_fields(kind, {name: value})
    assert caught.value.param == name
    assert caught.value.code == "unsupported_parameter"
    assert f"'{name}'" in caught.value.message


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (
            "chat",
            {
                "logprobs": False,
                "top_logprobs": 0,
                "tools": [],
                "tool_choice": "auto",
                "functions": [],
                "function_call": "none",
                "response_format": {"type": "text"},
                "modalities": ["text"],
                "grammar": "",
                "lora": [],
                "n_probs": 0,
                "keep_alive": None,
                "parallel_tool_calls": True,
                "reasoning_effort": "low",
                "service_tier": "auto",
                "store": False,
                "metadata": {},
                "user": "me",
            },
        ),
        ("text", {"logprobs": None, "suffix": "", "best_of": 1}),
        ("text", {"n": 3, "best_of": 3}),
        ("text", {"stream": True, "stream_options": {"include_usage": True}}),
    ],
)
def test_values_that_request_nothing_pass(kind: str, fields: dict[str, Any]) -> None:
    check_fields(kind, fields)


@pytest.mark.parametrize(
    ("kind", "fields", "param"),
    [
        ("chat", {"stream_options": {"include_usage": True}}, "stream_options"),
        ("text", {"stream_options": {"include_usage": True}}, "stream_options"),
        ("text", {"n": 3, "best_of": 2}, "best_of"),
        ("text", {"n": 2, "best_of": 3, "stream": True}, "best_of"),
        ("text", {"best_of": 2, "stream": True}, "best_of"),
        ("chat", {"top_logprobs": 1}, "top_logprobs"),
        ("chat", {"top_logprobs": 1, "logprobs": False}, "top_logprobs"),
    ],
)
def test_contradictions_are_refused_by_name(kind: str, fields: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        check_fields(kind, fields)
    assert caught.value.param == param
    assert f"'{param}'" in caught.value.message


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("text", {}),
        ("text", {"best_of": 1}),
        ("text", {"n": 2, "best_of": 5}),
        ("text", {"n": 3, "best_of": 3, "stream": True}),
        ("text", {"logprobs": 20}),
        ("text", {"stream": True, "stream_options": {"include_usage": True}}),
        ("chat", {"logprobs": True}),
        ("chat", {"logprobs": True, "top_logprobs": 20, "stream": True}),
        ("chat", {"logprobs": False, "top_logprobs": 0}),
    ],
)
def test_what_goes_together(kind: str, fields: dict[str, Any]) -> None:
    check_fields(kind, fields)
