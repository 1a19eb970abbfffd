"""What the engine tells about its requests: the structs that travel to the client's side as they are.

A request that the engine has taken gives any number of `Started`, `PromptScored`, `Delta` and `ChoiceEnd` and
then exactly one terminal event, `Finish` or `Failure`.
"""

from __future__ import annotations

from typing import Literal

import msgspec

FinishReason = Literal["stop", "length"]
FailureKind = Literal["invalid_request", "busy", "server_error", "unavailable", "cancelled"]


class Usage(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


class Timings(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """llama-server's `timings` object without the rates."""

    queue_ms: float
    prompt_n: int
    prompt_ms: float
    predicted_n: int
    predicted_ms: float
    draft_n: int = 0
    draft_n_accepted: int = 0


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How likely a token was: of the model's own distribution, before penalties, temperature and truncation.

    `logprob` is None for the first token of a prompt. `top`: (token, piece, logprob), most likely first.
    """

    token: int
    piece: bytes
    logprob: float | None
    top: tuple[tuple[int, bytes, float], ...] = ()


class Started(msgspec.Struct, frozen=True, tag="started", kw_only=True, array_like=True, gc=False):
    """Accepted and admitted: prompt rendered, tokenized and measured."""

    id: str
    prompt_tokens: int
    cached_tokens: int


class Delta(msgspec.Struct, frozen=True, tag="delta", kw_only=True, array_like=True, gc=False):
    """New text of choice `index`: whole characters, never part of a stop string. `text` may be empty."""

    id: str
    index: int
    text: str
    n_tokens: int = 1
    tokens: tuple[int, ...] = ()
    """The token ids, only with `return_tokens`."""
    logprobs: tuple[TokenLogprob, ...] = ()
    """One per token, only with `n_probs`."""


class PromptScored(msgspec.Struct, frozen=True, tag="prompt_scored", kw_only=True, array_like=True, gc=False):
    """Only with `score_prompt`: one entry per token of the prompt; after `Started`, before any `Delta`."""

    id: str
    logprobs: tuple[TokenLogprob, ...]


class ChoiceEnd(msgspec.Struct, frozen=True, tag="choice_end", kw_only=True, array_like=True, gc=False):
    id: str
    index: int
    finish_reason: FinishReason
    stop: str | None = None
    """The stop string that ended it, if one did."""


class Finish(msgspec.Struct, frozen=True, tag="finish", kw_only=True, array_like=True, gc=False):
    """Terminal: all choices have ended."""

    id: str
    usage: Usage
    timings: Timings


class Failure(msgspec.Struct, frozen=True, tag="failure", kw_only=True, array_like=True, gc=False):
    """Terminal: the request can't be served (any more)."""

    id: str
    kind: FailureKind
    message: str
    param: str | None = None
    code: str | None = None
    retry_after_s: float | None = None


Event = Started | PromptScored | Delta | ChoiceEnd | Finish | Failure
