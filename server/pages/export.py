"""A chat as a file: JSON of all branches, which can be brought back, or Markdown of one. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from server.pages.records import ChatHead, Message
from server.pages.requests import ExportedMessage

_FENCE = re.compile(r"`{3,}")


def as_json(chat: ChatHead, messages: Sequence[Message]) -> bytes:
    """Return the chat with all its messages."""
    exported = [
        ExportedMessage(
            id=message.id,
            parent=message.parent,
            role=message.role,
            created=message.created,
            text=message.content.text,
            thoughts=message.content.thoughts,
            calls=message.content.calls,
            call_id=message.content.call_id,
            model=message.content.model,
        )
        for message in messages
    ]
    body: dict[str, Any] = {
        "format": "corral-chat-1",
        "title": chat.title,
        "settings": chat.settings,
        "head": chat.head,
        "messages": exported,
    }
    return msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n"


def as_markdown(chat: ChatHead, shown: Sequence[Message]) -> bytes:
    """Return a branch as text for people."""
    parts = [f"# {chat.title or 'Chat'}", _day(chat.created)]
    system = str(chat.settings.get("system", "")).strip()
    if system:
        parts += ["## System", system]
    for message in shown:
        parts += _section(message)
    return ("\n\n".join(part for part in parts if part) + "\n").encode()


def _section(message: Message) -> list[str]:
    content = message.content
    if message.role == "user":
        return ["## You", content.text]
    if message.role == "tool":
        return [f"### Result of {content.call_id}", _fenced(content.text, "")]
    parts = [f"## {content.model or 'Answer'}"]
    if content.thoughts:
        parts.append("\n".join(f"> {line}".rstrip() for line in content.thoughts.strip().splitlines()))
    if content.text:
        parts.append(content.text)
    for call in content.calls:
        parts += [f"### Call of {call.name} ({call.id})", _fenced(call.arguments, "json")]
    return parts


def _fenced(text: str, language: str) -> str:
    """Return a text in a fence that is longer than any in it."""
    longest = max((len(fence) for fence in _FENCE.findall(text)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def file_name(title: str, ending: str) -> str:
    """Return a plain name for the file of a chat."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", title).strip("-").lower()[:60].strip("-")
    return f"{words or 'chat'}.{ending}"
