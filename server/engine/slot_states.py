"""`SlotState`: what one slot does, for those who watch a server; it has nothing of what clients say."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from server.engine.batch import Adapters
from server.engine.sampling_params import SamplingParams
from server.engine.sequence import Sequence
from server.engine.slot import Slot


class SlotTask(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The sequence that has a slot."""

    id: int
    """A number of its own in the engine, ascending in the order of arrival."""
    request_id: str
    n_processed: int
    """The tokens of its prompt that were computed."""
    n_cached: int
    """The tokens of its prompt that were found in the cache."""
    n_generated: int
    n_left: int | None
    """The most tokens that may follow; None: the context is the only limit."""
    has_new_line: bool
    """True if a line has ended in its answer."""
    params: SamplingParams
    """Its parameters, but for those that are texts or tokens of the client."""
    n_probs: int = 0
    n_keep: int = 0
    adapters: Adapters = ()


class SlotState(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """One slot at one moment between two steps."""

    id: int
    n_ctx: int
    speculative: bool
    """True if answers may be guessed ahead."""
    n_held: int
    """The tokens in its part of the KV cache, also while nobody has it."""
    task: SlotTask | None = None
    """The sequence that has it; None: it is idle."""


def slot_states(
    slots: Iterable[Slot], n_ctx: int, piece: Callable[[int], bytes], *, speculative: bool
) -> list[SlotState]:
    """Return the state of each slot; `piece` spells a token."""
    return [
        SlotState(
            id=slot.id,
            n_ctx=n_ctx,
            speculative=speculative,
            n_held=slot.n_held,
            task=None if slot.owner is None else _task(slot.owner, piece),
        )
        for slot in slots
    ]


def _task(sequence: Sequence, piece: Callable[[int], bytes]) -> SlotTask:
    group, request = sequence.group, sequence.group.request
    limit = request.params.max_tokens
    n_prompt_there = min(sequence.n_computed, sequence.n_prompt)
    generated = sequence.tokens[sequence.n_prompt :]
    return SlotTask(
        id=sequence.id,
        request_id=group.id,
        n_processed=max(0, n_prompt_there - group.n_cached),
        n_cached=group.n_cached,
        n_generated=sequence.n_generated,
        n_left=None if limit is None else max(0, limit - sequence.n_generated),
        has_new_line=any(b"\n" in piece(token) for token in generated),
        params=msgspec.structs.replace(request.params, stop=(), logit_bias=(), dry_sequence_breakers=()),
        n_probs=request.n_probs or 0,
        n_keep=request.n_keep or 0,
        adapters=request.adapters,
    )
