"""Times as Ollama writes them: RFC 3339, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime

FOR_EVER_S = 292 * 365 * 86_400.0
"""Go's longest time: a model that is never unloaded is so by Ollama until then."""


def iso_now() -> str:
    """Return this moment."""
    return _text(datetime.now(UTC))


def iso_time(unix_s: float) -> str:
    """Return a moment, which is in Unix seconds."""
    return _text(datetime.fromtimestamp(unix_s, UTC))


def _text(time: datetime) -> str:
    return time.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
