from __future__ import annotations

from typing import Any

import pytest

from models.errors import RequestError
from server.chat import history
from server.chat.history import arguments_text, linked


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (None, "{}"),
        ("", "{}"),
        (" \n", "{}"),
        ("{}", "{}"),
        ('{ "a" : 1 }', '{ "a" : 1 }'),
        ({}, "{}"),
        ({"a": ["é", None, 1.5]}, '{"a": ["é", null, 1.5]}'),
    ],
)
def test_arguments(arguments: Any, text: str) -> None:
    assert arguments_text(arguments, "p") == text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("{", "no valid JSON"),
        ('{"a": 1', "no valid JSON"),
        ("Rome", "no valid JSON"),
        ('{"a": NaN}', "no valid JSON"),
        ('{"a": "\n"}', "no valid JSON"),
        ("{} {}", "no valid JSON"),
        ("[]", "array"),
        ("null", "null"),
        ('"{}"', "string"),
        ("5", "number"),
        ("true", "boolean"),
        ([], "array"),
        (5, "number"),
        (False, "boolean"),
        ('{"a":' * 5000, "nested deeper|no valid JSON"),
        ('{"a":' + "[" * 150 + "]" * 150 + "}", "nested deeper than 100"),
        ({"a": float("nan")}, "not JSON compliant"),
    ],
)
def test_arguments_that_are_no_object_are_named(arguments: Any, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        arguments_text(arguments, "messages[1].tool_calls[0].function.arguments")
    assert caught.value.param == "messages[1].tool_calls[0].function.arguments"


def assistant(*ids: str, name: str = "f") -> dict[str, Any]:
    calls = [history.call(each, name, None, "p") for each in ids]
    return {"role": "assistant", "content": "", "tool_calls": calls}


def result(call_id: str) -> dict[str, Any]:
    return {"role": "tool", "content": "r", "tool_call_id": call_id}


USER = {"role": "user", "content": "Hi"}


def check(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    return linked(messages, [f"messages[{i}]" for i in range(len(messages))])


def test_results_get_the_names_of_their_tools() -> None:
    given = [USER, assistant("a", "b"), result("b"), result("a"), USER, assistant("a", name="g"), result("a")]
    before = [dict(message) for message in given]
    names = [message.get("name") for message in check(*given)]
    assert names == [None, None, "f", "f", None, None, "g"]
    assert given == before


@pytest.mark.parametrize(
    "messages",
    [
        [USER],
        [USER, assistant("a"), USER],  # an agent that was interrupted
        [USER, assistant("a", "b"), result("a"), USER],
        [USER, assistant("a"), USER, result("a")],
        [USER, assistant("a"), result("a"), assistant("a"), result("a")],
    ],
)
def test_histories_that_pass(messages: list[dict[str, Any]]) -> None:
    assert len(check(*messages)) == len(messages)


@pytest.mark.parametrize(
    ("messages", "param", "words"),
    [
        ([USER, result("a")], "messages[1].tool_call_id", "no call before it"),
        ([result("a"), assistant("a")], "messages[0].tool_call_id", "no call before it"),
        ([USER, assistant("a"), result("b")], "messages[2].tool_call_id", "the id 'b'"),
        (
            [USER, assistant("a"), result("a"), result("a")],
            "messages[3].tool_call_id",
            "has a result already",
        ),
        ([USER, assistant("a", "a")], "messages[1].tool_calls[1].id", "two calls"),
    ],
)
def test_what_does_not_belong_together(messages: list[dict[str, Any]], param: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as caught:
        check(*messages)
    assert caught.value.param == param


def test_a_protocol_names_its_own_field() -> None:
    with pytest.raises(RequestError) as caught:
        linked([result("a")], ["messages[0].content[2]"], id_field="tool_use_id")
    assert caught.value.param == "messages[0].content[2].tool_use_id"
