"""`Pace`: the step that spreads many events at once over turns of the event loop."""

from __future__ import annotations

import asyncio
from collections import deque

from server.engine.events import Event
from server.ipc.parts import PART_WEIGHT, weight_of
from server.supervisor.protocol import EventListener


class Pace:
    """An `EventListener` that hands events on in order, of so much weight per turn and the rest in the next.

    Belongs to the running event loop. What the next listener raises, `on_event` or `settled` raises.
    """

    def __init__(self, listener: EventListener, weight_per_turn: int = PART_WEIGHT) -> None:
        self._listener = listener
        self._weight_per_turn = weight_per_turn
        self._room = weight_per_turn
        self._held: deque[Event] = deque()
        self._loop = asyncio.get_running_loop()
        self._turn: asyncio.Handle | None = None
        """The next turn, if one is due: there is none while nothing comes."""
        self._idle = asyncio.Event()
        self._idle.set()
        self._error: Exception | None = None

    def on_event(self, event: Event) -> None:
        if self._error is not None:
            raise self._error
        self._held.append(event)
        if self._turn is None:
            self._idle.clear()
            self._turn = self._loop.call_soon(self._next_turn)
        if self._room > 0:
            self._hand_on()
            if self._error is not None:
                raise self._error

    async def drained(self) -> None:
        await self.settled()
        await self._listener.drained()

    async def settled(self) -> None:
        """Return when nothing is held any more. Raises what the next listener has raised."""
        await self._idle.wait()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Drop what is held: nobody wants it any more."""
        self._held.clear()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None
        self._idle.set()

    def _next_turn(self) -> None:
        self._room = self._weight_per_turn
        self._hand_on()
        if self._held:
            self._turn = self._loop.call_soon(self._next_turn)
        else:
            self._turn = None
            self._room = self._weight_per_turn
            self._idle.set()

    def _hand_on(self) -> None:
        try:
            while self._held and self._room > 0:
                event = self._held.popleft()
                self._room -= weight_of(event)
                self._listener.on_event(event)
        except Exception as error:  # noqa: BLE001 — raised again by `on_event` or `settled`
            self._error = error
            self._held.clear()
