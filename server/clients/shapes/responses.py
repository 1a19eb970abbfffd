"""The shapes of OpenAI's Responses, as Codex sends them."""

from __future__ import annotations

import json
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
    expect_stream,
    need,
    overlong_prompt,
)

PATH = "/v1/responses"
ROUTE = f"POST {PATH}"
HEADERS = {"Accept": "text/event-stream", "session-id": "0" * 16, "thread-id": "1" * 16}


def _message(item_id: str, role: str, text: str) -> dict[str, Any]:
    part = {"type": "input_text", "text": text}
    return {"type": "message", "id": item_id, "role": role, "content": [part]}


BASE = [
    _message("msg_1", "developer", "You are a coding agent. Use the tools to work on the user's files."),
    _message("msg_2", "developer", "The workspace is a git repository."),
    _message("msg_3", "user", "The shell is bash."),
    _message("msg_4", "user", "Read greet.py."),
]
COMMAND = {
    "type": "function",
    "name": "exec_command",
    "description": "Run a command.",
    "strict": False,
    "parameters": {
        "type": "object",
        "properties": {"cmd": {"type": "string", "enum": ["cat greet.py"], "description": "The command."}},
        "required": ["cmd"],
        "additionalProperties": False,
    },
}
OTHERS = [
    {
        "type": "namespace",
        "name": "agents",
        "description": "Other agents.",
        "tools": [
            {
                "type": "function",
                "name": "spawn",
                "description": "Start an agent.",
                "strict": False,
                "parameters": {"type": "object", "properties": {"task": {"type": "string"}}},
            }
        ],
    },
    {"type": "web_search", "external_web_access": False},
]


def _body(server: Server, **more: Any) -> dict[str, Any]:
    """Return a request with all that Codex sends."""
    return {
        "model": server.model,
        "input": BASE,
        "tools": [COMMAND, *OTHERS],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "1" * 16,
        "client_metadata": {"x-codex-installation-id": "2" * 16},
        **more,
    }


def _ask(server: Server, body: dict[str, Any], n_events: int | None = None) -> Reply:
    return server.connection.ask("POST", PATH, body, HEADERS, n_events)


def _upgrade(server: Server) -> str:
    headers = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "MDEyMzQ1Njc4OWFiY2RlZg==",
    }
    reply = server.connection.ask("GET", PATH, headers=headers)
    need(
        reply.status == 426,
        f"GET {PATH} with Upgrade: websocket answers {reply.status} instead of 426: Codex tries for seconds",
    )
    return "a WebSocket is refused with 426, so that Codex falls back at once"


def _turn(server: Server) -> str:
    expect_stream(_ask(server, _body(server), FIRST_EVENTS), ROUTE)
    return "items with ids, developer messages, namespace and web_search tools are taken"


def _ended(reply: Reply) -> dict[str, Any]:
    """Return the response of the last event. Raises Missing if the stream has another end."""
    kinds = [at(event.data, "type") for event in reply.events]
    last = next((e.data for e in reversed(reply.events) if at(e.data, "response")), None)
    need(
        at(last, "type") in ("response.completed", "response.incomplete"),
        f"a stream ends with {kinds[-1]} instead of response.completed:"
        f" {at(last, 'response', 'error', 'message') or 'no error is told'}",
        "see the server's log",
    )
    response: dict[str, Any] = at(last, "response")
    need(response.get("id"), "response.completed has no response.id")
    return response


def _stream(server: Server) -> str:
    reply = expect_stream(_ask(server, _body(server, max_output_tokens=FEW_TOKENS)), ROUTE)
    response = _ended(reply)
    usage = response.get("usage")
    if usage is not None:
        for name in ("input_tokens", "output_tokens", "total_tokens"):
            need(isinstance(at(usage, name), int), f"usage has no {name}: Codex stops")
    return f"the stream ends with status {response.get('status')}"


def _forced_call(server: Server) -> str:
    body = _body(server, tools=[COMMAND], tool_choice="required", max_output_tokens=CALL_TOKENS)
    body["parallel_tool_calls"] = False
    reply = expect_stream(_ask(server, body), ROUTE)
    ended = _ended(reply)
    done = [at(e.data, "item") for e in reply.events if at(e.data, "type") == "response.output_item.done"]
    call = next((item for item in done if at(item, "type") == "function_call"), None)
    if (
        call is None
        and ended.get("status") == "incomplete"
        and all(at(i, "type") == "reasoning" for i in done)
    ):
        return STILL_THINKS
    need(call, "tool_choice required gives no response.output_item.done with a function_call")
    need(at(call, "call_id"), "a function_call has no call_id")
    try:
        arguments = json.loads(at(call, "arguments") or "")
    except ValueError:
        arguments = None
    need(
        at(call, "name") == "exec_command" and arguments == {"cmd": "cat greet.py"},
        f"a call doesn't follow the tool's schema: {at(call, 'name')}({at(call, 'arguments')})",
    )
    return f"exec_command({at(call, 'arguments')}) and its call_id are there"


def _history(server: Server) -> str:
    items = [
        *BASE,
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": None, "encrypted_content": None},
        {
            "type": "message",
            "id": "msg_5",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "I read it.", "annotations": [], "logprobs": []}],
        },
        {
            "type": "function_call",
            "id": "fc_1",
            "call_id": "call_1",
            "name": "exec_command",
            "arguments": json.dumps({"cmd": "cat greet.py"}),
            "status": "completed",
        },
        {"type": "function_call_output", "id": "fco_1", "call_id": "call_1", "output": "print('Helo')"},
    ]
    body = _body(server, input=items, max_output_tokens=FEW_TOKENS)
    expect_stream(_ask(server, body, FIRST_EVENTS), f"{ROUTE} with an earlier call")
    return "earlier calls, results, answers and reasoning are taken"


def _compaction(server: Server) -> str:
    items = [*BASE, _message("msg_6", "user", "Write a summary of the conversation.")]
    body = _body(server, input=items, tools=[], max_output_tokens=FEW_TOKENS)
    _ended(expect_stream(_ask(server, body), ROUTE))
    return "the request for a summary, without tools, is answered"


def _too_long(server: Server) -> str:
    text = overlong_prompt(server)
    if text is None:
        return "not tried: the context isn't told, or too long to send more than it"
    reply = _ask(server, _body(server, input=[_message("msg_1", "user", text)]))
    code = at(reply.document, "error", "code") or next(
        (c for e in reply.events if (c := at(e.data, "response", "error", "code"))), None
    )
    need(
        code == "context_length_exceeded",
        f"a prompt longer than the context gives the code {code}: {error_message(reply)}",
    )
    return "a prompt that is too long is told by its code"


UPGRADE = Shape("a WebSocket", _upgrade)
TURN = Shape("a turn with tools", _turn)
STREAM = Shape("the end of a stream", _stream)
FORCED_CALL = Shape("a tool call", _forced_call)
HISTORY = Shape("a turn after a call", _history)
COMPACTION = Shape("a summary", _compaction)
TOO_LONG = Shape("a prompt that is too long", _too_long)

ALL = (UPGRADE, TURN, STREAM, FORCED_CALL, HISTORY, COMPACTION, TOO_LONG)
"""The shapes of Codex."""
