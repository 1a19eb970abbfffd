"""Fresh ids of responses, conversations and items, in OpenAI's form: no two are ever the same."""

from __future__ import annotations

import secrets
from typing import Literal

Prefix = Literal["resp", "msg", "rs", "fc", "fco", "ctc", "ctco", "conv", "item"]

_OF_TYPES: dict[str, Prefix] = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
}


def new_id(prefix: Prefix) -> str:
    """Return `resp_` or another prefix, and 24 bytes at random."""
    return f"{prefix}_{secrets.token_hex(24)}"


def new_item_id(item_type: str) -> str:
    """Return a fresh id for an item of this type."""
    return new_id(_OF_TYPES.get(item_type, "item"))
