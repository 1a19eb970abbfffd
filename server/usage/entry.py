"""`UsageEntry`: what one request, or all of a key's, a model's or a day's together, have used. Pure."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

UsageGroup = Literal["key", "model", "day"]
"""The ways in which usage is summed up: by key, by model, by day."""
GROUPS: tuple[UsageGroup, ...] = get_args(UsageGroup)
"""All of them, in the order in which they are shown."""


class UsageEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Counts of requests. `owner`, `key`, `model` and `day` are empty where they are summed up over."""

    day: str = ""
    """The day on which the requests ended, by UTC: `2026-01-31`."""
    owner: str = ""
    """The key's id, which stays when it is rotated."""
    key: str = ""
    """The key's name; empty also for requests without a key."""
    model: str = ""
    requests: int = 0
    errors: int = 0
    """The requests that ended with an error after they had begun."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    """The prompt tokens that weren't computed again."""
    completion_tokens: int = 0
    seconds: float = 0.0
    """The time for which their prompts and answers were computed, beside others'."""
