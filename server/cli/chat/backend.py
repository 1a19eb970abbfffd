"""`Backend`, the model behind `corral chat`, and the one that runs in a worker of the command's own."""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

from models.errors import CorralError, RequestError, WorkerError
from server.engine.events import Delta, Failure
from server.engine.sampling_params import SamplingParams
from server.ipc.messages import Generate
from server.ipc.prompts import ChatPrompt
from server.supervisor.event_iterator import iterate
from server.supervisor.supervisor import Supervisor

STOP_GRACE_S = 2.0
"""An answer has this many seconds to end when the program does."""


@dataclass(frozen=True, slots=True)
class ChatOptions:
    """The sampling of answers; None is the model's or llama.cpp's default."""

    temperature: float | None = None
    max_tokens: int | None = None
    seed: int | None = None

    def to_request(self) -> dict[str, Any]:
        """Return the options that are set, as fields of a request."""
        values = {"temperature": self.temperature, "max_tokens": self.max_tokens, "seed": self.seed}
        return {name: value for name, value in values.items() if value is not None}


class Backend(Protocol):
    """Answers a conversation. All methods belong to one event loop."""

    async def start(self) -> str:
        """Make the model ready, and return its name. Raises CorralError."""

    def answer(self, messages: list[dict[str, str]], options: ChatOptions) -> AsyncGenerator[str, None]:
        """Yield pieces of the answer; closed early, stop the model. Raises CorralError."""

    async def stop(self) -> None:
        """End all that `start` began."""


class LocalBackend:
    """A model in a worker of this program's own."""

    def __init__(self, supervisor: Supervisor, name: str) -> None:
        self._supervisor = supervisor
        self._name = name
        self._ids = itertools.count(1)

    async def start(self) -> str:
        self._supervisor.start()
        await self._supervisor.wait_ready()
        return self._name

    async def answer(self, messages: list[dict[str, str]], options: ChatOptions) -> AsyncGenerator[str, None]:
        request = Generate(
            id=f"chat-{next(self._ids)}",
            prompt=ChatPrompt(messages=list(messages)),
            params=SamplingParams(**options.to_request()),
            given=tuple(options.to_request()),
        )
        async with aclosing(iterate(self._supervisor.generate(self._name, request))) as events:
            async for event in events:
                if isinstance(event, Delta):
                    yield event.text
                elif isinstance(event, Failure):
                    raise _error_of(event)

    async def stop(self) -> None:
        await self._supervisor.stop(STOP_GRACE_S)


def _error_of(failure: Failure) -> CorralError:
    if failure.kind == "invalid_request":
        return RequestError(failure.message, failure.param, failure.code)
    return WorkerError(failure.message)
