"""`TemplatePrompt`: what a template makes of a chat, and how the answer is to be read. Pure."""

from __future__ import annotations

import msgspec


class TemplatePrompt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A rendered prompt. It crosses from the template's process to the renderer."""

    text: str
    is_generic: bool = False
    """If true, tools and calls stand in the prompt in the generic format, see `generic_tools`."""
    thoughts: tuple[str, str] | None = None
    """The marks around thoughts; None: the template knows none, or marks them as no `THOUGHT_BLOCKS` does."""
    thinks: bool = False
    """The prompt ends within thoughts."""
    closing: str = ""
    """The text that ends thoughts before content, as the template writes it; empty where there are none."""
