"""Answers and events in Anthropic's form; msgspec encodes them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from server.anthropic.blocks import StopReason
from server.engine import events


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """The prompt is `input_tokens`, which were computed, and those read from the cache together."""

    input_tokens: int
    cache_creation_input_tokens: int = 0
    cache_read_input_tokens: int = 0
    output_tokens: int = 0


class TextBlock(msgspec.Struct, frozen=True, tag="text", tag_field="type"):
    text: str


class ThinkingBlock(msgspec.Struct, frozen=True, tag="thinking", tag_field="type"):
    thinking: str
    signature: str


class ToolUseBlock(msgspec.Struct, frozen=True, tag="tool_use", tag_field="type"):
    id: str
    name: str
    input: dict[str, Any]


Block = TextBlock | ThinkingBlock | ToolUseBlock


class Message(msgspec.Struct, frozen=True, kw_only=True, tag="message", tag_field="type"):
    """A whole answer; in a stream's first event one without content."""

    id: str
    role: Literal["assistant"] = "assistant"
    model: str
    content: list[Block]
    stop_reason: StopReason | None = None
    stop_sequence: str | None = None
    usage: Usage


def usage_of(usage: events.Usage) -> Usage:
    """Return the usage in Anthropic's form."""
    return Usage(
        input_tokens=usage.prompt_tokens - usage.cached_tokens,
        cache_read_input_tokens=usage.cached_tokens,
        output_tokens=usage.completion_tokens,
    )
