"""What the engine is asked for: one prompt, already tokens, and how to continue it."""

from __future__ import annotations

from collections.abc import Sequence as Tokens
from dataclasses import dataclass
from typing import Literal

from models.errors import ContextLengthExceeded, RequestError
from server.engine.sampling_params import SamplingParams


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineRequest:
    """`n` continuations of `prompt_tokens`.

    `extra_stops` are the prompt format's stop strings, beside the client's in `params.stop`. `echo_text`
    begins each choice's text. `strip_leading_space` drops one space from the front of each answer.
    `prompt_param` is the name under which the client sent the prompt, for error messages.
    """

    id: str
    prompt_tokens: Tokens[int]
    params: SamplingParams
    n: int = 1
    extra_stops: tuple[str, ...] = ()
    cache_prompt: bool = True
    timeout_s: float | None = None
    return_tokens: bool = False
    echo_text: str = ""
    strip_leading_space: bool = False
    prompt_param: Literal["messages", "prompt"] = "prompt"
    n_probs: int | None = None
    """How many alternatives are told with each token's logprob; None: no logprobs at all."""
    score_prompt: bool = False
    """Logprobs of the prompt's tokens too; they are computed anew then, not taken from the cache."""
    priority: int = 0
    """Lower goes first; equals go first come, first served."""
    adapters: tuple[tuple[int, float], ...] = ()
    """LoRA adapters: (id, scale), ids ascending."""

    @property
    def wants_tokens(self) -> bool:
        """Whether the client is told of tokens, not only of text."""
        return self.return_tokens or self.n_probs is not None


def check_request(request: EngineRequest, n_ctx: int, n_vocab: int) -> None:
    """Raise RequestError for a request that can't be served whatever the load is."""
    n_prompt = len(request.prompt_tokens)
    if n_prompt == 0:
        raise RequestError("the prompt has no tokens; send at least one", param=request.prompt_param)
    if min(request.prompt_tokens) < 0 or max(request.prompt_tokens) >= n_vocab:
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
    if n_prompt + n_completion > n_ctx:
        where = request.prompt_param
        raise ContextLengthExceeded(
            f"This model's maximum context length is {n_ctx} tokens. However, you requested "
            f"{n_prompt + n_completion} tokens ({n_prompt} in the {where}, {n_completion} in the completion)."
            f" Please reduce the length of the {where} or the completion.",
            param=where,
        )
