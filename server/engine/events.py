"""The events of a request, as the engine makes them and as they travel to the API process.

A request that the engine has accepted gives any number of `Started`, `PromptScored`, `Delta` and `ChoiceEnd`
and then exactly one terminal event, `Finish` or `Failure`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from server.engine.resumption import Beginning
from server.engine.sampling_params import SamplingParams

FinishReason = Literal["stop", "length", "tool_calls"]
FailureKind = Literal["invalid_request", "busy", "server_error", "unavailable", "cancelled"]
WORKER_DIED = "worker_died"
"""The code of every error that the end of a worker makes, by its own account or not."""
DISK_FULL = "disk_full"
"""The code of a `server_error` of which a full disk is the reason."""
Meaning = Literal["vector", "rows", "logit", "probability", "cosine"]
"""The numbers of a pooled request: a text's vector, its tokens' vectors, a head's scores from minus to plus
infinity or from 0 to 1, or the cosine of two vectors."""


class Usage(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """The token counts of a request: prompt, all choices together, and prompt tokens found in the cache."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    """The number of `completion_tokens` that are thoughts, the marks around them included."""


class Timings(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """A request's times in milliseconds and token counts: llama-server's `timings` without the rates."""

    queue_ms: float
    prompt_n: int
    prompt_ms: float
    predicted_n: int
    predicted_ms: float
    draft_n: int = 0
    draft_n_accepted: int = 0
    context_shifts: int = 0
    """The number of times that an answer gave up tokens, as the context was full."""


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A token's log probability in the model's own distribution, before penalties, temperature, truncation.

    `logprob` is None for the first token of a prompt. `top` has (token, piece, logprob), most likely first.
    """

    token: int
    piece: bytes
    logprob: float | None
    top: tuple[tuple[int, bytes, float], ...] = ()


class AnswerForm(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """The parts that an answer's text is made of. The engine hands it on unread."""

    tool_format: str | None = None
    """The calls in the text have this format, see `server.chat.tool_formats`; None: there are none."""
    thoughts: tuple[str, str] | None = None
    """The marks that open and close thoughts; None: the model doesn't think."""
    thinks: bool = False
    """The answer begins within thoughts: the prompt has opened them."""
    calls_only: bool = False
    """A call is required, so nothing but thoughts and calls can stand in the answer."""


class RequestReading(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A request as it was understood: the prompt's text, the parameters with all defaults filled in."""

    prompt: str
    params: SamplingParams
    end_tokens: tuple[int, ...] = ()
    """The model's tokens that end an answer."""


class Started(msgspec.Struct, frozen=True, tag="started", kw_only=True, array_like=True, gc=False):
    """The request is accepted and admitted: its prompt is rendered, tokenized and measured."""

    id: str
    prompt_tokens: int
    cached_tokens: int
    form: AnswerForm | None = None
    """The answers' text is made of these parts; None: of content alone."""
    n_left_out: int = 0
    """So much of what the client sent had no room in the prompt, as it wished: tokens of an infill's text, or
    messages of a chat."""
    reading: RequestReading | None = None
    """The reading is here only with `tells_reading`."""
    tokens: tuple[int, ...] = ()
    """The prompt's token ids are here only with `tells_tokens`."""
    beginning: Beginning | None = None
    """Another worker needs this to go on with the request; None: it can't."""


class PromptProgress(msgspec.Struct, frozen=True, tag="progress", kw_only=True, array_like=True, gc=False):
    """So much of a prompt is computed, only with `tells_progress`; the first tells what the cache held."""

    id: str
    total: int
    cached: int
    processed: int
    """The number of tokens that are in the KV cache now, cached ones included."""
    ms: float
    """The time since the request got its slot."""


class Delta(msgspec.Struct, frozen=True, tag="delta", kw_only=True, array_like=True, gc=False):
    """New text of choice `index`: whole characters, never part of a stop string; it may be empty."""

    id: str
    index: int
    text: str
    n_tokens: int = 1
    tokens: tuple[int, ...] = ()
    """The ids of the tokens, where another worker could go on after them; else only with `return_tokens`."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """The logprobs are here only with `n_probs`: one per token, but for those that a stop string cut."""
    is_prompt: bool = False
    """True if text and logprobs are the prompt's, which the client wants echoed; `n_tokens` is 0 then."""


class PromptPart(Delta, frozen=True, tag="prompt_part", kw_only=True, array_like=True, gc=False):
    """A part of an echoed prompt's logprobs, after which more of them follow. Made behind the worker."""


class PromptScored(msgspec.Struct, frozen=True, tag="prompt_scored", kw_only=True, array_like=True, gc=False):
    """The prompt's scores, one per token, only with `score_prompt`; after `Started`, before any `Delta`."""

    id: str
    logprobs: tuple[TokenLogprob, ...]
    more: bool = False
    """True if the scores go on in the next event of this kind: a long prompt's travel in parts."""


class Vectors(msgspec.Struct, frozen=True, tag="vectors", kw_only=True, array_like=True, gc=False):
    """Vectors or scores of some of a pooled request's texts, or pairs; the rows of one may come in parts."""

    id: str
    indices: tuple[int, ...]
    """The places of the texts in the request."""
    n_rows: tuple[int, ...]
    """So many rows of each come here: one, or one per token."""
    width: int
    """A row has so many numbers."""
    data: bytes
    """The rows one after another, each number a float32, little-endian."""
    meaning: Meaning = "vector"


class ChoiceEnd(msgspec.Struct, frozen=True, tag="choice_end", kw_only=True, array_like=True, gc=False):
    """Choice `index` is complete."""

    id: str
    index: int
    finish_reason: FinishReason
    stop: str | None = None
    """The choice ended at this stop string, if it is not None."""
    is_loop: bool = False
    """True if it was ended for repeating itself."""
    n_tokens: int = 0
    """The number of its tokens, as `Usage` counts them, where the request could go on in another worker."""
    n_thoughts: int = 0
    """The number of those that are thoughts."""


class Finish(msgspec.Struct, frozen=True, tag="finish", kw_only=True, array_like=True, gc=False):
    """All choices have ended: the request's terminal event."""

    id: str
    usage: Usage
    timings: Timings


class Failure(msgspec.Struct, frozen=True, tag="failure", kw_only=True, array_like=True, gc=False):
    """The request can't be served, or not any more: the request's terminal event."""

    id: str
    kind: FailureKind
    message: str
    param: str | None = None
    code: str | None = None
    retry_after_s: float | None = None
    context: tuple[int, int] | None = None
    """The tokens of a prompt that has no room, and those of the context."""


Event = Started | PromptProgress | PromptScored | Delta | Vectors | ChoiceEnd | Finish | Failure
