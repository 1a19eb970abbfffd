"""The calls and results in a chat's messages: their canonical form, and which belong together. Pure.

All protocols make the message dicts of `server.ipc.messages.ChatPrompt` with this. A result belongs to the
latest call with its id, which stands somewhere before it. A call without a result is no error: that is what
an agent sends that was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NoReturn

from models.errors import RequestError

Message = dict[str, Any]

MAX_DEPTH = 100
"""The arguments of a call are nested at most this deep, as a body is."""


def call(call_id: str, name: str, arguments: Any, path: str) -> dict[str, Any]:
    """Return a call in the canonical form. Raises RequestError for arguments that are no object of JSON.

    `path` is the client's name of the arguments.
    """
    function = {"name": name, "arguments": arguments_text(arguments, path)}
    return {"id": call_id, "type": "function", "function": function}


def arguments_text(arguments: Any, path: str) -> str:
    """Return a call's arguments as the JSON text of an object: a text as it came, an object as compact JSON.

    An empty text and None are the empty object. Raises RequestError for anything else, named `path`.
    """
    if arguments is None or (isinstance(arguments, str) and not arguments.strip()):
        return "{}"
    if isinstance(arguments, dict):
        try:
            return json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        except (ValueError, RecursionError) as error:
            raise _wrong_arguments(path, str(error)) from error
    if not isinstance(arguments, str):
        raise _wrong_arguments(path, f"it is of the type {_type_name(arguments)}")
    try:
        value = json.loads(arguments, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise _wrong_arguments(path, f"it is nested deeper than {MAX_DEPTH} levels") from error
    except ValueError as error:
        raise _wrong_arguments(path, f"it is no valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise _wrong_arguments(path, f"it is JSON of the type {_type_name(value)}")
    if _is_deeper(value, MAX_DEPTH):
        raise _wrong_arguments(path, f"it is nested deeper than {MAX_DEPTH} levels")
    return arguments


def linked(
    messages: Sequence[Message], names: Sequence[str], *, id_field: str = "tool_call_id"
) -> list[Message]:
    """Return the messages with each result's tool as its `name`; those given stay as they are.

    `names[i]` is the client's name of message i, such as `messages[3]`, `id_field` its name of a result's
    `tool_call_id`. Raises RequestError for a result of a call that isn't there, or that has one already, and
    for ids that one message gives twice.
    """
    calls: dict[str, str] = {}
    answered: set[str] = set()
    linked: list[Message] = []
    for message, name in zip(messages, names, strict=True):
        if message["role"] == "assistant":
            ids = _named(message.get("tool_calls") or (), name)
            calls |= ids
            answered -= ids.keys()
        elif message["role"] == "tool":
            call_id = message["tool_call_id"]
            if call_id not in calls:
                raise _result_refusal(f"no call before it has the id {call_id!r}", name, id_field)
            if call_id in answered:
                raise _result_refusal(f"the call {call_id!r} has a result already", name, id_field)
            answered.add(call_id)
            linked.append({**message, "name": calls[call_id]})
            continue
        linked.append(message)
    return linked


def _named(calls: Sequence[dict[str, Any]], path: str) -> dict[str, str]:
    names: dict[str, str] = {}
    for place, made in enumerate(calls):
        if made["id"] in names:
            raise RequestError(
                f"'{path}' has two calls with the id {made['id']!r}; give each an id of its own",
                param=f"{path}.tool_calls[{place}].id",
                code="invalid_value",
            )
        names[made["id"]] = made["function"]["name"]
    return names


def _result_refusal(fact: str, path: str, id_field: str) -> RequestError:
    return RequestError(
        f"'{path}' is the result of a tool call, and {fact}; send it behind the assistant's message with its "
        "call, and once",
        param=f"{path}.{id_field}",
        code="invalid_value",
    )


def _wrong_arguments(path: str, fact: str) -> RequestError:
    return RequestError(
        f"Invalid value for '{path}': must be the JSON text of an object, and {fact}",
        param=path,
        code="invalid_value",
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _is_deeper(value: Any, limit: int) -> bool:
    level: list[Any] = [value]
    for _ in range(limit):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


def _type_name(value: Any) -> str:
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names.get(type(value), "null")
