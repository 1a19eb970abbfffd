"""Times as people write them: `30d`, `12h`, `2026-12-31`; how long ago, or until when. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from models.errors import ConfigError

_SPAN = re.compile(r"(\d{1,6})\s*(s|m|min|h|d|w)")
_LONGEST_S = 100 * 365 * 86_400
"""A span of more seconds is a mistake, and ends beyond the calendar sooner or later."""
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


def read_span(text: str, flag: str) -> int:
    """Return the seconds of `90s`, `15m`, `12h`, `30d` or `2w`. Raises ConfigError, naming the flag."""
    match = _SPAN.fullmatch(text.strip().lower())
    if match is None:
        raise ConfigError(f"{flag} {text!r} is no span of time; write 30m, 12h, 30d or 2w")
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds > _LONGEST_S:
        raise ConfigError(
            f"{flag} {text!r} is longer than 100 years, which is the limit; give a shorter time"
        )
    return seconds


def read_moment(text: str, now: float, flag: str) -> int:
    """Return the Unix seconds of a span from `now` on, or of a date, which counts to its end (UTC).

    Raises ConfigError for what is neither, and for a moment that has passed.
    """
    if _SPAN.fullmatch(text.strip().lower()):
        moment = int(now) + read_span(text, flag)
    else:
        with _within_the_calendar(text, flag):
            moment = int((_date(text, flag) + _one_day_if_date(text)).timestamp())
            shown_time(moment)
    if moment <= now:
        raise ConfigError(f"{flag} {text!r} has passed already; give a later one")
    return moment


def read_first_day(text: str, now: float, flag: str) -> str:
    """Return the day, as `2026-01-31`, on which something begins that a span ago or a date says."""
    if _SPAN.fullmatch(text.strip().lower()):
        return day_of(now - read_span(text, flag))
    with _within_the_calendar(text, flag):
        return _date(text, flag).astimezone(UTC).date().isoformat()


def day_of(seconds: float) -> str:
    """Return the day of a time in Unix seconds, by UTC."""
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def shown_time(seconds: int) -> str:
    """Return a time for people, by UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


@contextmanager
def _within_the_calendar(text: str, flag: str) -> Iterator[None]:
    """Raise ConfigError for a date that is in no year from 1 to 9999 by UTC."""
    try:
        yield
    except (OverflowError, ValueError) as error:
        raise ConfigError(f"{flag} {text!r} is too far away; give a nearer date") from error


def _date(text: str, flag: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ConfigError(
            f"{flag} {text!r} is neither a span such as 30d nor a date such as 2026-12-31"
        ) from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _one_day_if_date(text: str) -> timedelta:
    return timedelta(days=1 if len(text.strip()) <= len("2026-12-31") else 0)
