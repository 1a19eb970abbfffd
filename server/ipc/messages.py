"""Messages between the API process and a worker: requests to the worker, replies to the API process.

They travel as msgpack over a local socket (`server.ipc.frames`). The first frame to the worker is the
`ModelSpec` (`server.ipc.model_spec`); each frame after it is one `WorkerRequest`. Each frame to the API
process is one `Reply`; all events of one engine step are in one `StepEvents`.

Every accepted `Generate` or `Pool` is answered by any number of `Started`, `PromptScored`, `Delta`, `Vectors`
and `ChoiceEnd` and exactly one terminal event, `Finish` or `Failure`; these events are the engine's
(`server.engine.events`). Every other request is answered by exactly one reply with its `id`, a long one in
parts (`server.ipc.parts`); `Cancel`, `GiveWay` and `Drain` by none.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from server.engine.batch import Adapters
from server.engine.events import Event, Failure
from server.engine.resumption import Resumption
from server.engine.sampling_params import SamplingParams
from server.engine.slot_states import SlotState
from server.ipc.constraint import Constraint
from server.ipc.model_spec import AdapterSpec, ModelInfo
from server.ipc.prompts import ChatPrompt, PooledInputs, Prompt

# --- to the worker --------------------------------------------------------------------------------


class Generate(msgspec.Struct, frozen=True, tag="generate", kw_only=True):
    """Produce `n` continuations of `prompt`."""

    id: str
    prompt: Prompt
    params: SamplingParams
    given: tuple[str, ...] = ()
    """These fields of `params` came from the client; the model's own defaults fill the others."""
    n: int = 1
    cache_prompt: bool = True
    timeout_s: float | None = None
    return_tokens: bool = False
    echo: bool = False
    """Each choice's text begins with the prompt's text if true (completions only)."""
    n_probs: int | None = None
    """Each token's logprob is reported with this many alternatives; None: no logprobs at all."""
    after_sampling: bool = False
    """The logprobs are those with which tokens are drawn, behind all samplers; else the model's own."""
    score_prompt: bool = False
    """The prompt's tokens get logprobs too if true (`PromptScored`)."""
    priority: int = 0
    """Requests with a lower number go first; equals go first come, first served."""
    owner: str = ""
    """Whoever the request is for. Owners get equal shares, whatever the number of their requests."""
    adapters: Adapters | None = None
    """LoRA adapters, none with scale 0. None: the model's defaults, which the supervisor fills in; a worker
    knows of none."""
    context_shift: bool | None = None
    """An answer goes on where the context is full, without the older half of what follows the first `n_keep`
    tokens. None: as the model's settings say."""
    n_keep: int | None = None
    """So many tokens of the prompt stay then; -1: all, None: as many as a quarter of the context holds."""
    constraint: Constraint | None = None
    """The answer's content has this form. Thoughts and tool calls have their own."""
    keep_alive_s: float | None = None
    """The model stays loaded for so long after its last request, infinity: as long as memory allows. None: as
    before. It is the supervisor's."""
    tells_reading: bool = False
    """`Started` has the prompt's text and the parameters with all defaults filled in."""
    tells_tokens: bool = False
    """`Started` has the prompt's token ids."""
    tells_progress: bool = False
    """Each step that computes a part of the prompt is reported (`PromptProgress`)."""
    predict_ms: float | None = None
    """An answer ends so long after its first token, if it has a whole line then."""
    bias_texts: tuple[tuple[str, float], ...] = ()
    """Texts whose tokens get these biases, in addition to those of `params.logit_bias`."""
    slot: int | None = None
    """The first choice waits for this slot, and finds there what it holds; None: the best one."""
    resumption: Resumption | None = None
    """It has begun in a worker that died, and goes on here: `server.requests.resume` makes it."""


class Pool(msgspec.Struct, frozen=True, tag="pool", kw_only=True):
    """Make a vector of each text, or a score for each pair of texts."""

    id: str
    inputs: PooledInputs
    wants: Literal["vectors", "rows", "any"] = "vectors"
    """A vector of each text is wanted, those of its tokens, or whatever the model is served for, be
    it a classifier's scores."""
    dimensions: int | None = None
    """Vectors have so many numbers, their first ones; None: all."""
    norm: int = 2
    """The norm that vectors are divided by, as llama-server counts them: -1 none, 0 the largest number (as 16
    bits), 1 the sum, 2 the length, p the p-norm. Token's vectors are never divided by default."""
    cut: Literal["end", "start"] | None = None
    """The side of a text that is left out if it is too long; None: that is an error."""
    max_tokens: int | None = None
    """With `cut`, a text has at most so many tokens; None: as many as the context."""
    prompts: tuple[str, ...] = ()
    """Names of prompts, of which the first that the file has goes before each text; empty: the default."""
    must_have_prompt: bool = False
    """It is an error that the file has none of `prompts`."""
    prompt_text: str | None = None
    """This goes before each text instead."""
    keep_alive_s: float | None = None
    """As in `Generate`."""
    add_special: bool = True
    """Strings get the model's special tokens."""
    param: str = "input"
    """The field that the client sent the texts in, for error messages."""
    timeout_s: float | None = None
    priority: int = 0
    owner: str = ""
    """As in `Generate`."""


class Cancel(msgspec.Struct, frozen=True, tag="cancel"):
    """Stop a request before the next step; it ends with `Failure(kind="cancelled")`. Unknown ids are fine."""

    id: str


class Tokenize(msgspec.Struct, frozen=True, tag="tokenize", kw_only=True):
    """Turn text into tokens."""

    id: str = ""
    text: str
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False


class Detokenize(msgspec.Struct, frozen=True, tag="detokenize", kw_only=True):
    """Turn tokens into text."""

    id: str = ""
    tokens: tuple[int, ...]


class ApplyTemplate(msgspec.Struct, frozen=True, tag="apply_template", kw_only=True):
    """Render a chat's messages into the prompt's text, without generating."""

    id: str = ""
    prompt: ChatPrompt


class CountTokens(msgspec.Struct, frozen=True, tag="count_tokens", kw_only=True):
    """Count the tokens that a chat's prompt has, without generating."""

    id: str = ""
    prompt: ChatPrompt


class Stats(msgspec.Struct, frozen=True, tag="stats"):
    """Request a `StatsReply`; the supervisor's heartbeat too."""

    id: str = ""


class Slots(msgspec.Struct, frozen=True, tag="slots"):
    """Request a `SlotsReply`, which is made between two steps."""

    id: str = ""


class ChangeSlot(msgspec.Struct, frozen=True, tag="change_slot", kw_only=True):
    """Keep what a slot holds in a file, fill it from one, or empty it, once no request has it."""

    id: str = ""
    action: Literal["save", "restore", "erase"]
    slot: int
    path: str = ""
    """The file; none is needed to erase."""


Question = Tokenize | Detokenize | ApplyTemplate | CountTokens | Stats | Slots | ChangeSlot
"""A request that is answered while the engine computes; whoever sends it fills in the `id`."""

LONG_FIELD: dict[type, str] = {
    Generate: "prompt",
    Tokenize: "text",
    Detokenize: "tokens",
    ApplyTemplate: "prompt",
    CountTokens: "prompt",
    Pool: "inputs",
}
"""The one field of each of these messages that may be long.

In the API process it is a `msgspec.Raw` where another process has read the request's body: encoded already,
and passed on without a copy (`server.ipc.frames.frame_parts`). A worker never sees the difference.
"""


class LoadAdapter(msgspec.Struct, frozen=True, tag="load_adapter"):
    """Load a LoRA adapter between two steps; answered when requests can use it: at once if it is loaded."""

    id: str
    adapter: AdapterSpec


class UnloadAdapter(msgspec.Struct, frozen=True, tag="unload_adapter"):
    """Refuse new requests that use the adapter; answered when the last one has ended and it is freed."""

    id: str
    adapter_id: int


class GiveWay(msgspec.Struct, frozen=True, tag="give_way"):
    """Let others' work go first from now on, or no more; for models that make vectors. Without an answer."""

    active: bool
    id: str = ""


class Drain(msgspec.Struct, frozen=True, tag="drain"):
    """Accept no new requests, finish those that run, then exit with status 0."""

    grace_s: float
    """Requests that still run after this many seconds are ended."""


Work = Generate | Pool
"""A request that is worked on in steps: events answer it."""

WorkerRequest = Generate | Pool | Cancel | Question | LoadAdapter | UnloadAdapter | GiveWay | Drain


# --- to the API process ---------------------------------------------------------------------------


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
    """The name of the error class in `models.errors`."""


class StepEvents(msgspec.Struct, frozen=True, tag="step", array_like=True):
    """All events of one engine step."""

    events: list[Event]


class TokenizeReply(msgspec.Struct, frozen=True, tag="tokenize_reply", array_like=True):
    """The tokens of a `Tokenize`'s text, with each one's bytes if pieces were requested."""

    id: str
    tokens: list[int]
    pieces: list[bytes] | None = None
    more: bool = False
    """True if another part of the reply follows."""


class DetokenizeReply(msgspec.Struct, frozen=True, tag="detokenize_reply", array_like=True):
    """The text of a `Detokenize`'s tokens."""

    id: str
    text: str
    more: bool = False
    """True if another part of the reply follows."""


class ApplyTemplateReply(msgspec.Struct, frozen=True, tag="apply_template_reply", array_like=True):
    """The prompt that the chat format makes of an `ApplyTemplate`'s messages."""

    id: str
    prompt: str
    more: bool = False
    """True if another part of the reply follows."""


class CountTokensReply(msgspec.Struct, frozen=True, tag="count_tokens_reply", array_like=True):
    """The number of tokens of a `CountTokens`'s prompt: a request with that prompt has it in its usage."""

    id: str
    n_tokens: int


class AdapterReply(msgspec.Struct, frozen=True, tag="adapter_reply", array_like=True):
    """A `LoadAdapter` or `UnloadAdapter` is done."""

    id: str


class StatsReply(msgspec.Struct, frozen=True, tag="stats_reply", kw_only=True, array_like=True):
    """A worker's load now and its totals since it started, in reply to `Stats`."""

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
    preemptions_total: int = 0
    entries_total: int = 0
    """The sequences of all steps together."""
    drafts_total: int = 0
    """The drafts that were checked."""
    step_counts: list[int] = []
    """The number of steps in each bucket of `server.engine.stats.STEP_BOUNDS_S`."""
    checkpoints: int = 0
    """The states that are kept for slots to go back to."""
    checkpoint_bytes: int = 0
    """The size of those states."""
    checkpoints_total: int = 0
    """The states that were copied."""
    rewinds_total: int = 0
    """The times that a slot went back to one."""


class SlotsReply(msgspec.Struct, frozen=True, tag="slots_reply", array_like=True):
    """The state of each slot of the model."""

    id: str
    slots: list[SlotState]


class ChangeSlotReply(msgspec.Struct, frozen=True, tag="change_slot_reply", array_like=True):
    """A `ChangeSlot` is done: the tokens that were kept, brought back or dropped, and the file's size."""

    id: str
    n_tokens: int
    n_bytes: int = 0
    ms: float = 0.0
    """The time that it took."""


Reply = (
    Loading
    | Ready
    | LoadFailed
    | StepEvents
    | TokenizeReply
    | DetokenizeReply
    | ApplyTemplateReply
    | CountTokensReply
    | StatsReply
    | SlotsReply
    | ChangeSlotReply
    | AdapterReply
    | Failure
)
