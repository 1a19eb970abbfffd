"""`MemoryAdvice`: the answers of whoever knows the machine to what fits into its memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from server.ipc.model_spec import ModelSpec
from server.supervisor.memory_check import Need
from server.supervisor.served_lengths import Lengths, no_lengths

NeedOfSpec = Callable[[ModelSpec], Awaitable[Need]]


async def unknown_need(spec: ModelSpec) -> Need:  # noqa: ARG001 - a `NeedOfSpec`
    """Return what fits: for machines where llama.cpp itself is to refuse what doesn't."""
    return Need()


@dataclass(frozen=True)
class MemoryAdvice:
    """The answers to what fits into memory; by default nothing is known before a worker tries."""

    need: NeedOfSpec = unknown_need
    """Returns the memory that a spec takes, and whether it fits into what is free now."""
    lengths: Callable[[list[ModelSpec]], Lengths] = no_lengths
    """Returns the contexts that clients are told of models that aren't loaded."""


NO_ADVICE = MemoryAdvice()
"""Nothing is known of the memory."""
