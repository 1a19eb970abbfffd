"""The headers that tell a limited key what it has left, in OpenAI's or Anthropic's form. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from server.keys.limits import Allowance, Bucket

Headers = list[tuple[bytes, bytes]]


def rate_headers(allowance: Allowance, *, anthropic: bool) -> Headers:
    """Return the headers of what is left of requests and tokens; none of what isn't limited."""
    buckets = {"requests": allowance.requests, "tokens": allowance.tokens}
    write = _anthropic if anthropic else _openai
    return [
        (name.encode(), value.encode())
        for kind, bucket in buckets.items()
        if bucket is not None
        for name, value in write(kind, bucket)
    ]


def _openai(kind: str, bucket: Bucket) -> Iterator[tuple[str, str]]:
    yield f"x-ratelimit-limit-{kind}", str(bucket.limit)
    yield f"x-ratelimit-remaining-{kind}", str(bucket.left)
    yield f"x-ratelimit-reset-{kind}", shown_duration(bucket.reset_s)


def _anthropic(kind: str, bucket: Bucket) -> Iterator[tuple[str, str]]:
    full = datetime.now(UTC) + timedelta(seconds=bucket.reset_s)
    yield f"anthropic-ratelimit-{kind}-limit", str(bucket.limit)
    yield f"anthropic-ratelimit-{kind}-remaining", str(bucket.left)
    yield f"anthropic-ratelimit-{kind}-reset", full.strftime("%Y-%m-%dT%H:%M:%SZ")


def shown_duration(seconds: float) -> str:
    """Return a time as OpenAI's headers have it: `0s`, `120ms`, `7.66s`, `1m30s`."""
    n_ms = round(seconds * 1000)
    if n_ms < 1000:
        return f"{n_ms}ms" if n_ms else "0s"
    minutes, rest = divmod(n_ms, 60_000)
    shown = f"{rest / 1000:.3f}".rstrip("0").rstrip(".")
    return f"{minutes}m{shown}s" if minutes else f"{shown}s"
