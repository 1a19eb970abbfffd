"""`WholeMessage`: one whole answer of `/v1/messages`, the fold of its blocks' steps. Pure."""

from __future__ import annotations

from typing import Any

import msgspec
from pydantic_core import from_json

from models.errors import RequestError
from server.anthropic import response_types
from server.anthropic.blocks import BlockBegin, BlockEnd, Blocks, BlockText
from server.anthropic.requests.to_engine import MessageOptions
from server.engine.events import Event, Usage
from server.openai.response import MAX_ANSWER_BYTES


class WholeMessage:
    """An `EventListener`: events in; one encoded answer out, when `Finish` has come."""

    def __init__(self, message_id: str, model: str, options: MessageOptions) -> None:
        self._blocks = Blocks(options)
        self._id = message_id
        self._model = model
        self._content: list[response_types.Block] = []
        self._begun: BlockBegin | None = None
        self._text: list[str] = []
        self._n_chars = 0

    def on_event(self, event: Event) -> None:
        """Raises RequestFailed for a `Failure`, and RequestError when the answer gets too large."""
        for step in self._blocks.feed(event):
            match step:
                case BlockBegin():
                    self._begun = step
                    self._text.clear()
                case BlockText():
                    self._text.append(step.text)
                    self._n_chars += len(step.text)
                case BlockEnd():
                    self._content.append(self._block(step))
        if self._n_chars > MAX_ANSWER_BYTES:
            raise RequestError(
                f"the answer has more than {MAX_ANSWER_BYTES:,} characters; lower 'max_tokens', or stream it",
                code="answer_too_large",
            )

    async def drained(self) -> None:
        """Return at once: whatever comes is needed until the end."""

    @property
    def usage(self) -> Usage:
        """The usage of the request. Only after `Finish`."""
        assert self._blocks.usage is not None
        return self._blocks.usage

    def json(self) -> bytes:
        """Return the answer. Only after `Finish`."""
        reason, sequence = self._blocks.stop
        message = response_types.Message(
            id=self._id,
            model=self._model,
            content=self._content,
            stop_reason=reason,
            stop_sequence=sequence,
            usage=response_types.usage_of(self.usage),
        )
        return msgspec.json.encode(message)

    def _block(self, end: BlockEnd) -> response_types.Block:
        text = "".join(self._text)
        match end.kind:
            case "text":
                return response_types.TextBlock(text)
            case "thinking":
                return response_types.ThinkingBlock(text, end.signature)
            case "tool_use":
                assert self._begun is not None
                return response_types.ToolUseBlock(self._begun.id, self._begun.name, _input(text))


def _input(text: str) -> dict[str, Any]:
    """Return a call's input; of one that the token limit has cut, what has come."""
    try:
        value = from_json(text or "{}", allow_partial="trailing-strings")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
