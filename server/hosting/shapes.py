"""`shape_of`: the route that a body is for, told by the names of its members. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from models.errors import RequestError

Shape = Literal["chat", "text", "generate_text", "response", "embeddings", "rerank", "score"]
"""The purpose of a body, as `server.openai.requests.reading` has it."""

Members = Mapping[str, msgspec.Raw]
"""The members of a JSON object, each as its JSON."""

SHAPES = (
    "'messages' (a chat), 'prompt' (a completion), 'input' (embeddings; a response, if it is a list of items"
    " or stands beside a member that only responses have), 'query' with 'documents' or 'texts' (ranks),"
    " 'text_1' with 'text_2' (scores), 'text_input' (a text, as in the Open Inference Protocol); or several"
    " of them in 'instances'"
)
"""The shapes that are told apart, for people."""
_OF_RESPONSES = frozenset(
    {
        *("instructions", "max_output_tokens", "previous_response_id", "conversation", "reasoning"),
        *("text", "tools", "tool_choice", "include", "max_tool_calls", "store", "background"),
    }
)
"""Members that a request for a response may have, and one for vectors hasn't."""


def shape_of(members: Members, where: str = "the body") -> Shape:
    """Return the purpose of a body with these members. Raises RequestError that names the shapes."""
    names = {name for name, value in members.items() if bytes(value).strip() != b"null"}
    if "messages" in names:
        return "chat"
    if "query" in names and names & {"documents", "texts"}:
        return "rerank"
    if {"text_1", "text_2"} <= names:
        return "score"
    if "text_input" in names:
        return "generate_text"
    if "input" in names:
        return "response" if names & _OF_RESPONSES or _is_items(members["input"]) else "embeddings"
    if "prompt" in names:
        return "text"
    raise RequestError(
        f"{where} has none of the shapes that are answered here: {SHAPES}", code="unknown_shape"
    )


def _is_items(value: msgspec.Raw) -> bool:
    """Return True for the JSON of a list that begins with an object."""
    text = bytes(value)[:4096].lstrip()
    return text.startswith(b"[") and text[1:].lstrip().startswith(b"{")
