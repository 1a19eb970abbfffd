"""What clients may send that is known and not served yet: a clear 400 instead of a silent omission. Pure.

A value that asks for nothing (`tools: []`, `response_format: {"type": "text"}`) passes, as many clients
always send it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.errors import RequestError
from server.openai.requests.schemas import ChatCompletionRequest, CompletionRequest, GenerationRequest

Neutral = Callable[[Any], bool]


def _one_of(*values: Any) -> Neutral:
    """Equal, and of the same type: 0 isn't False here."""
    return lambda given: any(given == value and type(given) is type(value) for value in values)


def _text_format(given: Any) -> bool:
    return isinstance(given, dict) and given.get("type") == "text"


_EVERYWHERE: dict[str, Neutral] = {
    "grammar": _one_of(""),
    "json_schema": _one_of(),
    "response_format": _text_format,
    "keep_alive": _one_of(),
}
_CHAT: dict[str, Neutral] = {
    "tools": _one_of([]),
    "tool_choice": _one_of("none", "auto"),
    "functions": _one_of([]),
    "function_call": _one_of("none", "auto"),
    "modalities": _one_of([], ["text"]),
    "audio": _one_of(),
    "prediction": _one_of(),
    "web_search_options": _one_of(),
}
_COMPLETION: dict[str, Neutral] = {
    "suffix": _one_of(""),
}


def refuse_unsupported(request: GenerationRequest) -> None:
    """Raises RequestError naming the first field that asks for something not served."""
    fields = dict(_EVERYWHERE)
    if isinstance(request, ChatCompletionRequest):
        fields |= _CHAT
    elif isinstance(request, CompletionRequest):
        fields |= _COMPLETION
    for name, neutral in fields.items():
        given = getattr(request, name)
        if given is not None and not neutral(given):
            raise RequestError(
                f"'{name}' is not supported by this server yet; leave it out",
                param=name,
                code="unsupported_parameter",
            )
