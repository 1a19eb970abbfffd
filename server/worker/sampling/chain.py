"""STEPS, all samplers in llama.cpp's order; a request's list of them, and llama.cpp's chain of a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from models.llamacpp.sampler import SamplerChain
from models.llamacpp.vocab import Vocab
from server.engine.sampling_params import SamplingParams
from server.worker.sampling.steps.distribution import Distribution
from server.worker.sampling.steps.dry import Dry
from server.worker.sampling.steps.logit_bias import LogitBias
from server.worker.sampling.steps.min_p import MinP
from server.worker.sampling.steps.mirostat import Mirostat
from server.worker.sampling.steps.penalties import Penalties
from server.worker.sampling.steps.step import Adjuster, Step
from server.worker.sampling.steps.temperature import DynamicTemperature, Greedy, Temperature
from server.worker.sampling.steps.top_k import TopK
from server.worker.sampling.steps.top_n_sigma import TopNSigma
from server.worker.sampling.steps.top_p import TopP
from server.worker.sampling.steps.typical_p import TypicalP
from server.worker.sampling.steps.xtc import Xtc

STEPS: Final[tuple[type[Step], ...]] = (
    LogitBias,
    Mirostat,  # picks: it stands for all that follows
    Penalties,
    Dry,
    Greedy,  # picks
    TopNSigma,
    TopK,
    TypicalP,
    TopP,
    MinP,
    Xtc,
    Temperature,
    DynamicTemperature,
    Distribution,  # picks
)
"""The samplers in llama.cpp's default order. A list ends at the first active step that picks the token."""

ADJUSTERS: Final[tuple[type[Adjuster], ...]] = tuple(step.adjuster for step in STEPS if step.adjuster)
"""The adjusters of the steps that have one, in the order in which they change a row."""


def active_steps(params: SamplingParams) -> list[Step]:
    """Return the samplers that `params`, which have been checked, ask for: the last one picks the token."""
    steps: list[Step] = []
    for kind in STEPS:
        step = kind(params)
        if step.is_active:
            steps.append(step)
            if step.picks:
                break
    return steps


def make_chain(
    vocab: Vocab, steps: Sequence[Step], seed: int, n_ctx: int, prompt_tokens: Sequence[int]
) -> SamplerChain:
    """Return llama.cpp's chain of `steps`; it has accepted as much of the prompt's end as they look at."""
    chain = SamplerChain(vocab, seed, n_ctx)
    for step in steps:
        step.add(chain)
    n_recent = max(step.n_recent for step in steps)
    for token in prompt_tokens[max(0, len(prompt_tokens) - n_recent) :]:
        chain.accept(token)
    return chain
