"""Parameters that can't stand together, each of them being fine alone: a 400 that names one of them. Pure."""

from __future__ import annotations

from models.errors import RequestError
from server.openai.requests.schemas import ChatCompletionRequest, CompletionRequest, GenerationRequest


def refuse_contradictions(request: GenerationRequest) -> None:
    """Raises RequestError for the first that is found."""
    if request.stream_options is not None and not request.stream:
        raise RequestError("'stream_options' is only allowed when 'stream' is true", param="stream_options")
    if isinstance(request, CompletionRequest) and request.best_of is not None:
        _check_best_of(request.best_of, request.n or 1, streamed=request.stream is True)
    if isinstance(request, ChatCompletionRequest) and request.top_logprobs and not request.logprobs:
        raise RequestError(
            f"'top_logprobs' is {request.top_logprobs} and 'logprobs' is not true; set it, "
            "or leave 'top_logprobs' out",
            param="top_logprobs",
        )


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
