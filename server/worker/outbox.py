"""`Outbox`: sends the engine's events, in at most one message per step and fewer when steps are quick.

Each message costs the API process and the client a wake-up, and on a small machine they take the cores from
the model. So text of quick steps that follows within `MERGE_S` of the last message travels with what comes
next, joined to one `Delta` per choice; and it goes just after a decode, while tokens are chosen and cores are
free: what the API process does then doesn't slow the model. Nothing waits longer than `MERGE_S` and one quick
step: `flush` comes before any step that may be long.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from server.engine.events import Delta, Event
from server.ipc.messages import StepEvents
from server.worker.channel import Channel

MERGE_S = 0.008
"""Text is held for at most this many seconds: 125 messages a second are more than anybody can read."""


class Outbox:
    """Sends the engine's events in order; a `DecodeListener`. One thread."""

    def __init__(self, channel: Channel, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._channel = channel
        self._clock_s = clock_s
        self._held: list[Event] = []
        self._n_steps = 0
        """Number of steps whose events are in `_held`."""
        self._sent_s = -MERGE_S

    def send(self, events: list[Event], *, quick: bool = False) -> None:
        """Send now, or hold text back for a moment if the next step will be `quick`.

        Anything else than text goes at once, with all that was held.
        """
        if not events:
            return
        self._held += events
        self._n_steps += 1
        if not quick:
            self.flush()
            return
        for event in events:
            if type(event) is not Delta:
                self.flush()
                return

    def decoded(self) -> None:
        """Send what has been held long enough: the model has just computed."""
        if self._held and self._clock_s() - self._sent_s >= MERGE_S:
            self.flush()

    def flush(self) -> None:
        """Send what is held."""
        if self._held:
            events = self._held if self._n_steps == 1 else merged(self._held)
            self._channel.send(StepEvents(events))
            self._held = []
            self._n_steps = 0
            self._sent_s = self._clock_s()


def merged(events: list[Event]) -> list[Event]:
    """Return the events with each choice's text joined where nothing else of its request lies between.

    An echo of the prompt stays by itself.
    """
    result: list[Event] = []
    open_: dict[tuple[str, int], list[Delta]] = {}
    for event in events:
        if not isinstance(event, Delta) or event.is_prompt:
            _close(open_, result, event.id)
            result.append(event)
        else:
            open_.setdefault((event.id, event.index), []).append(event)
    _close(open_, result, None)
    return result


def _close(open_: dict[tuple[str, int], list[Delta]], result: list[Event], id_: str | None) -> None:
    """Move the joined text of a request, or of all, from `open_` to `result`."""
    ended = [key for key in open_ if id_ is None or key[0] == id_]
    result.extend([_joined(open_.pop(key)) for key in ended])


def _joined(deltas: list[Delta]) -> Delta:
    first = deltas[0]
    if len(deltas) == 1:
        return first
    return Delta(
        id=first.id,
        index=first.index,
        text="".join([delta.text for delta in deltas]),
        n_tokens=sum([delta.n_tokens for delta in deltas]),
        tokens=tuple(token for delta in deltas for token in delta.tokens),
        logprobs=tuple(entry for delta in deltas for entry in delta.logprobs),
    )
