from __future__ import annotations

import json
from typing import Any

import pytest

from models.errors import RequestError
from server.openai.requests.checks import check, check_chat
from server.openai.requests.schemas import ApplyTemplateRequest, ChatCompletionRequest, CompletionRequest


def check_fields(kind: str, fields: dict[str, Any]) -> None:
    if kind == "chat":
        body = {"messages": [{"role": "user", "content": "Hi"}], **fields}
        check(ChatCompletionRequest.model_validate_json(json.dumps(body)))
    else:
        check(CompletionRequest.model_validate_json(json.dumps({"prompt": "x", **fields})))


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        ("chat", "modalities", ["text", "audio"]),
        ("chat", "audio", {"voice": "x"}),
        ("chat", "prediction", {"type": "content"}),
        ("chat", "web_search_options", {}),
        ("chat", "moderation", {"model": "x"}),
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
        ("text", {"suffix": "x", "echo": True}, "echo"),
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


def check_template(**fields: Any) -> None:
    body = {"messages": [{"role": "user", "content": "Hi"}], **fields}
    check_chat(ApplyTemplateRequest.model_validate_json(json.dumps(body)))


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_an_answer_begins_or_is_continued() -> None:
    with pytest.raises(RequestError, match="both set") as caught:
        check_template(add_generation_prompt=True, continue_final_message=True)
    assert caught.value.param == "continue_final_message"
    check_template(add_generation_prompt=True, continue_final_message=False)
    check_template(add_generation_prompt=False, continue_final_message=True)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"a": nested(40)}, "deeper than 32"),
        ({"a": {"b": nested(32)}}, "deeper than 32"),
        ({"a": [0] * 10_000}, "more than 10,000"),
        ({str(i): i for i in range(10_001)}, "more than 10,000"),
        ({"a": [[0] * 101] * 100}, "more than 10,000"),
        ({"a": [{"b": 1 << 64}]}, "64 bits"),
        ({"a": -(1 << 63) - 1}, "64 bits"),
    ],
)
def test_template_arguments_are_bounded(kwargs: dict[str, Any], words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        check_template(chat_template_kwargs=kwargs)
    assert caught.value.param == "chat_template_kwargs"


def test_template_arguments_within_the_bounds() -> None:
    check_template(chat_template_kwargs={"a": nested(31), "b": [0] * 9_000, "c": (1 << 64) - 1, "d": None})
    check_template(chat_template_kwargs={})
    check_template(chat_template_kwargs=None)
