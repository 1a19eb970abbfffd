"""The messages of a chat as Ollama's clients send them, in the canonical form of `ChatPrompt`. Pure.

Calls and results mostly come without ids: results belong to the open calls of their tool, else to the first
open call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from models.errors import RequestError
from server.chat import history
from server.chat.history import Message
from server.chat.images import ChatImages
from server.chat.tool_definitions import invalid
from server.ollama.schemas import OllamaMessage


def canonical_messages(messages: Sequence[OllamaMessage], images: ChatImages) -> list[Message]:
    """Return the messages as dicts with string contents. Raises RequestError naming what is wrong.

    `images` takes the images, whose marks stand before the words of their message.
    """
    reader = _Reader(images)
    found = [reader.read(message, f"messages[{place}]") for place, message in enumerate(messages)]
    return history.linked(found, [f"messages[{place}]" for place in range(len(found))])


def marks_of(given: Any, images: ChatImages, path: str) -> str:
    """Return the marks of the images in a field, which `images` takes. Raises RequestError."""
    if given is None:
        return ""
    if not isinstance(given, list):
        raise invalid(path, "must be an array of images in base64")
    return "".join(images.take_base64(one, f"{path}[{i}]") for i, one in enumerate(given))


def refuse_images(images: Any, param: str, where: str) -> None:
    """Raise RequestError for images where none are shown."""
    if images not in (None, []):
        raise RequestError(
            f"'{param}' has images, and {where}; leave it out", param=param, code="unsupported_parameter"
        )


class _Reader:
    """Reads messages in order, and knows which calls still wait for their results."""

    def __init__(self, images: ChatImages) -> None:
        self._images = images
        self._n_calls = 0
        self._open: dict[str, str] = {}
        """The tool of each call of the latest answer that has no result yet, by the call's id."""

    def read(self, message: OllamaMessage, path: str) -> Message:
        if message.role in ("assistant", "system"):
            refuse_images(message.images, f"{path}.images", "only a user's messages and tools' results may")
        if message.role != "assistant" and message.tool_calls not in (None, []):
            raise invalid(
                f"{path}.tool_calls", f"a message of role '{message.role}' calls no tools; leave it out"
            )
        match message.role:
            case "assistant":
                return self._answer(message, path)
            case "tool":
                return self._result(message, path)
            case _:
                return {"role": message.role, "content": self._said(message, path)}

    def _said(self, message: OllamaMessage, path: str) -> str:
        marks = "" if message.role == "system" else marks_of(message.images, self._images, f"{path}.images")
        return marks + (message.content or "")

    def _answer(self, message: OllamaMessage, path: str) -> Message:
        plain: Message = {"role": "assistant", "content": message.content or ""}
        if message.thinking:
            plain["reasoning_content"] = message.thinking
        given = message.tool_calls or []
        if not isinstance(given, list):
            raise invalid(f"{path}.tool_calls", "must be an array")
        calls = [self._call(call, f"{path}.tool_calls[{i}]") for i, call in enumerate(given)]
        if calls:
            plain["tool_calls"] = calls
            self._open = {call["id"]: call["function"]["name"] for call in calls}
        return plain

    def _call(self, given: Any, path: str) -> dict[str, Any]:
        function = given.get("function") if isinstance(given, dict) else None
        if not isinstance(function, dict):
            raise invalid(path, "must be an object with the 'function' that is called")
        name, call_id = function.get("name"), given.get("id")
        if not isinstance(name, str) or not name:
            raise invalid(f"{path}.function.name", "must be the name of a function")
        if not isinstance(call_id, str | None):
            raise invalid(f"{path}.id", "must be a string")
        self._n_calls += 1
        # Nine letters and digits: the templates of Mistral's models take no other ids.
        made = call_id or f"call{self._n_calls % 100_000:05}"
        return history.call(made, name, function.get("arguments"), f"{path}.function.arguments")

    def _result(self, message: OllamaMessage, path: str) -> Message:
        call_id = message.tool_call_id or self._waiting(message.tool_name)
        if call_id is None:
            named = f" of {message.tool_name!r:.140}" if message.tool_name else ""
            raise invalid(path, f"no call{named} before it waits for a result; send the call's message, too")
        self._open.pop(call_id, None)
        return {"role": "tool", "content": self._said(message, path), "tool_call_id": call_id}

    def _waiting(self, tool: str | None) -> str | None:
        """Return the id of the first open call of a tool, or of the first one where no tool is named."""
        return next((made for made, name in self._open.items() if tool in (None, "", name)), None)
