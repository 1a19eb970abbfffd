from __future__ import annotations

from typing import Any

import pytest

from models.errors import RequestError
from server.responses.content import sealed, unsealed
from server.responses.items import SKIPPED, messages_of

USER: dict[str, Any] = {"role": "user", "content": "Hi"}


def call(call_id: str, **fields: Any) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}", **fields}


def output(call_id: str, text: Any = "x") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


def reasoning(text: str) -> dict[str, Any]:
    return {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": text}]}


def shape(items: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    messages, _ = messages_of(items)
    return [
        (
            message["role"],
            message["content"],
            message.get("reasoning_content"),
            [each["id"] for each in message.get("tool_calls", ())],
        )
        for message in messages
    ]


def test_items_of_one_turn_are_one_message() -> None:
    items = [
        USER,
        reasoning("a"),
        reasoning("b"),
        {"role": "assistant", "content": "Well."},
        call("1"),
        call("2"),
        output("2"),
        output("1"),
        reasoning("c"),
        call("3"),
        output("3"),
        {"role": "assistant", "content": "Done."},
        USER,
    ]
    assert shape(items) == [
        ("user", "Hi", None, []),
        ("assistant", "Well.", "a\nb", ["1", "2"]),
        ("tool", "x", None, []),
        ("tool", "x", None, []),
        ("assistant", "", "c", ["3"]),
        ("tool", "x", None, []),
        ("assistant", "Done.", None, []),
        ("user", "Hi", None, []),
    ]


def test_two_answers_in_a_row_are_two_messages() -> None:
    answer = {"role": "assistant", "content": "Yes."}
    assert len(shape([USER, answer, answer])) == 3
    assert len(shape([USER, answer, reasoning("a"), answer])) == 3


def test_text_behind_a_call_stays_in_its_turn() -> None:
    items = [USER, call("1"), {"role": "assistant", "content": "I called."}, output("1")]
    assert shape(items)[1] == ("assistant", "I called.", None, ["1"])


def test_a_summary_stands_for_thoughts_that_are_not_there() -> None:
    summary = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "short"}]}
    assert shape([USER, summary, USER])[1] == ("assistant", "", "short", [])
    foreign = {"type": "reasoning", "summary": [], "encrypted_content": "gAAAAAB"}
    assert len(shape([USER, foreign, USER])) == 2


@pytest.mark.parametrize(
    "content", ["corral-thoughts:!", "corral-thoughts:aGk=", "corral-thoughts:", 5, None, ""]
)
def test_what_is_not_ours_has_no_thoughts(content: Any) -> None:
    assert unsealed(content) == ""


def test_thoughts_are_packed_and_unpacked() -> None:
    assert unsealed(sealed("Hé 🐑" * 1_000)) == "Hé 🐑" * 1_000


def test_a_call_that_was_cut_was_never_made() -> None:
    assert len(shape([USER, call("1", status="incomplete", arguments='{"a'), USER])) == 2


def test_results_have_the_name_of_their_tool() -> None:
    messages, _ = messages_of(
        [USER, call("1", namespace="files"), output("1", [{"type": "input_text", "text": "y"}])]
    )
    assert messages[2] == {"role": "tool", "content": "y", "tool_call_id": "1", "name": "files__f"}


@pytest.mark.parametrize("kind", sorted(SKIPPED))
def test_items_of_other_servers_are_left_out_by_name(kind: str) -> None:
    messages, warnings = messages_of([USER, {"type": kind, "id": "x"}])
    assert len(messages) == 1
    assert kind in warnings[0]


@pytest.mark.parametrize(
    ("items", "param"),
    [
        ([call("1")], "input[0]"),
        ([call("1"), call("1")], "input[1].call_id"),
        ([call("1"), output("1"), output("1")], "input[2].call_id"),
        ([output("1"), call("1")], "input[0].call_id"),
        ([call("1", name="")], "input[0].name"),
        ([call("1", namespace=5)], "input[0].namespace"),
        ([call("1", arguments=None)], "input[0].arguments"),
        ([call("1", arguments="5")], "input[0].arguments"),
        ([call("1"), {**output("1"), "output": None}], "input[1].output"),
        ([call("1"), output("1", [{"type": "input_image"}])], "input[1].output[0]"),
        ([{"role": "user", "content": 5}], "input[0].content"),
        ([{"role": "user", "content": [5]}], "input[0].content[0]"),
    ],
)
def test_a_wrong_item_is_named(items: list[dict[str, Any]], param: str) -> None:
    with pytest.raises(RequestError) as caught:
        messages_of(items)
    assert caught.value.param == param


def test_what_was_kept_is_named_by_its_field() -> None:
    with pytest.raises(RequestError) as caught:
        messages_of([call("1"), USER], 1)
    assert caught.value.param == "input"
    messages_of([call("1"), output("1")], 1)
