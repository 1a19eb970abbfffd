"""Thoughts and tool calls in OpenAI's form, for chunks and for whole answers. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

from server.engine import events
from server.openai.choices import CallHead, ChoiceDelta
from server.openai.requests.answer_options import AnswerOptions
from server.openai.response_types import (
    CalledFunction,
    ChatDelta,
    ChatMessage,
    FinishReason,
    ToolCall,
    ToolCallDelta,
)


def thoughts_delta(text: str, options: AnswerOptions) -> ChatDelta:
    """Return the delta of new thoughts."""
    return ChatDelta(reasoning_content=text, reasoning=text if options.reasoning_field else UNSET)


def call_delta(delta: ChoiceDelta, options: AnswerOptions) -> ChatDelta:
    """Return the delta of a call: its head with empty arguments, or the next piece of them."""
    head = delta.begins
    if (head is None and not delta.text) or (options.legacy_calls and delta.call):
        return ChatDelta()  # what came with a call's end, or with a call for which `functions` had no place
    function = CalledFunction(UNSET if head is None else head.name, delta.text)
    if options.legacy_calls:
        return ChatDelta(function_call=function)
    if head is None:
        return ChatDelta(tool_calls=[ToolCallDelta(delta.call, function=function)])
    return ChatDelta(tool_calls=[ToolCallDelta(delta.call, head.id, "function", function)])


def message(
    text: str, thoughts: str, calls: Sequence[tuple[CallHead, str]], options: AnswerOptions
) -> ChatMessage:
    """Return the message of a whole answer. An answer of calls alone has null as its content."""
    tool_calls = [ToolCall(head.id, CalledFunction(head.name, arguments)) for head, arguments in calls]
    legacy = options.legacy_calls and bool(calls)
    return ChatMessage(
        None if calls and not text else text,
        reasoning_content=thoughts or UNSET,
        reasoning=thoughts if thoughts and options.reasoning_field else UNSET,
        tool_calls=UNSET if legacy or not calls else tool_calls,
        function_call=tool_calls[0].function if legacy else UNSET,
    )


def finish_reason(reason: events.FinishReason | None, options: AnswerOptions) -> FinishReason | None:
    """Return the reason for which an answer ended, in the words of the client's protocol."""
    return "function_call" if reason == "tool_calls" and options.legacy_calls else reason
