"""`AnswerOptions`: what a request wants of the form of its answer, read once. Pure."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from server.chat.tools import Tool
from server.llama_server.schemas import NativeCompletionRequest
from server.openai.requests.reasoning import ThoughtForm, thought_form, wants_reasoning_field
from server.openai.requests.schemas import ChatCompletionRequest, CompletionRequest, GenerationRequest
from server.openai.requests.tools import offered_tools


class Candidates(NamedTuple):
    """The selection by `best_of`: of a prompt's `best_of` choices only the `n` likeliest are answered."""

    best_of: int
    n: int


class AnswerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The form of an answer, streamed or whole."""

    n_probs: int | None = None
    """The number of alternatives that come with each token's logprob; None: no logprobs at all."""
    return_tokens: bool = False
    include_usage: bool = False
    """True if a stream ends with a chunk that has the usage."""
    timings_per_token: bool = False
    """True if every chunk of a stream carries the timings so far."""
    return_progress: bool = False
    """True if a stream tells how far the prompt is computed."""
    verbose: bool = False
    """True if a whole answer tells the prompt and the parameters."""
    candidates: Candidates | None = None
    tools: tuple[Tool, ...] = ()
    """The tools whose calls the answer may have."""
    legacy_calls: bool = False
    """True if a call is told as `function_call`, to a client that sent `functions`."""
    thoughts: ThoughtForm = "field"
    """The place where the answer shows its thoughts."""
    reasoning_field: bool = False
    """True if thoughts come as `reasoning`, too."""

    @property
    def logprobs(self) -> bool:
        """True if the client gets logprobs."""
        return self.n_probs is not None


def answer_options(request: GenerationRequest) -> AnswerOptions:
    """Return what `request` wants of its answer's form."""
    candidates = None
    if isinstance(request, CompletionRequest) and request.best_of is not None:
        candidates = Candidates(best_of=request.best_of, n=request.n or 1)
    return AnswerOptions(
        n_probs=_n_probs(request),
        return_tokens=request.return_tokens is True,
        include_usage=request.stream_options is not None and request.stream_options.include_usage is True,
        timings_per_token=request.timings_per_token is True,
        verbose=request.verbose is True,
        return_progress=request.return_progress is True and request.stream is True,
        candidates=candidates,
        **(_chat_options(request) if isinstance(request, ChatCompletionRequest) else {}),
    )


def native_options(request: NativeCompletionRequest) -> AnswerOptions:
    """Return what a request of llama-server's `/completion` wants, with `logprobs` as a name of `n_probs`."""
    options = answer_options(request)
    n_probs = request.n_probs or request.logprobs or None
    return msgspec.structs.replace(options, n_probs=n_probs)


def _chat_options(request: ChatCompletionRequest) -> dict[str, Any]:
    offered = offered_tools(request)
    return {
        "tools": tuple(offered.choice.callable_tools(offered.tools)),
        "legacy_calls": offered.legacy,
        "thoughts": thought_form(request),
        "reasoning_field": wants_reasoning_field(request),
    }


def _n_probs(request: GenerationRequest) -> int | None:
    if isinstance(request, ChatCompletionRequest) and request.logprobs:
        return request.top_logprobs or 0
    if isinstance(request, CompletionRequest) and request.logprobs is not None:
        return request.logprobs
    return request.n_probs or None
