"""`EngineRequest`: one prompt, already tokens, and how to continue it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from models.errors import ContextLengthExceeded, RequestError
from server.engine.answer_plan import AnswerPlan
from server.engine.batch import Adapters
from server.engine.events import AnswerForm, RequestReading
from server.engine.images import ImageSpan, is_image_token, without_images
from server.engine.resumption import Resumption
from server.engine.sampling_params import SamplingParams

IDLE_PRIORITY = 1 << 31
"""The priority of work for idle times: beside it any other request has the model for itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineRequest:
    """A request for `n` continuations of `prompt_tokens`.

    `extra_stops` are the prompt format's stop strings; the client's are in `params.stop`. `echo_text` begins
    each choice's text. `strip_leading_space` drops one space from the front of each answer.
    `prompt_param` is the name under which the client sent the prompt, for error messages.
    """

    id: str
    prompt_tokens: Sequence[int]
    params: SamplingParams
    images: tuple[ImageSpan, ...] = ()
    """The images among the prompt's tokens, ascending; text follows the last."""
    n: int = 1
    extra_stops: tuple[str, ...] = ()
    cache_prompt: bool = True
    borders: tuple[int, ...] = ()
    """The positions in the prompt at which a turn ends, so that the next prompt is the same up to there."""
    timeout_s: float | None = None
    return_tokens: bool = False
    echo_text: str = ""
    strip_leading_space: bool = False
    prompt_param: Literal["messages", "prompt"] = "prompt"
    n_probs: int | None = None
    """Each token's logprob is reported with this many alternatives; None: no logprobs at all."""
    after_sampling: bool = False
    """The logprobs are those with which tokens are drawn, not the model's own."""
    score_prompt: bool = False
    """If true the prompt's tokens get logprobs too; they are computed again then, not read from the cache."""
    priority: int = 0
    """Requests with a lower number go first; equals go first come, first served, see `rank`. Those with
    IDLE_PRIORITY are computed only while there are no others."""
    owner: str = ""
    """Whoever the request is for: owners get equal shares within a priority, see `FairShare`."""
    adapters: Adapters = ()
    stop_tokens: Mapping[int, str] = field(default_factory=dict)
    """The tokens without text, such as control tokens, that stop strings name, with their names."""
    guide: object | None = None
    """Only the runner understands it: the tokens that the answers may have; None: any."""
    plan: AnswerPlan | None = None
    """The places of thoughts and calls in the answers, where the engine must know them."""
    form: AnswerForm | None = None
    """The parts of the answers' text, for `Started`."""
    n_keep: int | None = None
    """The older half of what follows so many tokens is given up where the context is full; None: the answer
    ends there."""
    n_left_out: int = 0
    """So much of what the client sent is not in the prompt, for `Started`."""
    reading: RequestReading | None = None
    """The reading of the request, for `Started`; None where nobody wants it."""
    tells_tokens: bool = False
    """`Started` has the prompt's token ids."""
    tells_progress: bool = False
    """Each step that computes a part of the prompt is reported (`PromptProgress`)."""
    slot: int | None = None
    """The first choice waits for this slot, and finds there what it holds; None: it gets the best one."""
    predict_ms: float | None = None
    """An answer ends so long after its first token, if it has a whole line then; None: it has no limit."""
    spelled_tokens: frozenset[int] = frozenset()
    """These tokens without text, the marks of the answers' parts, are shown by their names."""
    has_replay: bool | None = None
    """Another worker can go on with the answers from their tokens, so events carry those; False: it can only
    begin anew. None: nobody wants to know."""
    resumption: Resumption | None = None
    """The request has begun in a worker that died, and goes on here."""

    @property
    def text_tokens(self) -> Sequence[int]:
        """The prompt's tokens without those of images."""
        return without_images(self.prompt_tokens) if self.images else self.prompt_tokens

    @property
    def wants_tokens(self) -> bool:
        """True if the request's events are made of tokens, not only of text."""
        return self.return_tokens or self.n_probs is not None

    @property
    def carries_tokens(self) -> bool:
        """True if the ids of tokens come with their text."""
        return self.return_tokens or self.has_replay is True


def check_request(request: EngineRequest, n_ctx: int, n_vocab: int) -> None:
    """Raise RequestError for a request that can't be served whatever the load is."""
    n_prompt = len(request.prompt_tokens)
    if n_prompt == 0:
        raise RequestError("the prompt has no tokens; send at least one", param=request.prompt_param)
    text = request.text_tokens
    if request.images:
        _check_images(request, len(text))
    if not text or min(text) < 0 or max(text) >= n_vocab:
        raise RequestError(
            f"the prompt holds a token id outside this model's vocabulary; ids go from 0 to {n_vocab - 1:,}",
            param=request.prompt_param,
        )
    for token, _ in request.params.logit_bias:
        if not 0 <= token < n_vocab:
            raise RequestError(
                f"logit_bias names token {token}; this model's ids go from 0 to {n_vocab - 1:,}",
                param="logit_bias",
            )
    n_completion = 1 if request.params.max_tokens is None else request.params.max_tokens
    if n_prompt + min(n_completion, 1) > n_ctx:  # whatever else was wanted, there must be room for one token
        raise too_long_error(n_ctx, n_prompt, n_completion, request.prompt_param)


def _check_images(request: EngineRequest, n_text: int) -> None:
    """Raise RequestError for what can't be with images. That their places are right is the sender's part."""
    assert n_text + sum(image.n_tokens for image in request.images) == len(request.prompt_tokens)
    if is_image_token(request.prompt_tokens[-1]):
        raise RequestError("the prompt ends with an image; let text follow", param=request.prompt_param)
    if request.score_prompt:
        raise RequestError("a prompt with images has no logprobs; leave them out", param=request.prompt_param)


def check_slot(slot: int, n_slots: int) -> None:
    """Raise RequestError for a slot that the model doesn't have."""
    if not 0 <= slot < n_slots:
        raise RequestError(
            f"there is no slot {slot}; this model's slots are 0 to {n_slots - 1}, one for each request that "
            "--parallel lets run at once",
            param="id_slot",
        )


def too_long_error(
    n_ctx: int,
    n_prompt: int,
    n_completion: int,
    where: Literal["messages", "prompt"],
    *,
    at_least: bool = False,
) -> ContextLengthExceeded:
    """Return the error of a prompt that leaves no room in the context; `at_least`: it has maybe more."""
    some = "at least " if at_least else ""
    return ContextLengthExceeded(
        f"This model's maximum context length is {n_ctx} tokens. However, you requested "
        f"{some}{n_prompt + n_completion} tokens ({some}{n_prompt} in the {where}, "
        f"{n_completion} in the completion). Please reduce the length of the {where}.",
        param=where,
        n_prompt=n_prompt,
        n_ctx=n_ctx,
    )
