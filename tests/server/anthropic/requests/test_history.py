"""Anthropic's messages as a chat's: order, results, thoughts, and what is refused by its place."""

from __future__ import annotations

from typing import Any

import pytest

from models.errors import RequestError
from server.anthropic.requests.history import conversation
from server.anthropic.requests.schemas import InputMessage
from server.anthropic.requests.signatures import signature_of, thoughts_in

TEXT: dict[str, Any] = {"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}


def use(call_id: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": "read", "input": arguments}


def result(call_id: str, content: Any = "x", **more: Any) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": content, **more}


def read(*messages: tuple[str, Any], system: Any = None) -> list[dict[str, Any]]:
    made = [InputMessage.model_validate({"role": role, "content": content}) for role, content in messages]
    return conversation(system, made).messages


def roles(messages: list[dict[str, Any]]) -> list[str]:
    return [message["role"] for message in messages]


def test_results_come_before_the_texts_whatever_stands_between() -> None:
    found = read(
        ("user", "Do it"),
        (
            "assistant",
            [{"type": "text", "text": "I "}, {"type": "text", "text": "look."}, use("a"), use("b")],
        ),
        ("user", [TEXT, result("b", [TEXT, TEXT])]),
        ("system", "Be quick."),
        ("user", [result("a", None), {"type": "text", "text": "Go on"}]),
    )
    assert roles(found) == ["user", "assistant", "tool", "tool", "user", "system", "user"]
    assert found[1]["content"] == "I look."
    assert [call["id"] for call in found[1]["tool_calls"]] == ["a", "b"]
    assert (found[2]["tool_call_id"], found[2]["name"], found[2]["content"]) == ("b", "read", "Hi\nHi")
    assert (found[3]["tool_call_id"], found[3]["content"]) == ("a", "")
    assert found[6]["content"] == "Go on"


def test_messages_of_one_role_and_of_the_system_keep_their_places() -> None:
    found = read(
        ("user", "a"), ("user", [TEXT, TEXT]), ("system", "s"), ("assistant", "b"), ("assistant", "c"),
        system=[TEXT, {"type": "text", "text": "there"}],
    )  # fmt: skip
    assert roles(found) == ["system", "user", "user", "system", "assistant", "assistant"]
    assert [message["content"] for message in found] == ["Hi\nthere", "a", "Hi\nHi", "s", "b", "c"]


@pytest.mark.parametrize(
    ("given", "content"),
    [
        ("Not found", "Error: Not found"),
        ("Error: not found", "Error: not found"),
        ("<tool_use_error>no</tool_use_error>", "<tool_use_error>no</tool_use_error>"),
        (None, "Error"),
    ],
)
def test_a_failed_call_says_so(given: Any, content: str) -> None:
    found = read(("user", "a"), ("assistant", [use("a")]), ("user", [result("a", given, is_error=True)]))
    assert found[-1]["content"] == content


def test_thoughts() -> None:
    parts = [
        {"type": "thinking", "thinking": "One.", "signature": "another's"},
        {"type": "redacted_thinking", "data": "zzz"},
        {"type": "thinking", "thinking": "", "signature": signature_of("Two é.", is_shown=False)},
        {"type": "thinking", "thinking": "", "signature": "another's"},
        TEXT,
    ]
    assert read(("user", "a"), ("assistant", parts))[-1] == {
        "role": "assistant",
        "content": "Hi",
        "reasoning_content": "One.\nTwo é.",
    }


def test_signatures() -> None:
    assert thoughts_in(signature_of("Deep.", is_shown=True)) == ""
    hidden = signature_of("Deep. " * 1000, is_shown=False)
    assert thoughts_in(hidden) == "Deep. " * 1000
    assert len(hidden) < 1000
    for broken in (hidden[:-8], hidden[:20] + "AAAA" + hidden[24:], "corral-t2-", "corral-t2-é"):
        with pytest.raises(ValueError, match="it"):
            thoughts_in(broken)


def test_a_signature_can_hold_no_more_than_a_prompt() -> None:
    with pytest.raises(ValueError, match="too long"):
        thoughts_in(signature_of("a" * (9 << 20), is_shown=False))


BILLING = "x-anthropic-billing-header: cc_version=2.1.37.fbe; cc_entrypoint=cli; cch=a51{};"


@pytest.mark.parametrize(
    "system",
    [
        lambda line: [{"type": "text", "text": line}, {"type": "text", "text": "You help."}],
        lambda line: f"{line}\nYou help.",
        lambda line: f"{line}You help.",
        lambda line: [{"type": "text", "text": f"{line}\n\nYou help."}],
    ],
)
def test_the_line_that_changes_is_left_out(system: Any) -> None:
    prompts = [read(("user", "a"), system=system(BILLING.format(n))) for n in range(3)]
    assert prompts[0][0] == {"role": "system", "content": "You help."}
    assert prompts[0] == prompts[1] == prompts[2]


def test_only_that_line_is_left_out() -> None:
    text = "Say x-anthropic-billing-header: a=b; to me"
    assert read(("user", "a"), system=text)[0]["content"] == text
    assert roles(read(("user", "a"), system=BILLING)) == ["user"]


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([("assistant", [use("a")]), ("user", "b")], "messages[1].content[0]"),
        ([("assistant", [use("a")])], "messages[1].content[0]"),
        ([("user", [result("a")])], "messages[1].content[0].tool_use_id"),
        (
            [("assistant", [use("a")]), ("user", [result("a"), result("a")])],
            "messages[2].content[1].tool_use_id",
        ),
        (
            [("assistant", [use("a")]), ("user", [result("a")]), ("assistant", [use("a")])],
            "messages[3].content[0].id",
        ),
        ([("assistant", [{**use("a"), "input": "{}"}])], "messages[1].content[0].input"),
        ([("user", [{"type": []}])], "messages[1].content[0].type"),
        ([("assistant", [{**use("a"), "id": ""}])], "messages[1].content[0].id"),
        ([("assistant", [{**use("a"), "name": None}])], "messages[1].content[0].name"),
        (
            [("assistant", [use("a")]), ("user", [result("a", [{"type": "image"}])])],
            "messages[2].content[0].content[0].source",
        ),
        ([("assistant", [use("a")]), ("user", [result("a", 5)])], "messages[2].content[0].content"),
        ([("assistant", [use("a")]), ("user", [result("a", is_error=1)])], "messages[2].content[0].is_error"),
        ([("user", [use("a")])], "messages[1].content[0].type"),
        ([("assistant", [{"type": "server_tool_use"}])], "messages[1].content[0]"),
        ([("system", [{"type": "thinking"}])], "messages[1].content[0].type"),
        (
            [("assistant", [{"type": "thinking", "thinking": "", "signature": "corral-t2-AAAA"}])],
            "messages[1].content[0].signature",
        ),
    ],
)
def test_bad_history_names_its_place(messages: Any, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        read(("user", "Hi"), *messages)
    assert caught.value.param == param
