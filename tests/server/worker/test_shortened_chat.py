"""Chats that lose their oldest messages: what stays, what goes together, where a shorter one may begin."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest

from server.ipc.prompts import ChatPrompt
from server.worker.shortened_chat import shortened

Message = dict[str, Any]

SYSTEM = {"role": "system", "content": "s"}


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def says(text: str) -> Message:
    return {"role": "assistant", "content": text}


def calls(*ids: str) -> Message:
    function = {"name": "f", "arguments": "{}"}
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": call_id, "type": "function", "function": function} for call_id in ids],
    }


def result(call_id: str) -> Message:
    return {"role": "tool", "tool_call_id": call_id, "name": "f", "content": call_id}


def shortest(messages: list[Message], n_most: int, block_chars: int = 1) -> tuple[list[Message], int]:
    prompt = ChatPrompt(messages=messages)
    short, n = shortened(prompt, lambda shorter: len(shorter.messages) <= n_most, block_chars)
    return short.messages, n


def test_the_oldest_turns_go_first() -> None:
    turns = [user("1"), says("a"), user("2"), says("b"), user("3")]
    assert shortest([SYSTEM, *turns], 5) == ([SYSTEM, *turns[2:]], 2)
    assert shortest([SYSTEM, *turns], 3) == ([SYSTEM, *turns[4:]], 4)


def test_system_messages_stay_wherever_they_are() -> None:
    developer = {"role": "developer", "content": "d"}
    messages = [SYSTEM, user("1"), developer, says("a"), user("2"), says("b"), user("3")]
    assert shortest(messages, 3) == ([SYSTEM, developer, user("3")], 4)


def test_the_last_user_stays_with_what_came_last() -> None:
    messages = [SYSTEM, user("1"), says("a"), user("2"), calls("x"), result("x"), calls("y"), result("y")]
    assert shortest(messages, 1) == ([SYSTEM, user("2"), calls("y"), result("y")], 4)


def test_a_call_goes_with_its_results_however_far_they_are() -> None:
    messages = [user("1"), calls("x", "y"), result("x"), user("2"), result("y"), says("a"), user("3")]
    assert shortest(messages, 6) == ([user("3")], 6)
    late = [user("1"), calls("x"), calls("y"), result("x"), result("y"), calls("z"), result("z")]
    assert shortest(late, 6) == ([user("1"), calls("z"), result("z")], 4)


def test_an_id_that_comes_twice_belongs_to_the_latest_call() -> None:
    messages = [user("1"), calls("x"), result("x"), user("2"), calls("x"), result("x"), user("3")]
    assert shortest(messages, 4) == (messages[3:], 3)


@pytest.mark.parametrize(
    "messages", [[user("1")], [SYSTEM, user("1")], [says("a")], [SYSTEM], [user("1"), says("a")]]
)
def test_what_can_not_be_shorter_stays(messages: list[Message]) -> None:
    assert shortest(messages, 0) == (messages, 0)


def test_a_growing_chat_begins_alike_for_many_turns() -> None:
    messages: list[Message] = [SYSTEM]
    begins = []
    for turn in range(60):
        messages += [user(f"{turn:02}"), says("a" * 20)]
        short, _ = shortest([*messages, user("?")], 20, block_chars=600)
        assert len(short) <= 20
        begins.append(short[1]["content"])
    moves = sum(a != b for a, b in pairwise(begins))
    assert 3 < moves < 20


def test_any_chat_keeps_what_belongs_together() -> None:
    for seed in range(300):
        rng = random.Random(seed)
        messages: list[Message] = [SYSTEM] if rng.random() < 0.5 else []
        open_calls: list[str] = []
        for step in range(rng.randrange(1, 30)):
            kind = rng.choice(["user", "says", "calls", "result", "result"])
            if kind == "user":
                messages.append(user(str(step)))
            elif kind == "says":
                messages.append(says(str(step)))
            elif kind == "calls":
                ids = [f"{step}-{i}" for i in range(rng.randrange(1, 3))]
                open_calls += ids
                messages.append(calls(*ids))
            elif open_calls:
                messages.append(result(open_calls.pop(rng.randrange(len(open_calls)))))
        if not messages:
            continue
        short, n = shortest(messages, rng.randrange(0, 20), rng.choice([1, 100, 500]))
        assert len(short) == len(messages) - n
        assert short[-1] == messages[-1]
        assert [m for m in short if m["role"] == "system"] == [m for m in messages if m["role"] == "system"]
        users = [m for m in messages if m["role"] == "user"]
        assert not users or users[-1] in short
        asked = {call["id"] for m in short for call in m.get("tool_calls", ())}
        answered = {m["tool_call_id"] for m in short if m["role"] == "tool"}
        gone = {call["id"] for m in messages for call in m.get("tool_calls", ())} - asked
        assert answered <= asked
        assert not gone & answered
