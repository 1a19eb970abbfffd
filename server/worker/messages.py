"""The typed messages between the API process and a worker; msgpack over a local socket.

Down (API process to worker): one `Request` per frame.
Up (worker to API process): one `Reply` per frame; all token events of one engine step in one `StepEvents`.
Every accepted `Generate` is answered by any number of `Started`, `PromptScored`, `Delta` and `ChoiceEnd`
and exactly one terminal event, `Finish` or `Failure`. Every other request is answered by exactly one reply
with its `id`; `Cancel` and `Drain` by none. The events themselves are the engine's (`server.engine.events`).
"""

from __future__ import annotations

from typing import Any, Literal

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


class AdapterSpec(msgspec.Struct, frozen=True):
    """A LoRA adapter's GGUF file, and the id by which requests ask for it: never used for another one."""

    id: int
    path: str


class ModelSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is started with. `None` means "choose for this machine"."""

    name: str
    path: str
    n_ctx: int | None = None
    """Context of one request, in tokens; None: the model's own, at most 4096."""
    n_parallel: int = 8
    n_gpu_layers: int | Literal["auto"] = "auto"
    n_batch: int = 2048
    n_ubatch: int = 512
    prefill_chunk_tokens: int = 512
    gap_s: float = 0.2
    """What a step with prompt tokens may take while other requests generate."""
    speculate: Literal["off", "ngram"] = "off"
    draft_path: str | None = None
    """A smaller model's file that guesses the next tokens."""
    draft_max: int = 31
    n_threads: int | None = None
    n_threads_batch: int | None = None
    kv_unified: bool = False
    flash_attn: Literal["auto", "on", "off"] = "auto"
    type_k: str = "f16"
    type_v: str = "f16"
    use_mmap: bool = True
    use_mlock: bool = False
    use_extra_bufts: bool = True
    prompt_side: Literal["auto", "on", "off"] = "auto"
    """Prompts on a second, unpacked mapping of the weights; auto: where that is faster and fits."""
    queue_size: int = 256
    prefix_folder: str | None = None
    """Where prefixes are kept over restarts; None: nowhere."""
    prefix_bytes_max: int = 0
    """What that folder may hold, of all models together."""
    prompt_format: str | None = None
    """Name in server.chat.prompt_formats, or None: chosen from the model's metadata and name."""
    adapters: tuple[AdapterSpec, ...] = ()
    """LoRA adapters to be ready from the start."""


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


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What is known once the model is loaded."""

    n_vocab: int
    n_ctx: int
    """Context of one request, in tokens."""
    n_ctx_train: int
    n_embd: int
    n_params: int
    size_bytes: int
    n_parallel: int
    n_gpu_layers: int
    description: str
    ftype: str
    prompt_format: str
    """The built-in format in use, or "template" for the GGUF's own Jinja."""
    bos_token: str | None = None
    eos_token: str | None = None
    chat_template: str | None = None


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
