from __future__ import annotations

import json
from typing import Any

import pytest

from models.errors import RequestError
from server.openai.requests.messages import canonical_messages
from server.openai.requests.schemas import ChatCompletionRequest

USER: Any = {"role": "user", "content": "Hi"}
CALL: Any = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
CALLING: Any = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT: Any = {"role": "tool", "tool_call_id": "a", "content": "r"}


def read(*messages: Any) -> list[dict[str, Any]]:
    body = json.dumps({"messages": messages})
    return canonical_messages(ChatCompletionRequest.model_validate_json(body).messages)


def refused(*messages: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        read(*messages)
    return caught.value


def test_a_call_and_its_result() -> None:
    assert read(USER, CALLING, RESULT) == [
        USER,
        {"role": "assistant", "content": "", "tool_calls": [CALL]},
        {"role": "tool", "content": "r", "tool_call_id": "a", "name": "f"},
    ]


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ("", ""),
        ("a", "a"),
        ([], ""),
        ([{"type": "text", "text": "a"}], "a"),
        ([{"type": "text", "text": "a"}, {"type": "tool_use", "id": "a", "name": "f", "input": {}}], "a"),
    ],
)
def test_the_content_beside_calls(content: Any, text: str) -> None:
    (_, message) = read(USER, {**CALLING, "content": content})
    assert message == {"role": "assistant", "content": text, "tool_calls": [CALL]}


@pytest.mark.parametrize("kind", ["tool_use", "tool_call", "function_call"])
@pytest.mark.parametrize("field", ["input", "args", "arguments"])
def test_calls_in_parts_alone_are_read(kind: str, field: str) -> None:
    part = {"type": kind, "id": "a", "name": "f", field: {"x": 1}}
    assert read(USER, {"role": "assistant", "content": [part]}, RESULT)[1]["tool_calls"] == [CALL]


@pytest.mark.parametrize(
    ("fields", "thoughts"),
    [
        ({"reasoning_content": "r"}, "r"),
        ({"reasoning": "r"}, "r"),
        ({"reasoning_content": "r", "reasoning": "s"}, "r"),
        ({"content": [{"type": "thinking", "thinking": "r", "signature": "x"}]}, "r"),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "r"}]}]}, "r"),
        ({"content": [{"type": "reasoning", "text": "r"}, {"type": "redacted_thinking", "data": "x"}]}, "r"),
        ({"reasoning_content": ""}, None),
        ({}, None),
    ],
)
def test_thoughts(fields: dict[str, Any], thoughts: str | None) -> None:
    message = read(USER, {**CALLING, **fields})[1]
    assert message.get("reasoning_content") == thoughts
    assert message["content"] == ""


@pytest.mark.parametrize("arguments", ['{"x": 1}', {"x": 1}])
def test_arguments_are_text_or_an_object(arguments: Any) -> None:
    call = {**CALL, "function": {"name": "f", "arguments": arguments}}
    assert read(USER, {**CALLING, "tool_calls": [call]})[1]["tool_calls"] == [CALL]


def test_legacy_calls_and_results() -> None:
    legacy = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": '{"x": 1}'}}
    result = {"role": "function", "name": "f", "content": "r"}
    call = {**CALL, "id": "call00001"}
    told = {"role": "tool", "content": "r", "tool_call_id": "call00001", "name": "f"}
    assert read(USER, legacy, result)[1:] == [
        {"role": "assistant", "content": "", "tool_calls": [call]},
        told,
    ]
    assert read(USER, legacy, result, USER, legacy, result)[5]["tool_call_id"] == "call00004"
    assert refused(USER, result).param == "messages[1].name"
    assert refused(USER, legacy, {**result, "name": "g"}).param == "messages[2].name"
    assert refused(USER, legacy, result, result).param == "messages[3].name"
    assert refused(USER, legacy, {"role": "function", "content": "r"}).param == "messages[2].name"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tool_calls": {}}, "tool_calls"),
        ({"tool_calls": "x"}, "tool_calls"),
        ({"tool_calls": [5]}, "tool_calls[0]"),
        ({"tool_calls": [CALL, {**CALL, "id": None}]}, "tool_calls[1].id"),
        ({"tool_calls": [{**CALL, "id": ""}]}, "tool_calls[0].id"),
        ({"tool_calls": [{**CALL, "id": 5}]}, "tool_calls[0].id"),
        ({"tool_calls": [CALL, CALL]}, "tool_calls[1].id"),
        ({"tool_calls": [{**CALL, "type": "custom"}]}, "tool_calls[0].type"),
        ({"tool_calls": [{"id": "a", "type": "function"}]}, "tool_calls[0].function"),
        ({"tool_calls": [{**CALL, "function": {}}]}, "tool_calls[0].function.name"),
        ({"tool_calls": [{**CALL, "function": {"name": 5}}]}, "tool_calls[0].function.name"),
        (
            {"tool_calls": [{**CALL, "function": {"name": "f", "arguments": "{"}}]},
            "tool_calls[0].function.arguments",
        ),
        (
            {"tool_calls": [{**CALL, "function": {"name": "f", "arguments": []}}]},
            "tool_calls[0].function.arguments",
        ),
        ({"function_call": "f"}, "function_call"),
        ({"function_call": {"arguments": "{}"}}, "function_call.name"),
        ({"function_call": {"name": "f", "arguments": "x"}}, "function_call.arguments"),
        ({"tool_calls": [CALL], "function_call": {"name": "f"}}, "function_call"),
        ({"audio": {"id": "x"}}, "audio"),
        ({"content": [{"type": "image_url", "image_url": {}}]}, "content[0]"),
        ({"content": [{"type": "tool_use", "name": "f"}]}, "content[0].id"),
        ({"content": [{"type": "tool_use", "id": "a", "name": "f", "input": "x"}]}, "content[0].input"),
        ({"content": [{"type": "thinking"}]}, "content[0].thinking"),
    ],
)
def test_bad_answers_are_named(fields: dict[str, Any], param: str) -> None:
    assert refused(USER, {"role": "assistant", "content": None, **fields}).param == f"messages[1].{param}"


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "tool", "content": "r"}, "tool_call_id"),
        ({"role": "tool", "content": "r", "tool_call_id": ""}, "tool_call_id"),
        ({"role": "tool", "content": "r", "tool_call_id": "b"}, "tool_call_id"),
        ({**RESULT, "content": [{"type": "image_url"}]}, "content[0]"),
        ({"role": "user", "content": None}, "content"),
        ({"role": "user", "content": "a", "tool_calls": [CALL]}, "tool_calls"),
        ({**RESULT, "function_call": {"name": "f"}}, "function_call"),
        ({"role": "system"}, "content"),
        ({"role": "user", "content": [{"type": "tool_use", "id": "x"}]}, "content[0].type"),
    ],
)
def test_bad_messages_are_named(message: Any, param: str) -> None:
    assert refused(USER, CALLING, message).param == f"messages[2].{param}"


def test_a_result_may_be_empty_or_parts() -> None:
    assert read(USER, CALLING, {**RESULT, "content": None})[2]["content"] == ""
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert read(USER, CALLING, {**RESULT, "content": parts})[2]["content"] == "a\nb"


def test_fields_that_say_nothing_pass() -> None:
    empty: dict[str, Any] = {
        "tool_calls": [],
        "function_call": None,
        "audio": None,
        "refusal": None,
        "annotations": [],
    }
    assert read({**USER, **empty}, {"role": "assistant", "content": "a", **empty}) == [
        USER,
        {"role": "assistant", "content": "a"},
    ]


def test_names_of_speakers_are_kept() -> None:
    assert read({**USER, "name": "Ann"}) == [{**USER, "name": "Ann"}]
