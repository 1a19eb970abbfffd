"""Chats and messages of the web page, as they are kept and as the page gets them."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Role = Literal["user", "assistant", "tool"]
State = Literal["complete", "running", "stopped", "failed", "interrupted"]
"""`interrupted`: the server ended while the answer was made."""


class Call(msgspec.Struct, kw_only=True):
    """A tool call of an answer; it grows while the answer is made."""

    id: str
    name: str
    arguments: str = ""


class Content(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Everything that a message says."""

    text: str = ""
    thoughts: str = ""
    calls: list[Call] = []
    call_id: str | None = None
    """The call whose result a tool's message is."""
    model: str | None = None
    finish_reason: str | None = None
    error: str | None = None
    """The reason for which the answer failed."""
    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    tokens_per_second: float | None = None
    first_token_ms: float | None = None


class Message(msgspec.Struct, kw_only=True):
    """One message. Messages with the same parent are branches, of which the newest is the last."""

    id: str
    parent: str | None
    role: Role
    state: State
    created: float
    content: Content


class ChatHead(msgspec.Struct, kw_only=True):
    """A chat without its messages."""

    id: str
    title: str
    created: float
    updated: float
    head: str | None
    """The last message of the branch that is shown."""
    settings: dict[str, Any]
    """The model, the system prompt and the parameters of the chat's requests, by their names in a request."""
    snippet: str | None = None
    """The place where a search has found its words."""


class Missing(Exception):
    """There is no such chat or message, or it is another owner's."""
