"""`run`: a request's events, passed through the steps that it needs on their way to its answer."""

from __future__ import annotations

from server.ipc.messages import Generate
from server.openai.steps.echo_logprobs import EchoLogprobs
from server.openai.steps.pace import Pace
from server.supervisor.protocol import EventListener, EventSource


async def run(source: EventSource, request: Generate, listener: EventListener) -> None:
    """Run the request as `source.subscribe` does, with `listener` behind every step that it needs."""
    if not request.score_prompt:
        await source.subscribe(listener)
        return
    pace = Pace(listener)
    try:
        await source.subscribe(EchoLogprobs(pace, request.n))
        await pace.settled()
    finally:
        pace.close()
