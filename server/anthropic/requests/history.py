"""`conversation`: Anthropic's messages as a chat's: texts, thoughts, calls and results. Pure.

A chat's template wants each result right behind the calls. So of the messages between two of the assistant
the results come first, in their order, and then the texts; messages of the role `system` keep their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.anthropic.requests import refusals
from server.anthropic.requests.schemas import InputMessage, Part
from server.anthropic.requests.signatures import thoughts_in
from server.anthropic.requests.system_text import system_text
from server.chat.content_parts import Piece, joined, part_text
from server.chat.history import call
from server.chat.images import ChatImages
from server.chat.tool_definitions import invalid

Message = dict[str, Any]
_FAULTS = ("error", "<tool_use_error")
"""A result that begins so says itself that the call failed."""


@dataclass
class Conversation:
    """The chat, and what its results refer to."""

    messages: list[Message] = field(default_factory=list)
    referenced_tools: set[str] = field(default_factory=set)
    """The tools that a result has named by a `tool_reference`."""
    images: ChatImages = field(default_factory=ChatImages)


def conversation(system: str | Sequence[Part] | None, messages: Sequence[InputMessage]) -> Conversation:
    """Return the whole chat. Raises RequestError naming the part that is wrong."""
    found = Conversation()
    text = "" if system is None else system_text(system, "system")
    if text:
        found.messages.append({"role": "system", "content": text})
    _Reader(found).read(messages)
    return found


class _Reader:
    """Reads messages in order, and knows which calls still wait for their results."""

    def __init__(self, found: Conversation) -> None:
        self._found = found
        self._names: dict[str, str] = {}
        """The name of the tool of each call so far, by the call's id."""
        self._awaited: dict[str, str] = {}
        """The paths of the calls that have no result yet, by their ids."""
        self._held: list[Message] = []
        """The texts since the assistant's last message."""

    def read(self, messages: Sequence[InputMessage]) -> None:
        for i, message in enumerate(messages):
            path = f"messages[{i}].content"
            match message.role:
                case "assistant":
                    self._end_turn()
                    self._found.messages.append(self._assistant(message.content, path))
                case "system":
                    text = system_text(message.content, path)
                    if text:
                        self._held.append({"role": "system", "content": text})
                case "user":
                    self._user(message.content, path)
        self._end_turn()

    def _end_turn(self) -> None:
        """The assistant is next, or the answer: every call must have its result by now."""
        for call_id, path in self._awaited.items():
            raise invalid(
                path,
                f"the call '{call_id[:80]}' has no 'tool_result' in the user's message after it; add one",
            )
        self._found.messages += self._held
        self._held.clear()

    # --- the user's messages ---

    def _user(self, content: str | list[Part], path: str) -> None:
        if not content:
            raise invalid(path, "must not be empty")
        if isinstance(content, str):
            self._held.append({"role": "user", "content": content})
            return
        said: list[Piece] = []
        for i, part in enumerate(content):
            place = f"{path}[{i}]"
            match part.get("type"):
                case "text":
                    said.append((part_text(part, place), False))
                case "image":
                    said.append((self._found.images.take(part, place), True))
                case "tool_result":
                    self._found.messages.append(self._result(part, place))
                case _:
                    raise refusals.wrong_type(part, place, "text", "image", "tool_result")
        if said:
            self._held.append({"role": "user", "content": joined(said)})

    def _result(self, part: Part, path: str) -> Message:
        call_id = refusals.name_of(part, "tool_use_id", path)
        if self._awaited.pop(call_id, None) is None:
            what = "has a result already" if call_id in self._names else "is no call"
            raise invalid(f"{path}.tool_use_id", f"'{call_id[:80]}' {what} of the assistant's message before")
        content = self._result_text(part.get("content"), f"{path}.content")
        is_error = part.get("is_error")
        if is_error is not None and not isinstance(is_error, bool):
            raise invalid(f"{path}.is_error", "must be true or false")
        if is_error and not content.lstrip().lower().startswith(_FAULTS):
            content = f"Error: {content}" if content else "Error"
        return {"role": "tool", "tool_call_id": call_id, "name": self._names[call_id], "content": content}

    def _result_text(self, content: Any, path: str) -> str:
        if content is None or isinstance(content, str):
            return content or ""
        if not isinstance(content, list):
            raise invalid(path, "must be a string or an array of parts")
        return joined(self._result_parts(content, path))

    def _result_parts(self, content: list[Any], path: str) -> Iterator[Piece]:
        for i, part in enumerate(content):
            place = f"{path}[{i}]"
            if not isinstance(part, dict):
                raise invalid(place, "must be an object")
            match part.get("type"):
                case "text":
                    yield part_text(part, place), False
                case "image":
                    yield self._found.images.take(part, place), True
                case "tool_reference":
                    name = refusals.name_of(part, "tool_name", place)
                    self._found.referenced_tools.add(name)
                    yield f"The tool {name} can be called now.", False
                case _:
                    raise refusals.wrong_type(part, place, "text", "image", "tool_reference")

    # --- the assistant's ---

    def _assistant(self, content: str | list[Part], path: str) -> Message:
        if isinstance(content, str):
            return {"role": "assistant", "content": content}
        texts: list[str] = []
        thoughts: list[str] = []
        calls: list[dict[str, Any]] = []
        for i, part in enumerate(content):
            place = f"{path}[{i}]"
            match part.get("type"):
                case "text":
                    texts.append(part_text(part, place))
                case "thinking":
                    thoughts.append(_thoughts(part, place))
                case "redacted_thinking":
                    pass  # nobody here can read it
                case "tool_use":
                    calls.append(self._call(part, place))
                case _:
                    raise refusals.wrong_type(part, place, "text", "thinking", "tool_use")
        message: Message = {"role": "assistant", "content": "".join(texts)}
        if shown := "\n".join(text for text in thoughts if text):
            message["reasoning_content"] = shown
        if calls:
            message["tool_calls"] = calls
        return message

    def _call(self, part: Part, path: str) -> dict[str, Any]:
        call_id = refusals.name_of(part, "id", path)
        name = refusals.name_of(part, "name", path)
        arguments = part.get("input", {})
        if not isinstance(arguments, dict):
            raise invalid(f"{path}.input", "must be an object")
        if call_id in self._names:
            raise invalid(f"{path}.id", f"'{call_id[:80]}' is another call's, too; each has its own")
        self._names[call_id] = name
        self._awaited[call_id] = path
        return call(call_id, name, arguments, f"{path}.input")


def _thoughts(part: Part, path: str) -> str:
    """Return a block's thoughts; those that the client didn't get are in the signature."""
    text = refusals.string(part, "thinking", path)
    signature = part.get("signature")
    if signature is not None and not isinstance(signature, str):
        raise invalid(f"{path}.signature", "must be a string")
    if text or not signature:
        return text
    try:
        return thoughts_in(signature)
    except ValueError as error:
        raise invalid(f"{path}.signature", f"{error}; send it as it came") from error
