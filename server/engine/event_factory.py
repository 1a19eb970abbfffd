"""The events an engine makes of its sequences, requests and errors."""

from __future__ import annotations

from collections.abc import Callable

from models.errors import CorralError, RequestError
from server.engine.events import Delta, Failure, PromptScored, Started, TokenLogprob
from server.engine.request import EngineRequest
from server.engine.sequence import Group, Sequence


def started(request: EngineRequest, n_cached: int) -> Started:
    return Started(id=request.id, prompt_tokens=len(request.prompt_tokens), cached_tokens=n_cached)


def prompt_scored(group: Group, shown: Callable[[int], bytes]) -> PromptScored:
    """Scores of a prompt's tokens; the first has nothing before it and so no logprob. `shown` spells out
    control tokens, too."""
    first = group.request.prompt_tokens[0]
    return PromptScored(id=group.id, logprobs=(TokenLogprob(first, shown(first), None), *group.scores))


def delta(sequence: Sequence, text: str) -> Delta:
    """New text, and the tokens since the last one that was told. They count as told now."""
    request, n = sequence.group.request, sequence.n_unreported
    sequence.n_unreported = 0
    if not request.wants_tokens:
        return Delta(id=request.id, index=sequence.index, text=text, n_tokens=n)
    logprobs = tuple(sequence.logprobs[:n])
    sequence.logprobs = []
    tokens = sequence.tokens[sequence.n_told : sequence.n_told + n]
    sequence.n_told += n
    return Delta(
        id=request.id,
        index=sequence.index,
        text=text,
        n_tokens=n,
        tokens=tuple(tokens) if request.return_tokens else (),
        logprobs=logprobs,
    )


def queue_full(request_id: str, n_waiting: int, retry_after_s: float) -> Failure:
    return Failure(
        id=request_id,
        kind="busy",
        message=f"{n_waiting} requests are waiting, as many as may; try again later",
        code="rate_limit_exceeded",
        retry_after_s=retry_after_s,
    )


def failure(request_id: str, error: CorralError) -> Failure:
    """The terminal event of a request that `error` ended."""
    if isinstance(error, RequestError):
        return Failure(
            id=request_id, kind="invalid_request", message=error.message, param=error.param, code=error.code
        )
    return Failure(id=request_id, kind="server_error", message=error.message)


def out_of_time(request: EngineRequest) -> Failure:
    """The terminal event of a request whose time limit has passed."""
    return Failure(
        id=request.id,
        kind="unavailable",
        message=f"the request took longer than its time limit of {request.timeout_s:g} s; "
        "raise the limit or ask for less",
        code="timeout",
    )


def no_room(sequence: Sequence) -> RequestError:
    """The prompt has the whole KV cache to itself, and it isn't enough."""
    return RequestError(
        f"the prompt of {sequence.n_prompt} tokens finds no room in the KV cache; shorten it or raise --ctx",
        param=sequence.group.request.prompt_param,
        code="context_length_exceeded",
    )
