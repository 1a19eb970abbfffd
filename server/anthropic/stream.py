"""`MessageEncoder`: an answer of `/v1/messages` as server-sent events. Pure.

Most events of a block differ in their text alone, so the bytes around it are made once for each block.
"""

from __future__ import annotations

from typing import Any

import msgspec

from server.anthropic import errors, response_types
from server.anthropic.blocks import BlockBegin, BlockEnd, BlockKind, Blocks, BlockStep, BlockText
from server.anthropic.requests.to_engine import MessageOptions
from server.engine.events import Event, Finish, Started, Usage
from server.openai.errors import ApiError

_encode = msgspec.json.Encoder().encode
_DELTAS: dict[BlockKind, tuple[str, str]] = {
    "text": ("text_delta", "text"),
    "thinking": ("thinking_delta", "thinking"),
    "tool_use": ("input_json_delta", "partial_json"),
}
"""The type of a block's deltas, and the name of the text in them."""


class MessageEncoder:
    """A `StreamEncoder`. `request_id` goes into the event of an error."""

    def __init__(self, message_id: str, model: str, options: MessageOptions, request_id: str) -> None:
        self._blocks = Blocks(options)
        self._id = message_id
        self._model = model
        self._request_id = request_id
        self._around: tuple[int, bytes, bytes] = (-1, b"", b"")
        """The index of the begun block, and the bytes before and after the text in its events."""

    @property
    def usage(self) -> Usage | None:
        """The usage of the request, once it has ended."""
        return self._blocks.usage

    def feed(self, event: Event) -> bytes:
        """Return the events that `event` makes, maybe none. Raises RequestFailed for a `Failure`."""
        steps = self._blocks.feed(event)
        if isinstance(event, Started):
            return self._start(event)
        if isinstance(event, Finish):
            return self._end(event)
        return b"".join(map(self._step, steps))

    def end(self) -> bytes:
        """Return nothing: `message_stop` came with the usage."""
        return b""

    def error(self, error: ApiError) -> bytes:
        """Return the event of an error, which ends the stream."""
        return _event("error", msgspec.Raw(errors.from_api_error(error, self._request_id).json))

    def keep_alive(self) -> bytes:
        """Return a `ping`: clients that count events notice no comment."""
        return _event("ping", {"type": "ping"})

    # --- inside ---

    def _start(self, started: Started) -> bytes:
        cached = started.cached_tokens
        usage = response_types.Usage(
            input_tokens=started.prompt_tokens - cached, cache_read_input_tokens=cached
        )
        message = response_types.Message(id=self._id, model=self._model, content=[], usage=usage)
        return _event("message_start", {"type": "message_start", "message": message})

    def _end(self, finish: Finish) -> bytes:
        reason, sequence = self._blocks.stop
        delta = {"stop_reason": reason, "stop_sequence": sequence}
        usage = response_types.usage_of(finish.usage)
        last = _event("message_delta", {"type": "message_delta", "delta": delta, "usage": usage})
        return last + _event("message_stop", {"type": "message_stop"})

    def _step(self, step: BlockStep) -> bytes:
        match step:
            case BlockText():
                index, before, after = self._around
                if index != step.index:
                    before, after = self._surroundings(step)
                return before + _encode(step.text) + after
            case BlockBegin():
                body = {"type": "content_block_start", "index": step.index, "content_block": _empty(step)}
                return _event("content_block_start", body)
            case BlockEnd():
                signed = b""
                if step.kind == "thinking":
                    delta = {"type": "signature_delta", "signature": step.signature}
                    signed = _delta(step.index, delta)
                stop = {"type": "content_block_stop", "index": step.index}
                return signed + _event("content_block_stop", stop)

    def _surroundings(self, step: BlockText) -> tuple[bytes, bytes]:
        kind, name = _DELTAS[step.kind]
        before, _, after = _delta(step.index, {"type": kind, name: "\0"}).rpartition(_encode("\0"))
        self._around = step.index, before, after
        return before, after


def _empty(step: BlockBegin) -> response_types.Block:
    match step.kind:
        case "text":
            return response_types.TextBlock("")
        case "thinking":
            return response_types.ThinkingBlock("", "")
        case "tool_use":
            return response_types.ToolUseBlock(step.id, step.name, {})


def _delta(index: int, delta: dict[str, str]) -> bytes:
    body = {"type": "content_block_delta", "index": index, "delta": delta}
    return _event("content_block_delta", body)


def _event(name: str, body: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode(), _encode(body))
