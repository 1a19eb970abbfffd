"""`Blocks`: an answer's events as content blocks, which begin, grow and end one after another. Pure.

It is the one interpreter of the events for `/v1/messages`: a stream sends the steps, a whole answer is their
fold. White space alone makes no block of text.
"""

from __future__ import annotations

import secrets
from typing import Literal

import msgspec

from server.answers.events import CallBegin, CallDelta, CallEnd, ThoughtDelta
from server.anthropic.requests.signatures import signature_of
from server.anthropic.requests.to_engine import MessageOptions
from server.engine.events import ChoiceEnd, Delta, Event, Failure, Finish, Started, Usage
from server.openai.errors import RequestFailed

BlockKind = Literal["text", "thinking", "tool_use"]
StopReason = Literal["end_turn", "max_tokens", "tool_use", "stop_sequence"]


class BlockBegin(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A block begins, behind the end of the one before."""

    index: int
    kind: BlockKind
    id: str = ""
    """The id of a call."""
    name: str = ""
    """The tool that is called."""


class BlockText(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """New text of the begun block: words, thoughts, or JSON of a call's input."""

    index: int
    kind: BlockKind
    text: str


class BlockEnd(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The begun block is complete, or cut by the token limit."""

    index: int
    kind: BlockKind
    signature: str = ""
    """The signature of a block of thoughts."""


BlockStep = BlockBegin | BlockText | BlockEnd


class Blocks:
    """Events in, steps out. `started`, `end` and `finish` are those events once they have come."""

    def __init__(self, options: MessageOptions) -> None:
        self.started: Started | None = None
        self.end: ChoiceEnd | None = None
        self.finish: Finish | None = None
        self._options = options
        self._index = -1
        self._kind: BlockKind | None = None
        """The kind of the block that has begun; None between blocks."""
        self._space = ""
        """White space after which it is to be seen whether a text begins."""
        self._thoughts: list[str] = []

    def feed(self, event: Event) -> list[BlockStep]:
        """Return the steps that `event` makes, mostly one. Raises RequestFailed for a `Failure`."""
        match event:
            case ThoughtDelta():
                return self._thought(event.text)
            case CallBegin():
                return self._begin("tool_use", tool_id(event.call_id), event.name)
            case CallDelta():
                return self._more("tool_use", event.text)
            case CallEnd():
                return self._close()
            case Delta():
                return self._words(event.text)
            case ChoiceEnd():
                self.end = event
                return self._close()
            case Started():
                self.started = event
            case Finish():
                self.finish = event
            case Failure():
                raise RequestFailed(event)
        return []

    @property
    def stop(self) -> tuple[StopReason, str | None]:
        """The reason for which the answer has ended, and the client's stop sequence that it ended at."""
        assert self.end is not None
        match self.end.finish_reason:
            case "tool_calls":
                return "tool_use", None
            case "length":
                return "max_tokens", None
            case "stop":
                if self.end.stop is not None and self.end.stop in self._options.stop_sequences:
                    return "stop_sequence", self.end.stop
                return "end_turn", None

    @property
    def usage(self) -> Usage | None:
        """The usage of the request, once it has ended."""
        return None if self.finish is None else self.finish.usage

    # --- inside ---

    def _words(self, text: str) -> list[BlockStep]:
        if self._kind != "text":
            text = self._space + text
            if not text.strip():
                self._space = text
                return []
            return [*self._begin("text"), *self._more("text", text)]
        return self._more("text", text)

    def _thought(self, text: str) -> list[BlockStep]:
        if not text:
            return []
        steps = [] if self._kind == "thinking" else self._begin("thinking")
        self._thoughts.append(text)
        return [*steps, *self._more("thinking", text)] if self._options.shows_thoughts else steps

    def _begin(self, kind: BlockKind, call_id: str = "", name: str = "") -> list[BlockStep]:
        steps = self._close()
        self._index += 1
        self._kind, self._space = kind, ""
        return [*steps, BlockBegin(index=self._index, kind=kind, id=call_id, name=name)]

    def _more(self, kind: BlockKind, text: str) -> list[BlockStep]:
        return [BlockText(index=self._index, kind=kind, text=text)] if text else []

    def _close(self) -> list[BlockStep]:
        kind, self._kind = self._kind, None
        if kind is None:
            return []
        signature = ""
        if kind == "thinking":
            signature = signature_of("".join(self._thoughts), is_shown=self._options.shows_thoughts)
            self._thoughts.clear()
        return [BlockEnd(index=self._index, kind=kind, signature=signature)]


def new_message_id() -> str:
    """Return a fresh id of an answer: clients drop the earlier of two messages that share one."""
    return f"msg_{secrets.token_hex(15)}"


def tool_id(call_id: str) -> str:
    """Return the id of a call in Anthropic's form, as unique as the call's own."""
    return f"toolu_{call_id.removeprefix('call_')}"
