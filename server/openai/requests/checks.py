"""Checks of validated requests: fields that aren't served yet, and fields that contradict. Pure.

Each is a clear 400 instead of a silent omission. A value that requests nothing (`modalities: ["text"]`)
passes, as many clients always send it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from models.errors import RequestError
from server.openai.requests.schemas import (
    ChatCompletionRequest,
    CompletionRequest,
    GenerationRequest,
    TemplateRequest,
)

MAX_TEMPLATE_VALUES = 10_000
"""`chat_template_kwargs` may hold this many values, those inside of others counted."""
MAX_TEMPLATE_DEPTH = 32

Neutral = Callable[[Any], bool]


def _one_of(*values: Any) -> Neutral:
    """Return a test for equality in value and type: 0 isn't False here."""
    return lambda given: any(given == value and type(given) is type(value) for value in values)


_CHAT: dict[str, Neutral] = {
    "moderation": _one_of(),
    "modalities": _one_of([], ["text"]),
    "audio": _one_of(),
    "prediction": _one_of(),
    "web_search_options": _one_of(),
}


def check(request: GenerationRequest) -> None:
    """Raise RequestError for the first field that can't be served."""
    refuse_unsupported(request)
    refuse_contradictions(request)


def refuse_unsupported(request: GenerationRequest) -> None:
    """Raise RequestError naming the first field whose value isn't served."""
    fields = _CHAT if isinstance(request, ChatCompletionRequest) else {}
    for name, neutral in fields.items():
        given = getattr(request, name)
        if given is not None and not neutral(given):
            raise RequestError(
                f"'{name}' is not supported by this server yet; leave it out",
                param=name,
                code="unsupported_parameter",
            )


def refuse_contradictions(request: GenerationRequest) -> None:
    """Raise RequestError for the first parameters that are fine alone and can't stand together."""
    if request.stream_options is not None and not request.stream:
        raise RequestError("'stream_options' is only allowed when 'stream' is true", param="stream_options")
    if isinstance(request, CompletionRequest) and request.best_of is not None:
        _check_best_of(request.best_of, request.n or 1, streamed=request.stream is True)
    if isinstance(request, CompletionRequest) and request.suffix and request.echo:
        raise RequestError(
            "'echo' is true and there is a 'suffix': the answer stands between prompt and suffix; leave one "
            "of them out",
            param="echo",
        )
    if isinstance(request, ChatCompletionRequest) and request.top_logprobs and not request.logprobs:
        raise RequestError(
            f"'top_logprobs' is {request.top_logprobs} and 'logprobs' is not true; set it, "
            "or leave 'top_logprobs' out",
            param="top_logprobs",
        )


def check_chat(request: TemplateRequest) -> None:
    """Raise RequestError for a contradiction, and for template arguments that are too many or too deep."""
    if request.add_generation_prompt and request.continue_final_message:
        raise RequestError(
            "'add_generation_prompt' and 'continue_final_message' are both set: an answer begins or is "
            "continued; leave one of them out",
            param="continue_final_message",
        )
    check_template_kwargs(request.chat_template_kwargs or {})


def check_template_kwargs(kwargs: dict[str, Any]) -> None:
    """Raise RequestError for template arguments that are too many or too deep, or have too large a number."""
    level: list[Any] = [kwargs]
    n_values = 0
    for _ in range(MAX_TEMPLATE_DEPTH + 1):
        inner: list[Any] = []
        for container in level:
            values = container.values() if isinstance(container, dict) else container
            n_values += len(container)
            inner += [value for value in values if isinstance(value, dict | list)]
            if any(isinstance(value, int) and not -(1 << 63) <= value < 1 << 64 for value in values):
                raise _template_refusal("has a whole number of more than 64 bits; send it as a string")
        if n_values > MAX_TEMPLATE_VALUES:
            raise _template_refusal(f"has more than {MAX_TEMPLATE_VALUES:,} values; shorten it")
        if not inner:
            return
        level = inner
    raise _template_refusal(f"is nested deeper than {MAX_TEMPLATE_DEPTH} levels; make it flatter")


def _template_refusal(what: str) -> RequestError:
    return RequestError(f"'chat_template_kwargs' {what}", param="chat_template_kwargs")


def _check_best_of(best_of: int, n: int, *, streamed: bool) -> None:
    if best_of < n:
        raise RequestError(
            f"'best_of' is {best_of} and 'n' is {n}; 'best_of' can't be less than 'n'", param="best_of"
        )
    if best_of > n and streamed:
        raise RequestError(
            f"'best_of' ({best_of}) above 'n' ({n}) can't be streamed: all must be complete to be compared; "
            "leave one of 'stream' and 'best_of' out",
            param="best_of",
        )
