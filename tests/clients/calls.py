"""The tool calls in recorded answers, with the schemas that their requests gave, for all protocols."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jsonschema

from tests.clients.traffic import Exchange

_CUT = ("length", "max_tokens", "max_output_tokens")


@dataclass(frozen=True)
class ToolCall:
    """A call as it came to the client."""

    name: str
    arguments: str
    id: str


def malformed(exchanges: Iterable[Exchange]) -> list[str]:
    """Return what is wrong with calls: no tool of the request, arguments against its schema, a second id.

    A call that the token limit cut is no malformed one, nor is the last of a stream that didn't end.
    """
    found = []
    ids: set[str] = set()
    for exchange in exchanges:
        offered = tools_of(exchange.request.json())
        for call in calls_of(exchange):
            if not call.id or call.id in ids:
                found.append(f"{call.name} has no id of its own: {call.id!r}")
            ids.add(call.id)
            if call.name not in offered:
                found.append(f"{call.name} isn't offered")
                continue
            try:
                value = json.loads(call.arguments or "{}")
                jsonschema.validate(value, offered[call.name])
            except (ValueError, jsonschema.ValidationError) as error:
                found.append(f"{call.name}({call.arguments[:300]}): {str(error)[:300]}")
    return found


def tools_of(body: Any) -> dict[str, Any]:
    """Return the schemas of a request's functions by name."""
    offered: dict[str, Any] = {}
    for tool in (body or {}).get("tools") or []:
        for one in tool.get("tools") or [tool]:  # Codex has namespaces of functions
            function = one.get("function", one)
            if "name" in function:
                schema = function.get("parameters", function.get("input_schema")) or {}
                offered[function["name"]] = schema
    return offered


def calls_of(exchange: Exchange) -> list[ToolCall]:
    """Return the whole calls of an answer."""
    if exchange.answer is None or exchange.status != 200:
        return []
    events = exchange.events() or [exchange.answer.json() or {}]
    if exchange.path.endswith("/chat/completions"):
        return _of_chat(events)
    if exchange.path.endswith("/messages"):
        return _of_messages(events)
    if exchange.path.endswith("/api/chat"):
        return _of_ollama(events)
    return _of_responses(events)


def _of_ollama(events: list[dict[str, Any]]) -> list[ToolCall]:
    """Return the calls, which come whole or not at all."""
    calls = [call for event in events for call in event.get("message", {}).get("tool_calls") or []]
    return [
        ToolCall(call["function"]["name"], json.dumps(call["function"]["arguments"]), call["id"])
        for call in calls
    ]


def _of_chat(events: list[dict[str, Any]]) -> list[ToolCall]:
    names: dict[int, str] = {}
    ids: dict[int, str] = {}
    arguments: dict[int, str] = {}
    cut = True
    for choice in (choice for event in events for choice in event.get("choices") or []):
        if choice.get("finish_reason"):
            cut = choice["finish_reason"] in _CUT
        for at, call in enumerate(choice.get("delta", choice.get("message", {})).get("tool_calls") or []):
            place = call.get("index", at)
            function = call.get("function") or {}
            names.setdefault(place, function.get("name") or "")
            ids.setdefault(place, call.get("id") or "")
            arguments[place] = arguments.get(place, "") + (function.get("arguments") or "")
    calls = [ToolCall(name, arguments[place], ids[place]) for place, name in names.items()]
    return calls[:-1] if cut else calls


def _of_messages(events: list[dict[str, Any]]) -> list[ToolCall]:
    blocks: dict[int, tuple[str, str, str]] = {}
    cut = True
    for event in events:
        match event.get("type"):
            case "content_block_start" if event["content_block"]["type"] == "tool_use":
                block = event["content_block"]
                blocks[event["index"]] = (block["name"], "", block.get("id", ""))
            case "content_block_delta" if event["delta"]["type"] == "input_json_delta":
                name, text, id_ = blocks[event["index"]]
                blocks[event["index"]] = (name, text + event["delta"]["partial_json"], id_)
            case "message_delta":
                cut = event["delta"].get("stop_reason") in _CUT
            case "message":
                used = [block for block in event["content"] if block["type"] == "tool_use"]
                return [
                    ToolCall(block["name"], json.dumps(block["input"]), block.get("id", "")) for block in used
                ]
    calls = [ToolCall(*block) for block in blocks.values()]
    return calls[:-1] if cut else calls


def _of_responses(events: list[dict[str, Any]]) -> list[ToolCall]:
    done = [event["item"] for event in events if event.get("type") == "response.output_item.done"]
    done += [item for event in events for item in event.get("output") or []]
    whole = [
        item
        for item in done
        if item.get("type") == "function_call" and item.get("status", "completed") == "completed"
    ]
    return [ToolCall(item["name"], item["arguments"], item.get("call_id", "")) for item in whole]
