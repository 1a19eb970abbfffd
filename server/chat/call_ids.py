"""The ids of tool calls: ours, which never repeat, and in them the model's own. Pure.

A model that writes ids finds them again in its next prompt: so the calls that it has written stay what they
were, and the prompt goes on from them.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from collections.abc import Iterable

_OURS = re.compile(r"(?:call|toolu)_[0-9a-f]{24}_([a-zA-Z0-9_-]+)")
_OWN = re.compile(r"[a-zA-Z0-9_-]{1,32}")
"""Longer ones would make an id of more than 64 letters, which clients refuse."""


def new_call_id(own: str | None = None) -> str:
    """Return a fresh id of a tool call, in OpenAI's form, with the model's own at its end."""
    ident = f"call_{secrets.token_hex(12)}"
    return f"{ident}_{own}" if own is not None and _OWN.fullmatch(own) else ident


def own_ids(idents: Iterable[str]) -> dict[str, str]:
    """Return the model's own id of each of a chat's calls that has one.

    An id that the model wrote for two calls tells neither: those have ours.
    """
    found = {ident: match[1] for ident in idents if (match := _OURS.fullmatch(ident))}
    n_calls = Counter(found.values())
    return {ident: own for ident, own in found.items() if n_calls[own] == 1}
