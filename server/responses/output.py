"""The items of an answer while they are made: reasoning, message and calls. Pure.

Each takes text and returns the events that it makes. An item that the token limit has cut is `incomplete`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import msgspec

from server.openai.response_types import ChatTokenLogprob
from server.responses.content import sealed
from server.responses.events import EventWriter
from server.responses.identity import new_id
from server.responses.tools import ToolName


class OutputItem(ABC):
    """One item of the output; `body` is how it is now."""

    body: dict[str, Any]

    def __init__(self, writer: EventWriter, index: int) -> None:
        self._writer = writer
        self._index = index

    def begin(self) -> bytes:
        """Return the events with which the item begins."""
        return self._event("response.output_item.added", item=self.body)

    @abstractmethod
    def fill(self, *, whole: bool) -> None:
        """Complete the body; not `whole`: the token limit or an error has cut the item."""

    @abstractmethod
    def end(self, *, whole: bool) -> bytes:
        """Complete the body and return the last events of the item."""

    def _done(self) -> bytes:
        return self._event("response.output_item.done", item=self.body)

    def _event(self, kind: str, **fields: Any) -> bytes:
        return self._writer.event(kind, output_index=self._index, **fields)

    def _part_event(self, kind: str, **fields: Any) -> bytes:
        return self._event(kind, item_id=self.body["id"], content_index=0, **fields)


class MessageItem(OutputItem):
    """The text of the answer."""

    def __init__(self, writer: EventWriter, index: int) -> None:
        super().__init__(writer, index)
        self._text: list[str] = []
        self._logprobs: list[Any] = []
        self.body = {
            "id": new_id("msg"),
            "type": "message",
            "status": "in_progress",
            "role": "assistant",
            "content": [],
        }

    def begin(self) -> bytes:
        return super().begin() + self._part_event("response.content_part.added", part=self._part(""))

    def add(self, text: str, logprobs: list[ChatTokenLogprob]) -> bytes:
        """Take new text, and the logprobs of its tokens."""
        self._text.append(text)
        scores = [msgspec.to_builtins(entry) for entry in logprobs]
        self._logprobs += scores
        return self._part_event("response.output_text.delta", delta=text, logprobs=scores)

    def fill(self, *, whole: bool) -> None:
        part = self._part("".join(self._text))
        self.body |= {"status": "completed" if whole else "incomplete", "content": [part]}

    def end(self, *, whole: bool) -> bytes:
        self.fill(whole=whole)
        (part,) = self.body["content"]
        return (
            self._part_event("response.output_text.done", text=part["text"], logprobs=self._logprobs)
            + self._part_event("response.content_part.done", part=part)
            + self._done()
        )

    def _part(self, text: str) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": self._logprobs}


class ReasoningItem(OutputItem):
    """The thoughts before the answer, as they are: there are no summaries."""

    def __init__(self, writer: EventWriter, index: int, *, seals: bool) -> None:
        super().__init__(writer, index)
        self._text: list[str] = []
        self._seals = seals
        self.body = {
            "id": new_id("rs"),
            "type": "reasoning",
            "summary": [],
            "content": [],
            "encrypted_content": None,
            "status": "in_progress",
        }

    def begin(self) -> bytes:
        part = {"type": "reasoning_text", "text": ""}
        return super().begin() + self._part_event("response.content_part.added", part=part)

    def add(self, text: str) -> bytes:
        """Take new thoughts."""
        self._text.append(text)
        return self._part_event("response.reasoning_text.delta", delta=text)

    def fill(self, *, whole: bool) -> None:
        text = "".join(self._text)
        part = {"type": "reasoning_text", "text": text}
        self.body |= {"status": "completed" if whole else "incomplete", "content": [part]}
        if self._seals:
            self.body["encrypted_content"] = sealed(text)

    def end(self, *, whole: bool) -> bytes:
        self.fill(whole=whole)
        (part,) = self.body["content"]
        return (
            self._part_event("response.reasoning_text.done", text=part["text"])
            + self._part_event("response.content_part.done", part=part)
            + self._done()
        )


class CallItem(OutputItem):
    """A call of one of the client's tools.

    Clients run a call at its `output_item.done`, so a call that was cut has none, nor its arguments.
    """

    def __init__(self, writer: EventWriter, index: int, call_id: str, name: ToolName) -> None:
        super().__init__(writer, index)
        self._arguments: list[str] = []
        self._is_custom = name.kind == "custom"
        self.body = {
            "id": new_id("ctc" if self._is_custom else "fc"),
            "type": "custom_tool_call" if self._is_custom else "function_call",
            "status": "in_progress",
            "call_id": call_id,
            "name": name.name,
            "input" if self._is_custom else "arguments": "",
        }
        if name.namespace is not None:
            self.body["namespace"] = name.namespace

    def add(self, text: str) -> bytes:
        """Take new text of the arguments. A free text is told in one piece, when it is whole."""
        self._arguments.append(text)
        if self._is_custom:
            return b""
        return self._event("response.function_call_arguments.delta", item_id=self.body["id"], delta=text)

    def fill(self, *, whole: bool) -> None:
        arguments = "".join(self._arguments)
        self.body["status"] = "completed" if whole else "incomplete"
        if not self._is_custom:
            self.body["arguments"] = arguments
        elif whole:
            self.body["input"] = msgspec.json.decode(arguments, type=_FreeText).input

    def end(self, *, whole: bool) -> bytes:
        self.fill(whole=whole)
        if not whole:
            return b""
        body = self.body
        if self._is_custom:
            kind, item_id, text = "response.custom_tool_call_input", body["id"], body["input"]
            told = self._event(f"{kind}.delta", item_id=item_id, delta=text)
            return told + self._event(f"{kind}.done", item_id=item_id, input=text) + self._done()
        done = "response.function_call_arguments.done"
        fields = {"item_id": body["id"], "name": body["name"], "arguments": body["arguments"]}
        return self._event(done, **fields) + self._done()


class _FreeText(msgspec.Struct):
    """The arguments of a tool with free text."""

    input: str
