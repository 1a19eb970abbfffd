"""An empty thought is none: no field, no block, no item, in all protocols; histories with one are taken."""

from __future__ import annotations

import json
from typing import Any

import pytest

from server.engine.events import AnswerForm
from tests.server.http_client import client_for
from tests.server.responses.clients import named_events
from tests.server.scripted_answers import HERMES_THINKING, THINKING, answers, call, chat_of
from tests.server.scripted_service import Script, ScriptedService

USER = {"role": "user", "content": "Hi"}
CALL = call("read", {"a": 1})
EMPTY = [
    ("<think></think>Yes.", HERMES_THINKING, "Yes."),
    ("<think>\n\n</think>\n\nYes.", HERMES_THINKING, "Yes."),
    ("\n<think> </think> Yes.", AnswerForm(thoughts=("<think>", "</think>")), "Yes."),
    ("</think>Yes.", THINKING, "Yes."),
    ("\n\n</think>\n\nYes.", THINKING, "Yes."),
    ("<think></think>", HERMES_THINKING, ""),
    (f"<think>\n</think>\n{CALL}", HERMES_THINKING, None),
    (
        "<|channel|>analysis<|message|><|end|><|start|>assistant<|channel|>final<|message|>Yes.",
        AnswerForm(tool_format="harmony"),
        "Yes.",
    ),
]
"""Answers with an empty thought, and their content; None: a call alone."""
FUNCTION = {"name": "read", "parameters": {"type": "object"}}


async def ask(path: str, script: Script, **fields: Any) -> Any:
    async with client_for(ScriptedService(script)) as client:
        response = await client.post(path, json={"model": "demo", **fields})
    assert response.status_code == 200, response.text
    return response.text if fields.get("stream") else response.json()


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(("text", "form", "content"), EMPTY)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"include_reasoning": True},
        {"reasoning_format": "none"},
        {"reasoning_format": "deepseek-legacy"},
        {"logprobs": True, "return_tokens": True},
    ],
)
async def test_chats(
    text: str, form: AnswerForm, content: str | None, size: int, fields: dict[str, Any]
) -> None:
    fields = {"messages": [USER], "tools": [{"type": "function", "function": FUNCTION}], **fields}
    script = answers(text, form, size=size)
    message = (await ask("/v1/chat/completions", script, **fields))["choices"][0]["message"]
    assert message.keys() & {"reasoning_content", "reasoning"} == set()
    assert message["content"] == content
    assert ("tool_calls" in message) is (content is None)
    streamed = await ask("/v1/chat/completions", script, **fields, stream=True)
    assert "reasoning" not in streamed
    chunks = [json.loads(block.removeprefix("data: ")) for block in streamed.split("\n\n")[:-2]]
    told = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert told == (content or "")


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(("text", "form", "content"), EMPTY)
@pytest.mark.parametrize("thinking", [{"type": "adaptive"}, {"type": "adaptive", "display": "omitted"}])
async def test_messages(
    text: str, form: AnswerForm, content: str | None, size: int, thinking: dict[str, Any]
) -> None:
    tools = [{"name": "read", "input_schema": {"type": "object"}}]
    fields = {"messages": [USER], "max_tokens": 500, "tools": tools, "thinking": thinking}
    script = answers(text, form, size=size)
    blocks = (await ask("/v1/messages", script, **fields))["content"]
    expected = ["tool_use"] if content is None else ["text"] * bool(content)
    assert [block["type"] for block in blocks] == expected
    streamed = await ask("/v1/messages", script, **fields, stream=True)
    assert "thinking" not in streamed
    assert "signature" not in streamed
    assert streamed.count("event: content_block_start") == len(expected)


@pytest.mark.parametrize("size", [1, 3, 1000])
@pytest.mark.parametrize(("text", "form", "content"), EMPTY)
@pytest.mark.parametrize("include", [[], ["reasoning.encrypted_content", "message.output_text.logprobs"]])
async def test_responses(
    text: str, form: AnswerForm, content: str | None, size: int, include: list[str]
) -> None:
    fields = {"input": "Hi", "tools": [{"type": "function", **FUNCTION}], "include": include}
    script = answers(text, form, size=size)
    output = (await ask("/v1/responses", script, **fields))["output"]
    assert [item["type"] for item in output] == ["function_call" if content is None else "message"]
    if content is not None:
        assert output[0]["content"][0]["text"] == content
    events = named_events(await ask("/v1/responses", script, **fields, stream=True))
    assert not any("reasoning" in event["type"] for event in events)
    assert [item["type"] for item in events[-1]["response"]["output"]] == [output[0]["type"]]


# --- histories ----------------------------------------------------------------------------------------------

ANSWER = {"role": "assistant", "content": "Yes."}
IN_CHATS: list[dict[str, Any]] = [
    {},
    {"reasoning_content": ""},
    {"reasoning_content": None},
    {"reasoning": ""},
    {"content": [{"type": "thinking", "thinking": ""}, {"type": "text", "text": "Yes."}]},
]
IN_MESSAGES: list[list[dict[str, Any]]] = [
    [],
    [{"type": "thinking", "thinking": "", "signature": ""}],
    [{"type": "thinking", "thinking": "", "signature": None}],
    [{"type": "thinking", "thinking": ""}],
    [{"type": "thinking", "thinking": "", "signature": "somebody else's"}],
    [{"type": "redacted_thinking", "data": ""}],
]
IN_RESPONSES: list[list[dict[str, Any]]] = [
    [],
    [{"type": "reasoning", "summary": []}],
    [{"type": "reasoning", "id": "rs_1", "summary": [], "content": [], "encrypted_content": None}],
    [{"type": "reasoning", "summary": [], "content": None, "encrypted_content": ""}],
    [{"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": ""}]}],
    [{"type": "reasoning", "summary": [{"type": "summary_text", "text": ""}]}],
]
TEXT = {"type": "text", "text": "Yes."}
HISTORIES: list[tuple[str, dict[str, Any]]] = [
    *(("/v1/chat/completions", {"messages": [USER, {**ANSWER, **given}, USER]}) for given in IN_CHATS),
    *(
        (
            "/v1/messages",
            {"max_tokens": 9, "messages": [USER, {**ANSWER, "content": [*given, TEXT]}, USER]},
        )
        for given in IN_MESSAGES
    ),
    *(("/v1/responses", {"input": [USER, *given, ANSWER, USER]}) for given in IN_RESPONSES),
]


@pytest.mark.parametrize(("path", "body"), HISTORIES)
async def test_a_history_with_an_empty_thought(path: str, body: dict[str, Any]) -> None:
    service = ScriptedService()
    async with client_for(service) as client:
        response = await client.post(path, json={"model": "demo", **body})
    assert response.status_code == 200, response.text
    assert chat_of(service.request).messages == [USER, ANSWER, USER]
