"""The events and errors that an engine makes of its sequences and requests."""

from __future__ import annotations

from collections.abc import Callable

from models.errors import ContextLengthExceeded, CorralError, DiskFull, RequestError, WorkerBusy
from server.engine.events import (
    DISK_FULL,
    Delta,
    Failure,
    PromptProgress,
    PromptScored,
    Started,
    TokenLogprob,
)
from server.engine.request import EngineRequest
from server.engine.resumption import Beginning, packed, prompt_digest
from server.engine.sequence import Group, Sequence


def started_event(request: EngineRequest, n_cached: int, seed: int = 0) -> Started:
    """Return the event of a request whose first choice found `n_cached` prompt tokens in the KV cache.

    `seed` is that of its first choice.
    """
    return Started(
        id=request.id,
        prompt_tokens=len(request.prompt_tokens),
        cached_tokens=n_cached,
        form=request.form,
        n_left_out=request.n_left_out,
        reading=request.reading,
        tokens=tuple(request.text_tokens) if request.tells_tokens else (),
        beginning=_beginning(request, seed),
    )


def _beginning(request: EngineRequest, seed: int) -> Beginning | None:
    if request.has_replay is None:
        return None
    tokens = request.prompt_tokens
    return Beginning(
        prompt=b"" if request.images else packed(tokens),
        digest=prompt_digest(tokens) if request.images else b"",
        seed=seed,
        has_replay=request.has_replay,
    )


def progress_event(group: Group, n_processed: int, now_s: float) -> PromptProgress:
    """Return the event of a prompt of which `n_processed` tokens are in the KV cache."""
    begun_s = now_s if group.admitted_s is None else group.admitted_s
    return PromptProgress(
        id=group.id,
        total=len(group.request.prompt_tokens),
        cached=group.n_cached,
        processed=n_processed,
        ms=(now_s - begun_s) * 1e3,
    )


def prompt_scored_event(group: Group, spelling: Callable[[int], bytes]) -> PromptScored:
    """Return the scores of a prompt's tokens; the first has nothing before it and so no logprob.

    `spelling(token)` spells out control tokens too.
    """
    first = group.request.prompt_tokens[0]
    return PromptScored(id=group.id, logprobs=(TokenLogprob(first, spelling(first), None), *group.scores))


def take_delta(sequence: Sequence, text: str, *, ends: bool = False) -> Delta:
    """Return new text with the tokens since the last delta; they count as reported from now on.

    With logprobs, tokens wait until all of their text is shown. At a choice's end (`ends`) the rest comes
    too, and of its logprobs those of the text: none of what a stop string cut.
    """
    request, n = sequence.group.request, sequence.n_unreported
    sequence.n_shown += len(text)
    if sequence.n_ahead:
        n_had = min(len(text), sequence.n_ahead)
        text, sequence.n_ahead = text[n_had:], sequence.n_ahead - n_had
    n_logprobs = n
    if request.n_probs is not None:
        if not ends:
            n = n_logprobs = min(n, sequence.n_covered)
        elif sequence.stops.matched is not None:
            n_logprobs = min(n, sequence.n_covered)
    sequence.n_unreported -= n
    if not request.wants_tokens:
        if not request.has_replay:
            return Delta(id=request.id, index=sequence.index, text=text, n_tokens=n)
        first = sequence.n_emitted
        sequence.n_emitted = end = first + n
        return Delta(
            id=request.id,
            index=sequence.index,
            text=text,
            n_tokens=n,
            tokens=tuple(sequence.tokens[first:end]),
        )
    logprobs = tuple(sequence.logprobs[:n_logprobs])
    del sequence.logprobs[:n], sequence.text_ends[:n]
    tokens = sequence.tokens[sequence.n_emitted : sequence.n_emitted + n]
    sequence.n_emitted += n
    return Delta(
        id=request.id,
        index=sequence.index,
        text=text,
        n_tokens=n,
        tokens=tuple(tokens) if request.carries_tokens else (),
        logprobs=logprobs,
    )


def queue_full_failure(request_id: str, n_waiting: int, retry_after_s: float) -> Failure:
    """Return the terminal event of a request that found `n_waiting` others in a full queue."""
    message = f"{n_waiting} requests are waiting, as many as may; try again later"
    return _busy_failure(request_id, message, retry_after_s)


def _busy_failure(request_id: str, message: str, retry_after_s: float) -> Failure:
    code = "rate_limit_exceeded"
    return Failure(id=request_id, kind="busy", message=message, code=code, retry_after_s=retry_after_s)


def error_failure(request_id: str, error: CorralError) -> Failure:
    """Return the terminal event of a request that `error` ended."""
    if isinstance(error, RequestError):
        context = None
        if isinstance(error, ContextLengthExceeded) and error.n_ctx:  # else the message alone has the numbers
            context = error.n_prompt, error.n_ctx
        return Failure(
            id=request_id,
            kind="invalid_request",
            message=error.message,
            param=error.param,
            code=error.code,
            context=context,
        )
    if isinstance(error, WorkerBusy):
        return _busy_failure(request_id, error.message, error.retry_after_s)
    code = DISK_FULL if isinstance(error, DiskFull) else None
    return Failure(id=request_id, kind="server_error", message=error.public, code=code)


def cancelled_failure(request_id: str) -> Failure:
    """Return the terminal event of a request that its client doesn't want any more."""
    return Failure(id=request_id, kind="cancelled", message="the request was cancelled")


def timeout_failure(request_id: str, timeout_s: float) -> Failure:
    """Return the terminal event of a request whose time limit has passed."""
    return Failure(
        id=request_id,
        kind="unavailable",
        message=f"the request took longer than its time limit of {timeout_s:g} s; "
        "raise the limit or ask for less",
        code="timeout",
    )


def no_room_error(sequence: Sequence) -> RequestError:
    """Return the error of a prompt that has the whole KV cache to itself and doesn't fit into it."""
    return RequestError(
        f"the prompt of {sequence.n_prompt} tokens finds no room in the KV cache; shorten it or raise --ctx",
        param=sequence.group.request.prompt_param,
        code="context_length_exceeded",
    )
