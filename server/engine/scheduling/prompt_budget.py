"""`PromptBudget`: the most tokens of prompts in a step, so that no stream stalls. Pure; no clock."""

from __future__ import annotations

from dataclasses import dataclass

from server.engine.speculation.step_cost import StepCost

CHUNK_MULTIPLE = 64
"""Chunks of prompts are a multiple of this many tokens: llama.cpp's CPU kernels work in blocks of as many
rows, and half a block takes three quarters of a block's time."""
PANEL_CHUNK = 32
"""The same for Corral's own matrix kernels, which work on 8 rows at a time: from 12 tokens on each costs
about as much (1.8 to 2.1 ms, 134 M Q5_K_M, one thread). Smaller chunks would cost new requests more steps
than they spare those that run."""
QUICK_STEPS = 6
"""A chunk takes no longer than so many decode-only steps: streams of a quick model needn't wait for long."""


@dataclass(frozen=True, kw_only=True)
class SchedulerConfig:
    """The token and time budgets of a step, and the length of a prefix that is worth a copy or a wait."""

    n_batch: int
    n_vocab: int
    n_stream: int = 0
    """Each slot has room for so many tokens, where passes are planned."""
    prefill_chunk_tokens: int = 512
    """A step has at most so many prompt tokens while other sequences generate."""
    prefill_tokens_alone: int = 512
    """A step has at most so many prompt tokens while no sequence generates, or each has only just begun. This
    bounds the time until a new request is seen."""
    gap_s: float = 0.2
    """A step with prompt tokens may take so many seconds while others generate; the bound is clamped to
    between 2 and `QUICK_STEPS` decode-only steps."""
    copy_tokens_min: int = 32
    """A prefix is copied from another slot, or waited for, if that saves at least so many tokens."""
    chunk_multiple: int = CHUNK_MULTIPLE
    """Chunks of prompts in steps in which others generate are a multiple of so many tokens."""


class PromptBudget:
    """The budget of a scheduler's steps, by what steps have cost."""

    def __init__(self, config: SchedulerConfig, step_cost: StepCost) -> None:
        self._config = config
        self._step_cost = step_cost

    def tokens(self, n_prompts: int, n_generating: int, n_tokens: int, *, has_priority: bool = False) -> int:
        """Return the prompt tokens of a step that has `n_tokens` of sequences that generate.

        When more sequences wait for their first token than for their next, the step may take longer, by the
        square of that ratio: larger chunks cost less per token, those computed together generate together,
        and it is the many who gain.

        A prompt that `has_priority` over streams of others, which aren't among the `n_generating`, leaves
        them a small part of each step.
        """
        config = self._config
        if not n_generating:
            alone = min(config.prefill_tokens_alone, config.n_batch - n_tokens)
            return min(alone, self._tokens_before_others(n_tokens)) if has_priority else alone
        without_s = self._step_cost.estimate(n_tokens)
        step_s = config.gap_s
        if without_s is not None:
            step_s = max(min(step_s, QUICK_STEPS * without_s), 2.0 * without_s)
        step_s *= max(1.0, n_prompts / n_generating) ** 2
        fitting = self._step_cost.prompt_tokens_within(step_s, n_tokens)
        if fitting is None:
            fitting = config.prefill_chunk_tokens // 2
        chunk = max(config.chunk_multiple, fitting - fitting % config.chunk_multiple)
        return min(chunk, config.prefill_chunk_tokens, config.n_batch - n_tokens)

    def _tokens_before_others(self, n_tokens: int) -> int:
        """Return the tokens of a prompt in a step beside `n_tokens` of streams that let it go first."""
        without_s = self._step_cost.estimate(n_tokens) or 0.0
        step_s = max(self._config.gap_s, QUICK_STEPS * without_s)
        fitting = self._step_cost.prompt_tokens_within(step_s, n_tokens)
        if fitting is None:
            return self._config.prefill_chunk_tokens
        multiple = self._config.chunk_multiple
        return max(multiple, fitting - fitting % multiple)
