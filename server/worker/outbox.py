"""What goes up: at most one message per step, and fewer when steps are quick.

A tiny model makes a token in less time than the API process needs to pass it on, and both share the cores. So
text that follows within `MERGE_S` of the last message travels with what comes next, joined to one `Delta` per
choice. Nothing waits longer than that plus one quick step: `flush` comes before any step that may be long.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from server.engine.events import Delta, Event
from server.worker.channel import Channel
from server.worker.messages import StepEvents

MERGE_S = 0.003


class Outbox:
    """Sends the engine's events in order. One thread."""

    def __init__(self, channel: Channel, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._channel = channel
        self._clock_s = clock_s
        self._held: list[Event] = []
        self._sent_s = -MERGE_S

    def send(self, events: list[Event]) -> None:
        """Send now, or hold text back for a moment. Anything else goes at once, with all that was held."""
        if not events:
            return
        self._held += events
        is_text = all(isinstance(event, Delta) for event in events)
        if not is_text or self._clock_s() - self._sent_s >= MERGE_S:
            self.flush()

    def flush(self) -> None:
        """Send what is held."""
        if self._held:
            self._channel.send(StepEvents(merged(self._held)))
            self._held = []
            self._sent_s = self._clock_s()


def merged(events: list[Event]) -> list[Event]:
    """The same events, the text of each choice joined where nothing else of its request lies between."""
    result: list[Event] = []
    open_: dict[tuple[str, int], int] = {}
    for event in events:
        if not isinstance(event, Delta):
            open_ = {key: at for key, at in open_.items() if key[0] != event.id}
            result.append(event)
            continue
        at = open_.get((event.id, event.index))
        if at is None:
            open_[event.id, event.index] = len(result)
            result.append(event)
        else:
            first = result[at]
            assert isinstance(first, Delta)
            result[at] = Delta(
                id=event.id,
                index=event.index,
                text=first.text + event.text,
                n_tokens=first.n_tokens + event.n_tokens,
                tokens=first.tokens + event.tokens,
            )
    return result
