from __future__ import annotations

import json
from typing import Any

import pytest

from models.errors import RequestError
from server.pages import requests
from server.pages.records import Call, Content, Message, Role
from server.pages.requests import ChatCreation, ExportedMessage, NewTurn, Settings


def message(name: str, role: Role, parent: str | None = None, **content: Any) -> Message:
    return Message(
        id=name, parent=parent, role=role, state="complete", created=0.0, content=Content(**content)
    )


TREE = [
    message("1", "user", text="Hello"),
    message("2", "assistant", "1", text="Hi"),
    message("3", "user", "2", text="One way"),
    message("4", "user", "2", text="Another way"),
    message("5", "assistant", "4", text="Yes"),
]


def test_a_branch_goes_from_the_first_message_to_its_leaf() -> None:
    assert [each.id for each in requests.branch(TREE, "5")] == ["1", "2", "4", "5"]
    assert requests.branch(TREE, None) == []
    with pytest.raises(RequestError, match="no message 'nowhere'"):
        requests.branch(TREE, "nowhere")


def test_a_request_has_the_settings_and_the_branch() -> None:
    settings = {"model": "demo", "system": "Be short.", "parameters": {"temperature": 0.5}}
    body = json.loads(requests.request_body(settings, requests.branch(TREE, "4")))
    assert body == {
        "model": "demo",
        "temperature": 0.5,
        "stream": True,
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "Hello"},
            {"role": "assistant", "content": "Hi"},
            {"role": "user", "content": "Another way"},
        ],
    }
    plain = json.loads(requests.request_body({}, TREE[:1]))
    assert plain == {"stream": True, "messages": [{"role": "user", "content": "Hello"}]}


def test_calls_and_their_results_go_along_and_cut_calls_dont() -> None:
    whole = Call(id="a", name="f", arguments='{"x": 1}')
    cut = Call(id="b", name="g", arguments='{"x": ')
    deep = Call(id="c", name="g", arguments="[" * 100_000)
    body = json.loads(
        requests.request_body(
            {},
            [
                message("1", "user", text="Go"),
                message("2", "assistant", "1", calls=[whole, cut, deep], thoughts="Hm."),
                message("3", "tool", "2", text="done", call_id="a"),
                message("4", "assistant", "3"),  # one that failed at once
            ],
        )
    )
    assert body["messages"][1:] == [
        {
            "role": "assistant",
            "content": None,
            "reasoning_content": "Hm.",
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
            ],
        },
        {"role": "tool", "tool_call_id": "a", "content": "done"},
    ]


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        ({"temperature": "hot"}, "temperature"),
        ({"top_p": 7}, "top_p"),
        ({"stream": False}, "parameters.stream"),
        ({"messages": []}, "parameters.messages"),
        ({"n": 3}, "parameters.n"),
        ({"temprature": 1}, "parameters.temprature"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"functions": [{}]}, "functions[0].name"),
        ({"response_format": {"type": "yaml"}}, "response_format.type"),
    ],
)
def test_wrong_parameters_are_told_where_they_are_set(parameters: dict[str, Any], param: str) -> None:
    with pytest.raises(RequestError) as raised:
        requests.check_settings(Settings(parameters=parameters))
    assert raised.value.param == param


def test_a_name_of_a_model_has_a_limit() -> None:
    requests.check_settings(Settings(model="m" * 512))
    with pytest.raises(RequestError, match="at most 512 characters") as raised:
        requests.check_settings(Settings(model="m" * 513))
    assert raised.value.param == "settings.model"
    message = ExportedMessage(id="1", role="assistant", model="m" * 513)
    with pytest.raises(RequestError) as raised:
        requests.imported(ChatCreation(messages=[message]))
    assert raised.value.param == "messages[0].model"


def test_right_parameters_pass() -> None:
    requests.check_settings(Settings(parameters={"temperature": 0, "stop": ["x"], "tools": []}))


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b"{", None, "could not parse"),
        (b'{"parent": 3}', "parent", "expected"),
        (b'{"messages": [{"text": "a", "rolle": "user"}]}', "messages[0]", "unknown field"),
        (b'{"messages": [{"role": "system", "text": "a"}]}', "messages[0].role", "invalid enum value"),
        (b"[]", None, "expected"),
    ],
)
def test_wrong_bodies_name_the_field(body: bytes, param: str | None, words: str) -> None:
    with pytest.raises(RequestError) as raised:
        requests.decode(body, NewTurn)
    assert (raised.value.param or None) == param
    assert words in raised.value.message


def test_a_turn_needs_something_to_answer_to() -> None:
    with pytest.raises(RequestError, match="needs a message"):
        requests.new_messages(NewTurn())
    with pytest.raises(RequestError, match="call_id"):
        requests.new_messages(requests.decode(b'{"messages":[{"role":"tool","text":"x"}]}', NewTurn))
    with pytest.raises(RequestError, match="call_id"):
        requests.new_messages(requests.decode(b'{"messages":[{"text":"x","call_id":"c"}]}', NewTurn))
    question, answer = requests.new_messages(requests.decode(b'{"messages":[{"text":"x"}]}', NewTurn))
    assert (question.parent, answer.parent, answer.state) == (None, question.id, "running")


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("Hello", "Hello"),
        ("\n\n  Two\nlines", "Two"),
        ("word " * 30, "word " * 11 + "word…"),
        ("x" * 100, "x" * 59 + "…"),
        ("", ""),
    ],
)
def test_titles(text: str, title: str) -> None:
    assert requests.title_of(text) == title


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": [{"id": "1", "role": "user", "parent": "2"}]}, "messages[0].parent"),
        ({"messages": [{"id": "1", "role": "user"}, {"id": "1", "role": "user"}]}, "messages[1].id"),
        ({"head": "9"}, "head"),
    ],
)
def test_a_chat_whose_messages_dont_belong_together_is_refused(body: dict[str, Any], param: str) -> None:
    creation = requests.decode(json.dumps(body).encode(), ChatCreation)
    with pytest.raises(RequestError) as raised:
        requests.imported(creation)
    assert raised.value.param == param
