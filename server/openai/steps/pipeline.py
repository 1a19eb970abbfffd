"""`with_steps`: the steps that a request's events pass on their way to its answer. Pure."""

from __future__ import annotations

from server.ipc.messages import Generate
from server.openai.steps.echo_logprobs import EchoLogprobs
from server.supervisor.protocol import EventListener


def with_steps(request: Generate, listener: EventListener) -> EventListener:
    """Return `listener` behind every step that `request` needs; the step that is put on last comes first."""
    if request.score_prompt:
        listener = EchoLogprobs(listener, request.n)
    return listener
