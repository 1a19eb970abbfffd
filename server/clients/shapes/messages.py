"""The shapes of Anthropic's Messages, as Claude Code and the anthropic libraries send them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from server.clients.connection import Reply
from server.clients.shapes.shape import (
    CALL_TOKENS,
    FEW_TOKENS,
    FIRST_EVENTS,
    STILL_THINKS,
    Server,
    Shape,
    at,
    error_message,
    expect_ok,
    expect_stream,
    need,
    overlong_prompt,
)

PATH = "/v1/messages"
ROUTE = f"POST {PATH}"
HEADERS = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27",
    "x-app": "cli",
}

SYSTEM = [
    {"type": "text", "text": "You are a coding agent."},
    {
        "type": "text",
        "text": "Use the tools to work on the user's files.",
        "cache_control": {"type": "ephemeral"},
    },
]
USER = {
    "role": "user",
    "content": [{"type": "text", "text": "Read greet.py.", "cache_control": {"type": "ephemeral"}}],
}
LATE_SYSTEM = {"role": "system", "content": "The workspace is a git repository with one branch."}
READ = {
    "name": "Read",
    "description": "Read a file of the workspace.",
    "input_schema": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"file_path": {"type": "string", "enum": ["greet.py"], "description": "Its path."}},
        "required": ["file_path"],
        "additionalProperties": False,
    },
}
EDIT = {
    "name": "Edit",
    "description": "Replace text in a file.",
    "input_schema": {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {
            "file_path": {"type": "string"},
            "old_string": {"type": "string"},
            "new_string": {"type": "string"},
            "replace_all": {"type": "boolean", "default": False},
            "limit": {"type": "integer", "exclusiveMinimum": 0, "maximum": 9007199254740991},
        },
        "required": ["file_path", "old_string", "new_string"],
        "additionalProperties": False,
    },
}
PLACEHOLDER = {
    "name": "WebFetch",
    "description": "Found by a search.",
    "input_schema": {"type": "object", "properties": {}},
    "defer_loading": True,
}


def _body(server: Server, **more: Any) -> dict[str, Any]:
    """Return a request with all that Claude Code sends always or mostly."""
    return {
        "model": server.model,
        "system": SYSTEM,
        "messages": [USER, LATE_SYSTEM],
        "tools": [READ, EDIT, PLACEHOLDER],
        "metadata": {"user_id": json.dumps({"device_id": "0" * 16, "session_id": "1" * 16})},
        "thinking": {"type": "adaptive", "display": "omitted"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "high"},
        "stream": True,
        "max_tokens": FEW_TOKENS,
        **more,
    }


def _ask(server: Server, body: dict[str, Any], n_events: int | None = None, path: str = PATH) -> Reply:
    return server.connection.ask("POST", f"{path}?beta=true", body, HEADERS, n_events)


def _turn(server: Server) -> str:
    expect_stream(_ask(server, _body(server, max_tokens=32_000), FIRST_EVENTS), ROUTE)
    return "system parts, role system, tools, thinking adaptive and max_tokens 32000 are taken"


def _stream(server: Server) -> str:
    reply = expect_stream(_ask(server, _body(server)), ROUTE)
    kinds = [at(event.data, "type") for event in reply.events]
    if "error" in kinds:
        error = next(at(e.data, "error", "message") for e in reply.events if at(e.data, "type") == "error")
        need(False, f"the stream ends with an error: {error}", "see the server's log")
    need(
        all(event.name == at(event.data, "type") for event in reply.events),
        "events have no `event:` line with their type: the anthropic libraries see none of them",
    )
    for kind in ("message_start", "message_delta", "message_stop"):
        need(kinds.count(kind) == 1, f"a stream has {kinds.count(kind)} {kind} instead of one")
    begun, ended = kinds.count("content_block_start"), kinds.count("content_block_stop")
    need(begun == ended, f"{begun} content blocks begin and {ended} end")
    delta = next(e.data for e in reply.events if at(e.data, "type") == "message_delta")
    need(at(delta, "delta", "stop_reason"), "message_delta has no stop_reason")
    need(isinstance(at(delta, "usage", "output_tokens"), int), "message_delta has no usage.output_tokens")
    return f"every event is there, stop_reason {at(delta, 'delta', 'stop_reason')}"


def _ids(server: Server) -> str:
    ids = []
    for _ in range(2):
        reply = expect_stream(_ask(server, _body(server, max_tokens=1)), ROUTE)
        ids.append(next((at(e.data, "message", "id") for e in reply.events), None))
    need(all(ids), "message_start has no message.id: Claude Code asks for ever")
    need(ids[0] != ids[1], f"two answers have the same id, {ids[0]}: Claude Code asks for ever")
    return "each answer has an id of its own"


def _whole(server: Server) -> str:
    reply = expect_ok(_ask(server, _body(server, stream=False)), ROUTE)
    document = reply.document
    need(at(document, "type") == "message", f"a whole answer's type is {at(document, 'type')}")
    need(isinstance(at(document, "content"), list), "a whole answer has no content list")
    need(isinstance(at(document, "usage", "input_tokens"), int), "a whole answer has no usage.input_tokens")
    return "whole answers, asked for after a broken stream, are given"


def _forced_call(server: Server) -> str:
    thinking = {"type": "disabled"}  # a forced tool and thinking exclude each other in this protocol
    choice = {"type": "any", "disable_parallel_tool_use": True}
    body = _body(server, tools=[READ], tool_choice=choice, max_tokens=CALL_TOKENS, thinking=thinking)
    reply = expect_stream(_ask(server, body), ROUTE)
    reason = next((r for e in reply.events if (r := at(e.data, "delta", "stop_reason"))), None)
    blocks = [
        at(e.data, "content_block") for e in reply.events if at(e.data, "type") == "content_block_start"
    ]
    call = next((block for block in blocks if at(block, "type") == "tool_use"), None)
    if call is None and reason == "max_tokens" and all(at(b, "type") == "thinking" for b in blocks):
        return STILL_THINKS
    need(call, "tool_choice any gives no tool_use")
    need(at(call, "id"), "a tool_use has no id: the client's call fails")
    need(
        at(call, "name") == "Read",
        f"the call is of {at(call, 'name')}, which isn't the tool that was offered",
    )
    text = "".join(at(e.data, "delta", "partial_json") or "" for e in reply.events)
    try:
        arguments = json.loads(text)
    except ValueError:
        arguments = None
    need(arguments == {"file_path": "greet.py"}, f"a call's input doesn't follow the tool's schema: {text}")
    need(reason == "tool_use", f"an answer with a call ends with {reason} instead of tool_use")
    return f"Read({text}), id and stop_reason are there"


def _history(server: Server) -> str:
    call = {"type": "tool_use", "id": "toolu_01", "name": "Read", "input": {"file_path": "greet.py"}}
    thought = {"type": "thinking", "thinking": "I read it first.", "signature": "c2lnbmF0dXJl"}
    results: list[dict[str, Any]] = [
        {"content": "print('Helo')"},
        {"content": [{"type": "text", "text": "no such file"}], "is_error": True},
    ]
    for blocks in ([{"type": "text", "text": "I read it."}, call], [thought, call]):
        for result in results:
            answer = {"type": "tool_result", "tool_use_id": "toolu_01", **result}
            history = [USER, LATE_SYSTEM, {"role": "assistant", "content": blocks}]
            body = _body(server, messages=[*history, {"role": "user", "content": [answer]}])
            expect_stream(_ask(server, body, FIRST_EVENTS), f"{ROUTE} with an earlier call")
    return "earlier calls, results, errors and signed thoughts are taken"


def _beside(server: Server) -> str:
    """Send the request for a title, under a schema, beside the first turn."""
    schema = {
        "type": "object",
        "properties": {"title": {"type": "string", "maxLength": 20}},
        "required": ["title"],
        "additionalProperties": False,
    }
    output = {"effort": "low", "format": {"type": "json_schema", "schema": schema}}
    title = _body(server, tools=[], output_config=output, max_tokens=CALL_TOKENS)
    del title["thinking"]
    with ThreadPoolExecutor(2) as pool:
        for reply in pool.map(lambda body: _ask(server, body), (title, _body(server))):
            expect_stream(reply, ROUTE)
    return "two requests at once, one with output_config.format, are answered"


def _count(server: Server) -> str:
    question = {
        name: value
        for name, value in _body(server).items()
        if name in ("model", "system", "messages", "tools")
    }
    route = f"POST {PATH}/count_tokens"
    counted = expect_ok(_ask(server, question, path=f"{PATH}/count_tokens"), route)
    n_counted = at(counted.document, "input_tokens")
    need(isinstance(n_counted, int), f"{route} has no input_tokens")
    usage = at(expect_ok(_ask(server, {**question, "max_tokens": 1}), ROUTE).document, "usage") or {}
    names = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
    n_used = sum(usage.get(name) or 0 for name in names)
    need(n_counted == n_used, f"{route} says {n_counted} and the request's usage {n_used}")
    return f"{n_counted} tokens, as the request's usage says"


def _too_long(server: Server) -> str:
    text = overlong_prompt(server)
    if text is None:
        return "not tried: the context isn't told, or too long to send more than it"
    reply = _ask(server, _body(server, messages=[{"role": "user", "content": text}]))
    said = error_message(reply)
    need(reply.status == 400, f"a prompt longer than the context gives {reply.status} instead of 400: {said}")
    need(at(reply.document, "type") == "error", "an error isn't in Anthropic's form")
    need("prompt is too long" in said, f"Claude Code doesn't know that a prompt is too long: {said}")
    return "a prompt that is too long is a 400 that makes it compact"


def _unknown_model(server: Server) -> str:
    reply = _ask(server, {**_body(server), "model": "no-such-model"})
    need(reply.status == 404, f"an unknown model gives {reply.status} instead of 404: {error_message(reply)}")
    need(
        at(reply.document, "type") == "error" and at(reply.document, "error", "type") == "not_found_error",
        "an unknown model's error isn't in Anthropic's form",
    )
    return "an unknown model is a 404 in Anthropic's form"


TURN = Shape("a turn with tools", _turn)
STREAM = Shape("a stream's events", _stream)
IDS = Shape("ids of answers", _ids)
WHOLE = Shape("a whole answer", _whole)
FORCED_CALL = Shape("a tool call", _forced_call)
HISTORY = Shape("a turn after a call", _history)
BESIDE = Shape("a title beside a turn", _beside)
COUNT = Shape("counted tokens", _count)
TOO_LONG = Shape("a prompt that is too long", _too_long)
UNKNOWN_MODEL = Shape("an unknown model", _unknown_model)

ALL = (TURN, STREAM, IDS, WHOLE, FORCED_CALL, HISTORY, BESIDE, COUNT, TOO_LONG, UNKNOWN_MODEL)
"""The shapes of Claude Code."""
