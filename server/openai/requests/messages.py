"""The messages of a chat as OpenAI's clients send them, in the canonical form of `ChatPrompt`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.errors import RequestError
from server.chat import content_parts, history
from server.chat.history import Message
from server.chat.images import ChatImages
from server.chat.tool_definitions import invalid
from server.openai.requests.schemas import ChatMessage

_CALLING_PARTS = ("tool_use", "tool_call", "function_call")
"""The kinds of parts that say again what `tool_calls` says, or say it instead: as Anthropic's protocol has
calls, and LangChain keeps them."""


def canonical_messages(messages: Sequence[ChatMessage], images: ChatImages | None = None) -> list[Message]:
    """Return the messages as dicts with string contents. Raises RequestError naming the field that is wrong.

    `images` takes the images; None: there may be none. Legacy calls and messages of role `function` become
    calls and results like any other; their ids, which nobody gave, follow from their places.
    """
    canonical: list[Message] = []
    open_functions: dict[str, str] = {}
    for place, message in enumerate(messages):
        path = f"messages[{place}]"
        _refuse_lost_fields(message, path)
        if message.role == "assistant":
            read = _assistant(message, path, place)
            if message.function_call is not None:
                (made,) = read["tool_calls"]
                open_functions[made["function"]["name"]] = made["id"]
            canonical.append(read)
        elif message.role in ("tool", "function"):
            canonical.append(_result(message, path, open_functions, images))
        else:
            canonical.append(_said(message, path, images if message.role == "user" else None))
    return history.linked(canonical, [f"messages[{i}]" for i in range(len(canonical))])


def _said(message: ChatMessage, path: str, images: ChatImages | None) -> Message:
    if message.content is None and message.refusal is None:
        raise RequestError(
            f"Missing content: a message of role '{message.role}' needs one", param=f"{path}.content"
        )
    return _with_name({"role": message.role, "content": _text(message, f"{path}.content", images)}, message)


def _assistant(message: ChatMessage, path: str, place: int) -> Message:
    content, thoughts, calling = _sorted_parts(message, f"{path}.content")
    calls = [_call(call, f"{path}.tool_calls[{i}]") for i, call in enumerate(_given_calls(message, path))]
    if message.function_call is not None:
        if calls:
            raise RequestError(
                "a message has 'tool_calls' and 'function_call'; leave one of them out",
                param=f"{path}.function_call",
            )
        calls = [_legacy_call(message.function_call, f"{path}.function_call", place)]
    if not calls:  # else the parts repeat them
        calls = [_call_of_part(part, part_path) for part, part_path in calling]
    text = "\n".join(text for text in (content, message.refusal) if text)
    plain = _with_name({"role": "assistant", "content": text}, message)
    for given in (message.reasoning_content, message.reasoning):
        if given is not None:
            thoughts = given
            break
    if thoughts:
        plain["reasoning_content"] = thoughts
    if calls:
        plain["tool_calls"] = calls
    return plain


def _sorted_parts(message: ChatMessage, path: str) -> tuple[str, str, list[tuple[content_parts.Part, str]]]:
    """Return the text of an answer's content, its thoughts, and the parts that are calls with their names."""
    if not isinstance(message.content, list):
        return message.content or "", "", []
    texts: list[str] = []
    thoughts: list[str] = []
    calling: list[tuple[content_parts.Part, str]] = []
    for i, part in enumerate(message.content):
        kind, part_path = part.get("type"), f"{path}[{i}]"
        if kind in _CALLING_PARTS:
            calling.append((part, part_path))
        elif kind in content_parts.THOUGHT_FIELDS:
            thoughts.append(_thoughts(part, part_path))
        elif kind != "redacted_thinking":  # thoughts that nobody here can read
            texts.append(content_parts.part_text(part, part_path))
    return "\n".join(texts), "\n".join(thoughts), calling


def _thoughts(part: content_parts.Part, path: str) -> str:
    """Return the thoughts of a part: a string, or parts of text, as Mistral has them."""
    field = content_parts.THOUGHT_FIELDS[part["type"]]
    inner = part.get(field)
    if isinstance(inner, list) and all(isinstance(piece, dict) for piece in inner):
        return content_parts.joined_text(inner, f"{path}.{field}")
    return content_parts.part_text(part, path, fields=content_parts.THOUGHT_FIELDS)


def _given_calls(message: ChatMessage, path: str) -> list[Any]:
    given = message.tool_calls
    if given is None:
        return []
    if not isinstance(given, list):
        raise invalid(f"{path}.tool_calls", "must be an array")
    return given


def _call(given: Any, path: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise invalid(path, "must be an object")
    if given.get("type", "function") not in ("function", None):
        raise RequestError(
            f"a call of the type {given['type']!r:.80} is not supported; only those of type 'function' are",
            param=f"{path}.type",
            code="unsupported_parameter",
        )
    function = given.get("function")
    if not isinstance(function, dict):
        raise invalid(f"{path}.function", "must be an object with the name and the arguments of the call")
    return history.call(
        _string(given.get("id"), f"{path}.id"),
        _string(function.get("name"), f"{path}.function.name"),
        function.get("arguments"),
        f"{path}.function.arguments",
    )


def _call_of_part(part: content_parts.Part, path: str) -> dict[str, Any]:
    field = next((name for name in ("input", "args", "arguments") if name in part), "input")
    return history.call(
        _string(part.get("id") or part.get("call_id"), f"{path}.id"),
        _string(part.get("name"), f"{path}.name"),
        part.get(field),
        f"{path}.{field}",
    )


def _legacy_call(given: Any, path: str, place: int) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise invalid(path, "must be an object with the name and the arguments of the call")
    name = _string(given.get("name"), f"{path}.name")
    # Nine letters and digits: the templates of Mistral's models take no other ids.
    return history.call(f"call{place % 100_000:05}", name, given.get("arguments"), f"{path}.arguments")


def _result(
    message: ChatMessage, path: str, open_functions: dict[str, str], images: ChatImages | None
) -> Message:
    if message.role == "function":
        name = _string(message.name, f"{path}.name")
        call_id = open_functions.pop(name, None)
        if call_id is None:
            raise invalid(f"{path}.name", f"no call of {name!r:.140} before it waits for a result")
    else:
        call_id = _string(message.tool_call_id, f"{path}.tool_call_id")
    # Null: a tool that returned nothing.
    return {"role": "tool", "content": _text(message, f"{path}.content", images), "tool_call_id": call_id}


def _text(message: ChatMessage, path: str, images: ChatImages | None) -> str:
    """Return the content as one string, with a refusal behind it."""
    content = content_parts.joined_text(message.content, path, images=images)
    return "\n".join(text for text in (content, message.refusal) if text)


def _with_name(plain: Message, message: ChatMessage) -> Message:
    return plain if message.name is None else {**plain, "name": message.name}


def _string(value: Any, path: str) -> str:
    if value is None or value == "":
        raise RequestError(
            f"Missing required parameter: '{path}'", param=path, code="missing_required_parameter"
        )
    if not isinstance(value, str):
        raise invalid(path, "must be a string")
    return value


def _refuse_lost_fields(message: ChatMessage, path: str) -> None:
    """Raise RequestError for fields that say something and have no place in the chat."""
    for name in ("tool_calls", "function_call"):
        if message.role != "assistant" and getattr(message, name) not in (None, []):
            raise invalid(
                f"{path}.{name}", f"a message of role '{message.role}' calls no tools; leave it out"
            )
    if message.audio not in (None, []):
        raise RequestError(
            "'audio' of a message is not supported by this server yet; leave it out",
            param=f"{path}.audio",
            code="unsupported_parameter",
        )
