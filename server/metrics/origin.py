"""`Origin`: what is known of a request where it came in, for those who look at it further down.

It travels in a context variable, beside the calls that pass the request on: none of them has to know of it.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from dataclasses import dataclass, field

from server.presets.table import Choice


@dataclass(slots=True)
class Origin:
    """One HTTP request's beginning, and what its route has found out about it."""

    request_id: str | None = None
    """The id of the HTTP request; None where there is none."""
    path: str | None = None
    arrived_s: float = field(default_factory=time.monotonic)
    """The time at which it came, by `time.monotonic`."""
    arm: str = ""
    """The arm of an alias that the request was given to, as the settings name it; empty: there are none."""
    choice: Choice | None = None
    """The arm and layers chosen for it, if it asks for a preset."""
    prefix_key: str = ""
    """The key of the beginning of its first prompt; empty: it has none, or none is known yet."""
    called: set[int] = field(default_factory=set)
    """The choices whose answers turned out to be tool calls: the engine knows only that they stopped."""


_current: ContextVar[Origin] = ContextVar("corral.origin")


def begin_origin(request_id: str, path: str) -> Origin:
    """Let the tasks of this HTTP request find its origin from now on; return it."""
    origin = Origin(request_id, path, time.monotonic())
    _current.set(origin)
    return origin


def current_origin() -> Origin:
    """Return the origin of the request that this task serves; a new one where there is no HTTP request."""
    return _current.get(None) or Origin()
