"""The shapes of chat completions, as opencode, pi, aider, Zed and Home Assistant send them."""

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

PATH = "/v1/chat/completions"
ROUTE = f"POST {PATH}"

SYSTEM = {"role": "system", "content": "You are a coding agent. Use the tools to work on the user's files."}
USER = {"role": "user", "content": "Read greet.py."}

READ = {
    "type": "function",
    "function": {
        "name": "read",
        "description": "Read a file of the workspace.",
        "parameters": {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "type": "object",
            "properties": {"filePath": {"type": "string", "enum": ["greet.py"], "description": "Its path."}},
            "required": ["filePath"],
            "additionalProperties": False,
        },
    },
}
EDIT = {
    "type": "function",
    "function": {
        "name": "edit",
        "description": "Replace text in a file.",
        "parameters": {
            "type": "object",
            "properties": {
                "filePath": {"type": "string"},
                "edits": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "properties": {"oldText": {"type": "string"}, "newText": {"type": "string"}},
                        "required": ["oldText", "newText"],
                    },
                },
            },
            "required": ["filePath", "edits"],
        },
    },
}


def call(call_id: str = "call_1") -> dict[str, Any]:
    """Return an earlier call of the tool that reads, as it comes back in a history."""
    return {
        "id": call_id,
        "type": "function",
        "function": {"name": "read", "arguments": json.dumps({"filePath": "greet.py"})},
    }


def _ask(server: Server, body: dict[str, Any], n_events: int | None = None) -> Reply:
    return server.connection.ask("POST", PATH, {"model": server.model, **body}, n_events=n_events)


def _streamed(**body: Any) -> dict[str, Any]:
    return {"stream": True, "stream_options": {"include_usage": True}, **body}


def _turn(server: Server) -> str:
    body = _streamed(messages=[SYSTEM, USER], tools=[READ, EDIT], tool_choice="auto", max_tokens=32_000)
    expect_stream(_ask(server, body, FIRST_EVENTS), ROUTE)
    return "tools, and max_tokens 32000 as an upper bound, are taken"


def _ending(server: Server) -> str:
    body = _streamed(messages=[SYSTEM, USER], tools=[READ], max_tokens=FEW_TOKENS)
    reply = expect_stream(_ask(server, body), ROUTE)
    chunks = [event.data for event in reply.events if isinstance(event.data, dict)]
    need(
        all("error" not in chunk for chunk in chunks),
        f"the stream ends with an error: {next((c['error'] for c in chunks if 'error' in c), None)}",
        "see the server's log",
    )
    reasons = [reason for c in chunks if (reason := at(c, "choices", 0, "finish_reason")) is not None]
    need(
        len(reasons) == 1, f"a stream has {len(reasons)} finish_reason instead of one: opencode asks for ever"
    )
    need(any(at(c, "usage", "total_tokens") for c in chunks), "a stream with include_usage has no usage")
    need(reply.events[-1].data == "[DONE]", "a stream doesn't end with [DONE]")
    return f"the stream ends with finish_reason {reasons[0]}, usage and [DONE]"


def _forced() -> dict[str, Any]:
    return {
        "messages": [SYSTEM, USER],
        "tools": [READ],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "max_tokens": CALL_TOKENS,
    }


def _is_cut_in_thoughts(choice: object) -> bool:
    """True for a choice that came to its limit before the model had done with its thoughts."""
    message = at(choice, "message")
    is_cut = at(choice, "finish_reason") == "length"
    return is_cut and bool(at(message, "reasoning_content")) and not at(message, "content")


def _forced_call(server: Server) -> str:
    reply = expect_stream(_ask(server, _streamed(**_forced())), ROUTE)
    deltas = [delta for e in reply.events for delta in at(e.data, "choices", 0, "delta", "tool_calls") or ()]
    reason = next((r for e in reply.events if (r := at(e.data, "choices", 0, "finish_reason"))), None)
    thoughts = [at(e.data, "choices", 0, "delta", "reasoning_content") for e in reply.events]
    if not deltas and reason == "length" and any(thoughts):
        return STILL_THINKS
    need(deltas, "tool_choice required gives no tool call")
    need(all("index" in d for d in deltas), "a tool call's delta has no index")
    need(at(deltas, 0, "id"), "a tool call has no id: opencode stops with \"Expected 'id' to be a string\"")
    per_chunk = [len(at(e.data, "choices", 0, "delta", "tool_calls") or ()) for e in reply.events]
    need(max(per_chunk) == 1, "a chunk has two calls: Home Assistant reads the first only")
    first = [d for d in deltas if d.get("index") == 0]
    arguments = "".join(at(d, "function", "arguments") or "" for d in first)
    _check_arguments(at(first, 0, "function", "name"), arguments)
    need(reason == "tool_calls", f"an answer with a call ends with {reason} instead of tool_calls")
    return f"read({arguments.strip()}), index, id and finish_reason are there"


def _check_arguments(name: object, arguments: str) -> None:
    need(name == "read", f"the call is of {name}, which isn't the tool that was offered")
    try:
        read = json.loads(arguments)
    except ValueError:
        read = None
    need(read == {"filePath": "greet.py"}, f"a call's arguments don't follow the tool's schema: {arguments}")


def _whole_call(server: Server) -> str:
    choice = at(expect_ok(_ask(server, _forced()), ROUTE).document, "choices", 0)
    made = at(choice, "message", "tool_calls", 0)
    if made is None and _is_cut_in_thoughts(choice):
        return STILL_THINKS
    need(made, "tool_choice required gives no tool call")
    _check_arguments(at(made, "function", "name"), at(made, "function", "arguments") or "")
    return "a whole answer has the call, too"


def _history(server: Server) -> str:
    """Send a turn after a call, in the forms of opencode (thoughts come back), pi (null) and LangChain."""
    result = {"role": "tool", "tool_call_id": "call_1", "content": "print('Helo')"}
    for assistant in (
        {"content": "", "reasoning_content": "I read it first."},
        {"content": None},
        {"content": [{"type": "text", "text": "I read it."}]},
    ):
        said = {"role": "assistant", "tool_calls": [call()], **assistant}
        body = _streamed(messages=[SYSTEM, USER, said, result], tools=[READ], max_tokens=FEW_TOKENS)
        expect_stream(_ask(server, body, FIRST_EVENTS), f"{ROUTE} with an earlier call")
    return "earlier calls, results and thoughts are taken"


def _parts(server: Server) -> str:
    user = {"role": "user", "content": [{"type": "text", "text": "Read greet.py."}]}
    body = _streamed(messages=[SYSTEM, user], tools=[READ], max_completion_tokens=FEW_TOKENS, store=False)
    expect_stream(_ask(server, body, FIRST_EVENTS), ROUTE)
    return "content parts, max_completion_tokens and store: false are taken"


def _beside(server: Server) -> str:
    """Send the request for a title beside the first turn."""
    title = _streamed(
        messages=[{"role": "system", "content": "Name the conversation in five words."}, USER],
        max_tokens=FEW_TOKENS,
        reasoning_effort="low",
    )
    turn = _streamed(messages=[SYSTEM, USER], tools=[READ], max_tokens=FEW_TOKENS)
    with ThreadPoolExecutor(2) as pool:
        for reply in pool.map(lambda body: _ask(server, body), (title, turn)):
            expect_stream(reply, ROUTE)
    return "two requests at once, one with reasoning_effort, are answered"


def _plain(server: Server) -> str:
    messages = [
        SYSTEM,
        {"role": "user", "content": "Change the greeting."},
        {"role": "assistant", "content": "greet.py\n<<<<<<< SEARCH\nHelo\n=======\nHello\n>>>>>>> REPLACE"},
        {"role": "user", "content": "I switched to a new code base. Here is greet.py: Helo"},
        {"role": "assistant", "content": "Ok."},
        USER,
    ]
    expect_stream(_ask(server, {"messages": messages, "temperature": 0, "stream": True}, FIRST_EVENTS), ROUTE)
    return "example turns without max_tokens and stream_options are taken"


def _home_assistant(server: Server) -> str:
    tool = {
        "type": "function",
        "function": {"name": "GetTime", "parameters": {"type": "object", "properties": {}}},
    }
    body = {"messages": [USER], "tools": [tool], "max_tokens": 3, "user": "home"}
    expect_ok(_ask(server, body), ROUTE)
    expect_stream(_ask(server, {**body, "stream": True}), ROUTE)
    return "a tool without arguments and max_tokens 3 are taken, whole and streamed"


def _schema(server: Server) -> str:
    schema = {
        "type": "object",
        "properties": {"done": {"type": "boolean"}},
        "required": ["done"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "state", "strict": True, "schema": schema}}
    body = {"messages": [SYSTEM, USER], "response_format": form, "max_tokens": CALL_TOKENS}
    choice = at(expect_ok(_ask(server, body), ROUTE).document, "choices", 0)
    if _is_cut_in_thoughts(choice):
        return STILL_THINKS
    content = at(choice, "message", "content")
    try:
        read = json.loads(content or "")
    except ValueError:
        read = None
    need(
        isinstance(at(read, "done"), bool),
        f"an answer under a strict json_schema doesn't follow it: {content}",
    )
    return f"an answer under a strict json_schema is {content}"


def _too_long(server: Server) -> str:
    text = overlong_prompt(server)
    if text is None:
        return "not tried: the context isn't told, or too long to send more than it"
    reply = _ask(server, {"messages": [{"role": "user", "content": text}], "max_tokens": 1})
    said = error_message(reply)
    need(reply.status == 400, f"a prompt longer than the context gives {reply.status} instead of 400: {said}")
    need("maximum context length" in said, f"opencode doesn't know that a prompt is too long: {said}")
    return "a prompt that is too long is a 400 that clients know"


TURN = Shape("a turn with tools", _turn)
ENDING = Shape("the end of a stream", _ending)
FORCED_CALL = Shape("a tool call, streamed", _forced_call)
WHOLE_CALL = Shape("a tool call, whole", _whole_call)
HISTORY = Shape("a turn after a call", _history)
PARTS = Shape("content in parts", _parts)
BESIDE = Shape("a title beside a turn", _beside)
PLAIN = Shape("a turn without tools", _plain)
HOME_ASSISTANT = Shape("Home Assistant's probe", _home_assistant)
SCHEMA = Shape("a schema", _schema)
TOO_LONG = Shape("a prompt that is too long", _too_long)
