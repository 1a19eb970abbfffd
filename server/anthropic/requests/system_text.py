"""`system_text`: a system prompt as one string, without the line that changes in every request. Pure.

Claude Code begins its system prompt with `x-anthropic-billing-header: cc_version=…; cch=…;`, which differs
from request to request. It says nothing to a model, and in front of everything else it would leave nothing of
the prompt to be found in the cache.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from server.anthropic.requests import refusals
from server.chat.content_parts import part_text

_BILLING = re.compile(r"\s*x-anthropic-billing-header:(?:[ \t]*[\w.-]+=[^;\n]*(?:;|(?=\n)|\Z))*[ \t]*\n*")


def system_text(content: str | Sequence[dict[str, Any]], path: str) -> str:
    """Return the texts of a system prompt, joined by line ends. Raises RequestError for other parts."""
    if isinstance(content, str):
        return _without_billing(content)
    texts: list[str] = []
    for i, part in enumerate(content):
        place = f"{path}[{i}]"
        if part.get("type") != "text":
            raise refusals.wrong_type(part, place, "text")
        given = part_text(part, place)
        text = _without_billing(given)
        if text or not given:
            texts.append(text)
    return "\n".join(texts)


def _without_billing(text: str) -> str:
    match = _BILLING.match(text)
    return text if match is None else text[match.end() :]
