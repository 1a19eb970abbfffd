"""`put_system`: a preset's system prompt in a request of any protocol that has one. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from server.presets.body import Body, member
from server.presets.table import SystemMode

_SYSTEM_ROLES = (b'"system"', b'"developer"')

_FIELDS: Final[dict[str, str]] = {
    "messages": "system",
    "count_tokens": "system",
    "response": "instructions",
    "ollama_generate": "system",
}
"""The field that has the system prompt beside the messages, in the protocols that have one."""
_LISTS: Final[dict[str, str]] = {
    "chat": "messages",
    "count_chat": "messages",
    "apply_template": "messages",
    "messages": "messages",
    "count_tokens": "messages",
    "response": "input",
    "ollama_chat": "messages",
}
_TEXT_ALONE = frozenset({"response", "ollama_chat", "ollama_generate"})
"""The purposes whose system prompts are one text; others' may be parts, too."""


def put_system(request: Body, purpose: str, text: str, mode: SystemMode) -> bool:
    """Put the text where the protocol has system prompts; False: the request has no place for it.

    A client's system prompt may be a field, or messages of the role `system` or `developer`.
    """
    field, list_name = _FIELDS.get(purpose), _LISTS.get(purpose)
    if field is None and list_name is None:
        return False
    items = None if list_name is None else request.items(list_name)
    if mode == "default" and (_is_given(request, field) or any(map(_is_system, items or ()))):
        return True
    if mode == "replace":
        if list_name is not None and items is not None and any(map(_is_system, items)):
            request.put_items(list_name, [item for item in items if not _is_system(item)])
        if field is not None:
            request.drop(field)
    if field is not None:
        _put_field(request, field, text, is_text_alone=purpose in _TEXT_ALONE)
    elif list_name is not None:
        _put_message(request, list_name, text, is_text_alone=purpose in _TEXT_ALONE)
    return True


def _is_given(request: Body, field: str | None) -> bool:
    return field is not None and request.raw(field) not in (None, b'""', b"[]")


def _is_system(item: bytes) -> bool:
    """Return True for a message of the system; items without a role, such as a call, are none."""
    return member(item, "role") in _SYSTEM_ROLES


def _put_field(request: Body, field: str, text: str, *, is_text_alone: bool) -> None:
    """Put the text before what the field has."""
    given = request.raw(field)
    if given is None or given in (b'""', b"[]"):
        request.put(field, text)
    elif is_text_alone:
        theirs = request.text(field)
        if theirs:  # else it is no text, and its schema says so
            request.put(field, f"{text}\n\n{theirs}")
    elif (parts := _with_parts(given, text)) is not None:
        request.put_items(field, parts)


def _put_message(request: Body, list_name: str, text: str, *, is_text_alone: bool) -> None:
    """Put the text before the first message, or into it where that is the system's."""
    messages = request.items(list_name)
    if messages is None:
        return
    if messages and _is_system(messages[0]):
        content = member(messages[0], "content")
        joined = None if content in (None, b"null", b'""', b"[]") else _joined(content, text, is_text_alone)
        if joined is not None:
            first = msgspec.json.decode(messages[0], type=dict[str, msgspec.Raw])
            first["content"] = msgspec.Raw(joined)
            request.put_items(list_name, [msgspec.json.encode(first), *messages[1:]])
            return
    message = msgspec.json.encode({"role": "system", "content": text})
    request.put_items(list_name, [message, *messages])


def _joined(content: bytes, text: str, is_text_alone: bool) -> bytes | None:
    """Return a message's content with the text before the client's; None: that is neither text nor parts."""
    if is_text_alone:
        is_text = content[:1] == b'"'
        return msgspec.json.encode(f"{text}\n\n{msgspec.json.decode(content)}") if is_text else None
    parts = _with_parts(content, text)
    return None if parts is None else b"[" + b",".join(parts) + b"]"


def _with_parts(content: bytes, text: str) -> list[bytes] | None:
    """Return the parts of a text before a client's content; None: that is neither text nor parts.

    Parts are joined with a line end. The client's text stays one of its own: what is looked for at its
    beginning is still there.
    """
    ours = msgspec.json.encode({"type": "text", "text": f"{text}\n"})
    if content[:1] == b'"':
        return [ours, b'{"type":"text","text":' + content + b"}"]
    if content[:1] == b"[":
        return [ours, *(bytes(part) for part in msgspec.json.decode(content, type=list[msgspec.Raw]))]
    return None
