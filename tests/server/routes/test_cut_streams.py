"""Streams of every protocol that break at every event: what came before is well formed, the end is an error.

Answers have thoughts, words and calls. What a broken stream has told is the beginning of what the whole one
tells, part by part, and its last event is an error in the protocol's form.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from pydantic_core import from_json

from models.errors import WorkerDied
from server.engine.events import AnswerForm, Failure
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate
from server.ipc.prompts import ChatPrompt
from tests.server.http_client import client_for
from tests.server.responses.clients import named_events
from tests.server.scripted_answers import HERMES, HERMES_THINKING, THINKING, answers, call
from tests.server.scripted_service import Script, ScriptedService

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
CALLS = call("read", {"a": 1, "b": "é\n"}) + "\n" + call("read", {})
ANSWERS: dict[str, tuple[str, AnswerForm | None]] = {
    "words": ("Hello, world.", None),
    "thoughts": ("Hm,\nhm.\n</think>\n\nYes, well.", THINKING),
    "a call alone": (call("read", {"a": 1}), HERMES),
    "all": (f"<think>Hm, hm.</think>I look. {CALLS}", HERMES_THINKING),
}


@dataclass
class Told:
    """What a stream has told so far."""

    thoughts: str = ""
    content: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)
    """The name and the arguments of each call."""

    def begins(self, whole: Told) -> bool:
        """True if this may have been a stream of the whole answer, cut."""
        return (
            whole.thoughts.startswith(self.thoughts)
            and whole.content.startswith(self.content)
            and len(self.calls) <= len(whole.calls)
            and all(
                name == known and arguments.startswith(text)
                for (name, text), (known, arguments) in zip(self.calls, whole.calls, strict=False)
            )
        )

    def check(self) -> None:
        """Each call but the last must be whole, and the last the beginning of JSON."""
        for _, text in self.calls[:-1]:
            assert isinstance(json.loads(text), dict)
        for _, text in self.calls[-1:]:
            from_json(text or "{}", allow_partial="trailing-strings")


# --- what each protocol's events tell -----------------------------------------------------------------------


def of_chat(text: str) -> tuple[Told, Any]:
    """What the chunks tell, and the error at their end; None: the stream ended well."""
    told, finish, error = Told(), None, None
    blocks = [block.removeprefix("data: ") for block in text.removesuffix("\n\n").split("\n\n")]
    for place, block in enumerate(blocks):
        if block == "[DONE]":
            assert place == len(blocks) - 1
            assert finish is not None
            return told, None
        chunk = json.loads(block)
        if "error" in chunk:
            assert place == len(blocks) - 1
            error = chunk["error"]
            break
        for choice in chunk["choices"]:
            assert finish is None, "nothing comes behind the end of a choice"
            delta, finish = choice["delta"], choice["finish_reason"]
            assert (delta.get("role") == "assistant") is (place == 0)
            told.thoughts += delta.get("reasoning_content") or ""
            told.content += delta.get("content") or ""
            for piece in delta.get("tool_calls", []):
                if "id" in piece:
                    assert piece["index"] == len(told.calls)
                    assert piece["type"] == "function"
                    told.calls.append((piece["function"]["name"], ""))
                assert piece["index"] == len(told.calls) - 1
                name, so_far = told.calls[-1]
                told.calls[-1] = name, so_far + piece["function"]["arguments"]
    assert error is not None
    assert error.keys() == {"message", "type", "param", "code"}
    return told, error


def of_text(text: str) -> tuple[Told, Any]:
    """The same of `/v1/completions`."""
    told = Told()
    blocks = [block.removeprefix("data: ") for block in text.removesuffix("\n\n").split("\n\n")]
    *chunks, last = blocks
    for block in chunks:
        (choice,) = json.loads(block)["choices"]
        told.content += choice["text"]
    return told, None if last == "[DONE]" else json.loads(last)["error"]


def of_message(text: str) -> tuple[Told, Any]:
    """The same of `/v1/messages`."""
    told, kinds, is_open = Told(), list[str](), False
    events = []
    for block in text.removesuffix("\n\n").split("\n\n"):
        name, data = block.split("\n")
        events.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {events[-1]['type']}"
    assert events[0]["type"] == "message_start"
    for event in events[1:-1]:
        match event["type"]:
            case "content_block_start":
                assert not is_open
                assert event["index"] == len(kinds)
                kinds.append(event["content_block"]["type"])
                is_open = True
                if kinds[-1] == "tool_use":
                    told.calls.append((event["content_block"]["name"], ""))
            case "content_block_delta":
                assert is_open
                assert event["index"] == len(kinds) - 1
                add_to_block(told, kinds[-1], event["delta"])
            case "content_block_stop":
                assert is_open
                assert event["index"] == len(kinds) - 1
                is_open = False
            case "message_delta":
                assert not is_open
            case wrong:
                pytest.fail(f"{wrong} in the middle of a stream")
    last = events[-1]
    if last["type"] == "message_stop":
        assert events[-2]["type"] == "message_delta"
        return told, None
    assert last.keys() == {"type", "error", "request_id"}
    assert last["type"] == "error"
    assert last["error"].keys() == {"type", "message"}
    return told, last["error"]


def add_to_block(told: Told, kind: str, delta: dict[str, Any]) -> None:
    """Take what a delta adds to a block of this kind."""
    match kind, delta["type"]:
        case "thinking", "thinking_delta":
            told.thoughts += delta["thinking"]
        case "thinking", "signature_delta":
            pass
        case "text", "text_delta":
            told.content += delta["text"]
        case "tool_use", "input_json_delta":
            name, so_far = told.calls[-1]
            told.calls[-1] = name, so_far + delta["partial_json"]
        case wrong:
            pytest.fail(f"a delta in a block of another kind: {wrong}")


def of_response(text: str) -> tuple[Told, Any]:
    """The same of `/v1/responses`; the last event has the output so far."""
    told, items, is_open = Told(), list[dict[str, Any]](), False
    events = named_events(text)
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    done: list[dict[str, Any]] = []
    for event in events[2:-1]:
        kind = event["type"].removeprefix("response.")
        assert event["output_index"] == len(items) - (kind != "output_item.added")
        assert is_open is not (kind == "output_item.added")
        match kind:
            case "output_item.added":
                items.append(event["item"])
                is_open = True
                if event["item"]["type"] == "function_call":
                    told.calls.append((event["item"]["name"], ""))
            case "output_item.done":
                is_open = False
                done.append(event["item"])
            case "reasoning_text.delta":
                told.thoughts += event["delta"]
            case "output_text.delta":
                told.content += event["delta"]
            case "function_call_arguments.delta":
                name, so_far = told.calls[-1]
                told.calls[-1] = name, so_far + event["delta"]
        if "item_id" in event:
            assert event["item_id"] == items[-1]["id"]
    last = events[-1]["response"]
    assert [item["id"] for item in last["output"]] == [item["id"] for item in items]
    assert [item for item in last["output"] if item["status"] == "completed"] == done
    calls = [(item["name"], item["arguments"]) for item in last["output"] if item["type"] == "function_call"]
    assert calls == told.calls
    if events[-1]["type"] == "response.completed":
        assert not is_open
        return told, None
    assert events[-1]["type"] == "response.failed"
    assert (last["status"], last["store"]) == ("failed", False)
    assert last["error"].keys() == {"code", "message"}
    return told, last["error"]


USER = {"role": "user", "content": "Hi"}
FUNCTION = {"name": "read", "parameters": SCHEMA}
PROTOCOLS: dict[str, tuple[str, dict[str, Any], Callable[[str], tuple[Told, Any]]]] = {
    "chat": (
        "/v1/chat/completions",
        {"messages": [USER], "tools": [{"type": "function", "function": FUNCTION}]},
        of_chat,
    ),
    "text": ("/v1/completions", {"prompt": "Hi"}, of_text),
    "messages": (
        "/v1/messages",
        {"max_tokens": 500, "messages": [USER], "tools": [{"name": "read", "input_schema": SCHEMA}]},
        of_message,
    ),
    "responses": ("/v1/responses", {"input": "Hi", "tools": [{"type": "function", **FUNCTION}]}, of_response),
}
CASES = [
    (protocol, name) for protocol in PROTOCOLS for name in ANSWERS if protocol != "text" or name == "words"
]
ERRORS: dict[str, tuple[Callable[[str], Any], str, str, str]] = {
    "the worker dies": (
        lambda _: WorkerDied("The worker died"),
        "The worker died",
        "worker_died",
        "overloaded_error",
    ),
    "the request fails": (
        lambda request_id: Failure(id=request_id, kind="server_error", message="out of luck"),
        "out of luck",
        "server_error",
        "api_error",
    ),
    "a fault of ours": (
        lambda _: RuntimeError("secret"),
        "The server had an error",
        "internal_error",
        "api_error",
    ),
}
"""What ends a stream, with the words, the code and Anthropic's type by which its client is told."""


def assert_error(protocol: str, found: Any, error: str) -> None:
    _, message, code, kind = ERRORS[error]
    assert message in found["message"]
    assert "secret" not in str(found)
    if protocol == "messages":
        assert found["type"] == kind
    elif protocol == "responses":
        assert found["code"] == code
    else:
        assert (found["type"], found["code"]) == ("server_error", code)


async def streamed(protocol: str, script: Script) -> httpx.Response:
    path, body, _ = PROTOCOLS[protocol]
    async with client_for(ScriptedService(script)) as client:
        return await client.post(path, json={"model": "demo", "stream": True, **body})


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(("protocol", "name"), CASES)
async def test_a_stream_that_breaks_at_every_event(protocol: str, name: str, error: str) -> None:
    text, form = ANSWERS[name]
    script = answers(text, form, size=(4, 1, 7))
    n_steps = len(script(Generate(id="x", prompt=ChatPrompt([]), params=SamplingParams())))
    reads = PROTOCOLS[protocol][2]
    whole, problem = reads((await streamed(protocol, script)).text)
    assert problem is None
    assert (bool(whole.thoughts), bool(whole.content), len(whole.calls)) == {
        "words": (False, True, 0),
        "thoughts": (True, True, 0),
        "a call alone": (False, False, 1),
        "all": (True, True, 2),
    }[name]
    make = ERRORS[error][0]
    before = Told()
    for n_told in range(1, n_steps):

        def broken(request: Generate, n_told: int = n_told) -> Any:
            return [*script(request)[:n_told], make(request.id)]

        response = await streamed(protocol, broken)
        assert response.status_code == 200
        told, problem = reads(response.text)
        assert_error(protocol, problem, error)
        told.check()
        assert told.begins(whole)
        assert before.begins(told), "what was told stays told"
        before = told


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_an_error_before_the_first_event_has_a_status(protocol: str, error: str) -> None:
    make = ERRORS[error][0]
    response = await streamed(protocol, lambda request: [make(request.id)])
    assert response.status_code in (500, 503, 529)
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    if protocol == "responses":  # with a status errors have the form of all of OpenAI's routes
        protocol = "chat"
    assert_error(protocol, body["error"], error)
    assert body.keys() == ({"type", "error", "request_id"} if protocol == "messages" else {"error"})
