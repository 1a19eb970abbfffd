"""The typed messages between the API process and a worker; msgpack over a local socket.

The first frame down is the `ModelSpec` (`server.ipc.model_spec`).
Down (API process to worker): one `Request` per frame.
Up (worker to API process): one `Reply` per frame; all token events of one engine step in one `StepEvents`.
Every accepted `Generate` is answered by any number of `Started`, `PromptScored`, `Delta` and `ChoiceEnd`
and exactly one terminal event, `Finish` or `Failure`. Every other request is answered by exactly one reply
with its `id`; `Cancel` and `Drain` by none. The events themselves are the engine's (`server.engine.events`).
"""

from __future__ import annotations

from typing import Any

import msgspec

from server.engine.events import (
    ChoiceEnd,
    Delta,
    Event,
    Failure,
    FailureKind,
    Finish,
    FinishReason,
    PromptScored,
    Started,
    Timings,
    TokenLogprob,
    Usage,
)
from server.engine.sampling_params import SamplingParams
from server.ipc.model_spec import AdapterSpec, ModelInfo, ModelSpec

__all__ = [
    "AdapterReply",
    "AdapterSpec",
    "ApplyTemplate",
    "ApplyTemplateReply",
    "Cancel",
    "ChatPrompt",
    "ChoiceEnd",
    "Delta",
    "Detokenize",
    "DetokenizeReply",
    "Drain",
    "Event",
    "Failure",
    "FailureKind",
    "Finish",
    "FinishReason",
    "Generate",
    "LoadAdapter",
    "LoadFailed",
    "Loading",
    "ModelInfo",
    "ModelSpec",
    "Prompt",
    "PromptScored",
    "Ready",
    "Reply",
    "Request",
    "SamplingParams",
    "Started",
    "Stats",
    "StatsReply",
    "StepEvents",
    "TextPrompt",
    "Timings",
    "TokenLogprob",
    "TokenPrompt",
    "Tokenize",
    "TokenizeReply",
    "UnloadAdapter",
    "Usage",
]


# --- prompts --------------------------------------------------------------------------------------


class TextPrompt(msgspec.Struct, frozen=True, tag="text"):
    """Raw text, tokenized with the model's BOS where the model wants one; special tokens in it are parsed."""

    text: str


class TokenPrompt(msgspec.Struct, frozen=True, tag="tokens"):
    """Token ids, taken as they are (checked against the vocabulary's size)."""

    tokens: tuple[int, ...]


class ChatPrompt(msgspec.Struct, frozen=True, tag="chat"):
    """Messages to render: OpenAI's dicts with string content (parts already joined)."""

    messages: list[dict[str, Any]]
    prompt_format: str | None = None
    chat_template_kwargs: dict[str, Any] = {}
    add_generation_prompt: bool = True


Prompt = TextPrompt | TokenPrompt | ChatPrompt


# --- down -----------------------------------------------------------------------------------------


class Generate(msgspec.Struct, frozen=True, tag="generate", kw_only=True):
    """Produce `n` continuations of `prompt`."""

    id: str
    prompt: Prompt
    params: SamplingParams
    given: tuple[str, ...] = ()
    """The fields of `params` that the client chose; the model's own defaults fill the others."""
    n: int = 1
    cache_prompt: bool = True
    timeout_s: float | None = None
    return_tokens: bool = False
    echo: bool = False
    """Begin each choice's text with the prompt's text (completions only)."""
    n_probs: int | None = None
    """How many alternatives are told with each token's logprob; None: no logprobs at all."""
    score_prompt: bool = False
    """Logprobs of the prompt's tokens too (`PromptScored`)."""
    priority: int = 0
    """Lower goes first; equals go first come, first served."""
    adapters: tuple[tuple[int, float], ...] | None = None
    """LoRA adapters: (id, scale), ids ascending, no zero scales. None: the model's defaults, which the
    supervisor fills in; a worker knows of none."""


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Stop a request before the next step; it ends with `Failure(kind="cancelled")`. Unknown ids are fine."""

    id: str


class Tokenize(msgspec.Struct, frozen=True, tag="tokenize", kw_only=True):
    id: str
    text: str
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False


class Detokenize(msgspec.Struct, frozen=True, tag="detokenize", kw_only=True):
    id: str
    tokens: tuple[int, ...]


class ApplyTemplate(msgspec.Struct, frozen=True, tag="apply_template", kw_only=True):
    id: str
    prompt: ChatPrompt


class Stats(msgspec.Struct, frozen=True, tag="stats"):
    """Ask for a `StatsReply`; the supervisor's heartbeat too."""

    id: str


class LoadAdapter(msgspec.Struct, frozen=True, tag="load_adapter"):
    """Load a LoRA adapter between two steps; answered when requests can use it, also if it was there."""

    id: str
    adapter: AdapterSpec


class UnloadAdapter(msgspec.Struct, frozen=True, tag="unload_adapter"):
    """Refuse new requests that use the adapter; answered when the last one has ended and it is freed."""

    id: str
    adapter_id: int


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Take no new requests, finish those that run, then exit with status 0."""

    grace_s: float


Request = (
    Generate | Cancel | Tokenize | Detokenize | ApplyTemplate | Stats | LoadAdapter | UnloadAdapter | Drain
)


# --- up -------------------------------------------------------------------------------------------


class Loading(msgspec.Struct, frozen=True, tag="loading", array_like=True):
    """Load progress, 0 to 1."""

    progress: float


class Ready(msgspec.Struct, frozen=True, tag="ready", array_like=True):
    """The model is loaded and warm."""

    info: ModelInfo


class LoadFailed(msgspec.Struct, frozen=True, tag="load_failed", array_like=True):
    """The model can't be loaded (an orderly refusal; a crash shows as the process's end)."""

    message: str
    kind: str
    """Name of the error class in models.errors."""


class StepEvents(msgspec.Struct, frozen=True, tag="step", array_like=True):
    """Everything one engine step produced."""

    events: list[Event]


class TokenizeReply(msgspec.Struct, frozen=True, tag="tokenize_reply", array_like=True):
    id: str
    tokens: list[int]
    pieces: list[bytes] | None = None


class DetokenizeReply(msgspec.Struct, frozen=True, tag="detokenize_reply", array_like=True):
    id: str
    text: str


class ApplyTemplateReply(msgspec.Struct, frozen=True, tag="apply_template_reply", array_like=True):
    id: str
    prompt: str


class AdapterReply(msgspec.Struct, frozen=True, tag="adapter_reply", array_like=True):
    """A `LoadAdapter` or `UnloadAdapter` is done."""

    id: str


class StatsReply(msgspec.Struct, frozen=True, tag="stats_reply", kw_only=True, array_like=True):
    id: str
    running: int
    waiting: int
    kv_used_tokens: int
    kv_total_tokens: int
    prompt_tokens_total: int
    generated_tokens_total: int
    prompt_s_total: float
    generated_s_total: float
    steps_total: int
    cached_tokens_total: int
    rss_bytes: int


Reply = (
    Loading
    | Ready
    | LoadFailed
    | StepEvents
    | TokenizeReply
    | DetokenizeReply
    | ApplyTemplateReply
    | StatsReply
    | AdapterReply
    | Failure
)
