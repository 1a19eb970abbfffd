"""Responses and chunks in OpenAI's form; msgspec encodes them, as one is made per token."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from server.engine import events

FinishReason = events.FinishReason | Literal["function_call"]
"""OpenAI's reasons; the last is for clients that sent `functions`."""
StopReason = Literal["repetition"]
"""Corral's word beside `length` for an answer that was ended for repeating itself."""
ObjectName = Literal["chat.completion", "chat.completion.chunk", "text_completion"]


class PromptTokensDetails(msgspec.Struct, frozen=True):
    cached_tokens: int


class CompletionTokensDetails(msgspec.Struct, frozen=True):
    reasoning_tokens: int = 0


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptTokensDetails
    completion_tokens_details: CompletionTokensDetails


class Timings(msgspec.Struct, frozen=True, kw_only=True):
    """llama-server's `timings` object."""

    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_token_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float
    predicted_per_second: float
    queue_ms: float | UnsetType = UNSET
    draft_n: int | UnsetType = UNSET
    draft_n_accepted: int | UnsetType = UNSET
    context_shifts: int | UnsetType = UNSET
    """The answer's context was full so many times and lost its older half."""


class ChatTopLogprob(msgspec.Struct, frozen=True):
    token: str
    logprob: float
    bytes: list[int]


class ChatTokenLogprob(msgspec.Struct, frozen=True, kw_only=True):
    token: str
    logprob: float
    bytes: list[int]
    top_logprobs: list[ChatTopLogprob]


class ChatLogprobs(msgspec.Struct, frozen=True):
    content: list[ChatTokenLogprob]
    refusal: None = None


class TextLogprobs(msgspec.Struct, frozen=True, kw_only=True):
    """One entry per token; the first token of a prompt has no logprob. Offsets are characters of the text."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CalledFunction(msgspec.Struct, frozen=True):
    """The name and the arguments of a call; in a stream each is where it comes."""

    name: str | UnsetType = UNSET
    arguments: str | UnsetType = UNSET


class ToolCallDelta(msgspec.Struct, frozen=True):
    index: int
    id: str | UnsetType = UNSET
    type: Literal["function"] | UnsetType = UNSET
    function: CalledFunction = CalledFunction()


class ToolCall(msgspec.Struct, frozen=True):
    id: str
    function: CalledFunction
    type: Literal["function"] = "function"


class ChatDelta(msgspec.Struct, frozen=True):
    role: Literal["assistant"] | UnsetType = UNSET
    content: str | UnsetType | None = UNSET
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    tool_calls: list[ToolCallDelta] | UnsetType = UNSET
    function_call: CalledFunction | UnsetType = UNSET


class ChatChunkChoice(msgspec.Struct, frozen=True):
    index: int
    delta: ChatDelta
    finish_reason: FinishReason | None = None
    stop_reason: StopReason | UnsetType = UNSET
    logprobs: ChatLogprobs | None = None
    tokens: tuple[int, ...] | UnsetType = UNSET


class TextChoice(msgspec.Struct, frozen=True):
    index: int
    text: str
    finish_reason: events.FinishReason | None = None
    stop_reason: StopReason | UnsetType = UNSET
    logprobs: TextLogprobs | None = None
    tokens: tuple[int, ...] | UnsetType = UNSET


class ChatMessage(msgspec.Struct, frozen=True):
    content: str | None
    role: Literal["assistant"] = "assistant"
    refusal: None = None
    reasoning_content: str | UnsetType = UNSET
    reasoning: str | UnsetType = UNSET
    tool_calls: list[ToolCall] | UnsetType = UNSET
    function_call: CalledFunction | UnsetType = UNSET


class ChatChoice(msgspec.Struct, frozen=True):
    index: int
    message: ChatMessage
    finish_reason: FinishReason
    stop_reason: StopReason | UnsetType = UNSET
    logprobs: ChatLogprobs | None = None
    tokens: tuple[int, ...] | UnsetType = UNSET


Choice = ChatChunkChoice | TextChoice | ChatChoice


def stop_reason(*, is_loop: bool) -> StopReason | UnsetType:
    """Return what is said beside the reason for which a choice ended; nearly always nothing."""
    return "repetition" if is_loop else UNSET


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole response or one chunk of a stream: all four objects have this form.

    `usage` is absent, null or filled: a stream without `include_usage` has none, the chunks before the last
    have null.
    """

    id: str
    object: ObjectName
    created: int
    model: str
    system_fingerprint: str
    choices: list[Choice]
    usage: Usage | UnsetType | None = UNSET
    timings: Timings | UnsetType = UNSET
    prompt_progress: dict[str, int] | UnsetType = UNSET
    verbose: dict[str, Any] | UnsetType = msgspec.field(default=UNSET, name="__verbose")


def usage_of(usage: events.Usage) -> Usage:
    """Return the usage in OpenAI's form."""
    return Usage(
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        total_tokens=usage.prompt_tokens + usage.completion_tokens,
        prompt_tokens_details=PromptTokensDetails(usage.cached_tokens),
        completion_tokens_details=CompletionTokensDetails(usage.reasoning_tokens),
    )


def timings_of(timings: events.Timings, cached_tokens: int) -> Timings:
    """Return the timings with their rates; a rate of nothing is 0. Drafts are there where there were any."""
    return Timings(
        cache_n=cached_tokens,
        prompt_n=timings.prompt_n,
        prompt_ms=round(timings.prompt_ms, 3),
        prompt_per_token_ms=_ratio(timings.prompt_ms, timings.prompt_n),
        prompt_per_second=_ratio(1e3 * timings.prompt_n, timings.prompt_ms),
        predicted_n=timings.predicted_n,
        predicted_ms=round(timings.predicted_ms, 3),
        predicted_per_token_ms=_ratio(timings.predicted_ms, timings.predicted_n),
        predicted_per_second=_ratio(1e3 * timings.predicted_n, timings.predicted_ms),
        queue_ms=round(timings.queue_ms, 3),
        draft_n=timings.draft_n or UNSET,
        draft_n_accepted=timings.draft_n_accepted if timings.draft_n else UNSET,
        context_shifts=timings.context_shifts or UNSET,
    )


def progress_of(progress: events.PromptProgress) -> dict[str, int]:
    """Return llama-server's `prompt_progress` object."""
    return {
        "total": progress.total,
        "cache": progress.cached,
        "processed": progress.processed,
        "time_ms": round(progress.ms),
    }


def timings_in_prompt(progress: events.PromptProgress) -> Timings:
    """Return the timings while the prompt is computed."""
    measured = events.Timings(
        queue_ms=0.0,
        prompt_n=progress.processed - progress.cached,
        prompt_ms=progress.ms if progress.processed > progress.cached else 0.0,
        predicted_n=0,
        predicted_ms=0.0,
    )
    return timings_of(measured, progress.cached)


def _ratio(amount: float, per: float) -> float:
    return round(amount / per, 3) if per > 0 else 0.0
