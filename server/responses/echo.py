"""The fields of a response that repeat its request. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from server.responses.schemas import ResponsesRequest
from server.responses.tools import ToolTable

_MOST_BYTES = 256 << 10
"""Fields of a request with more bytes than this aren't repeated in each event that has the response."""
_LONG = ("instructions", "tools", "tool_choice", "text", "user", "safety_identifier", "prompt_cache_key")
"""The fields that may be long."""


def echo(request: ResponsesRequest, table: ToolTable) -> tuple[bytes, bool]:
    """Return these fields, the inside of a JSON object, and True if they are all there."""
    found = _echo(request, table)
    if len(found) <= _MOST_BYTES:
        return found, True
    return _echo(request.model_copy(update=dict.fromkeys(_LONG)), ToolTable()), False


def _echo(request: ResponsesRequest, table: ToolTable) -> bytes:
    """Return the fields of the response that repeat the request."""
    form, text = request.text_format, request.text
    reasoning = request.reasoning
    fields: dict[str, Any] = {
        "background": False,
        "conversation": None if request.conversation_id is None else {"id": request.conversation_id},
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "metadata": request.metadata or {},
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "previous_response_id": request.previous_response_id,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {
            "effort": None if reasoning is None else reasoning.effort,
            "summary": None,
        },
        "safety_identifier": request.safety_identifier,
        "service_tier": "default",
        "temperature": request.temperature,
        "text": {
            "format": {"type": "text"} if form is None else form.model_dump(by_alias=True, exclude_none=True),
            "verbosity": "medium" if text is None or text.verbosity is None else text.verbosity,
        },
        "tool_choice": request.tool_choice or "auto",
        "tools": table.served,
        "top_logprobs": request.top_logprobs or 0,
        "top_p": request.top_p,
        "truncation": request.truncation or "disabled",
        "user": request.user,
    }
    return msgspec.json.encode(fields)[1:-1]
