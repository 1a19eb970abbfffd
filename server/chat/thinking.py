"""`Thinking`: what a request wants of a reasoning model's thoughts. Pure."""

from __future__ import annotations

from typing import Any

import msgspec


class Thinking(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The switch, the effort and the length of the thoughts in an answer."""

    enabled: bool | None = None
    """None: as the template does by itself."""
    effort: str | None = None
    """The effort for templates that know it, such as `low`."""
    budget_tokens: int | None = None
    """At so many tokens of thoughts their end is forced; 0: none are begun where the template allows it."""

    @property
    def is_off(self) -> bool:
        """True if the request wants no thoughts: by its switch, else by its effort or a budget of 0."""
        if self.enabled is not None:
            return not self.enabled
        return self.effort == "none" or self.budget_tokens == 0

    @property
    def allowed_tokens(self) -> int | None:
        """The tokens after which thoughts end: 0 where they are off, also if the template has no switch."""
        return 0 if self.is_off else self.budget_tokens


def thinking_variables(thinking: Thinking) -> dict[str, Any]:
    """Return the variables by which chat templates are told; those that they don't know change nothing.

    A budget of 0 turns thoughts off, unless the request turns them on.
    """
    enabled, effort = False if thinking.is_off else thinking.enabled, thinking.effort
    variables: dict[str, Any] = {}
    if enabled is not None:
        mode = "enabled" if enabled else "disabled"
        variables |= {"enable_thinking": enabled, "thinking": enabled, "thinking_mode": mode}
    if effort not in (None, "none"):
        variables |= {"reasoning_effort": effort, "thinking_effort": effort}
    if thinking.budget_tokens is not None:
        variables["thinking_budget"] = thinking.budget_tokens
    return variables
