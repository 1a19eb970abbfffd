"""`Thinking`: what a request wants of a reasoning model's thoughts. Pure."""

from __future__ import annotations

import msgspec


class Thinking(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The switch, the effort and the length of the thoughts in an answer."""

    enabled: bool | None = None
    """None: as the template does by itself."""
    effort: str | None = None
    """The effort for templates that know it, such as `low`."""
    budget_tokens: int | None = None
    """At so many tokens of thoughts their end is forced; 0: none are begun where the template allows it."""
