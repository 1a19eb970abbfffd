from __future__ import annotations

import json
from typing import Any

import pytest

from models.errors import RequestError
from server.openai.requests.schemas import ChatCompletionRequest, CompletionRequest
from server.openai.requests.unsupported import refuse_unsupported

TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


def check(kind: str, **fields: Any) -> None:
    if kind == "chat":
        body = {"messages": [{"role": "user", "content": "Hi"}], **fields}
        refuse_unsupported(ChatCompletionRequest.model_validate_json(json.dumps(body)))
    else:
        refuse_unsupported(CompletionRequest.model_validate_json(json.dumps({"prompt": "x", **fields})))


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
def test_refused_by_name(kind: str, name: str, value: Any) -> None:
    with pytest.raises(RequestError) as caught:
        check(kind, **{name: value})
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
def test_values_that_ask_for_nothing_pass(kind: str, fields: dict[str, Any]) -> None:
    check(kind, **fields)
