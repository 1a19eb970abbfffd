"""Requests of the web page, and a chat's branch as the body of a chat request. Pure."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

import msgspec

from models.errors import RequestError
from server.openai.requests import to_engine
from server.openai.requests.answer_options import answer_options
from server.openai.requests.reading import parse
from server.openai.requests.schemas import ChatCompletionRequest, unknown_fields
from server.pages.records import Call, ChatHead, Content, Message
from server.pages.store import new_id

S = TypeVar("S", bound=msgspec.Struct)

OWN_FIELDS = frozenset({"model", "messages", "stream", "stream_options", "n", "store", "metadata", "echo"})
"""A chat's parameters don't have these fields of a request: the server fills them in."""
MOST_MESSAGES = 10_000
"""A chat that is brought along has at most so many messages, a turn at most as many results."""
MOST_MODEL_CHARS = 512
"""A model's name has at most so many characters, as in every other request."""
_TITLE_CHARS = 200
_AT = re.compile(r" - at `\$\.?(.*)`$")


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A chat's settings."""

    model: str | None = None
    system: str = ""
    parameters: dict[str, Any] = {}
    """Parameters of chat completions, such as `temperature` and `tools`."""


class ExportedMessage(msgspec.Struct, kw_only=True):
    """A message of an exported chat. `parent` is another one's `id` there."""

    id: str
    role: Literal["user", "assistant", "tool"]
    parent: str | None = None
    created: float | None = None
    text: str = ""
    thoughts: str = ""
    calls: list[Call] = []
    call_id: str | None = None
    model: str | None = None


class ChatCreation(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /web/chats`: a new chat, or one that was exported."""

    title: str = ""
    settings: Settings = Settings()
    messages: list[ExportedMessage] = []
    head: str | None = None
    format: Literal["corral-chat-1"] | None = None


class ChatUpdate(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /web/chats/{id}`: what changes."""

    title: str | None = None
    settings: Settings | None = None
    head: str | None = None


class NewMessage(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A message of the user's, or the result of a tool call."""

    role: Literal["user", "tool"] = "user"
    text: str
    call_id: str | None = None


class NewTurn(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The body of `POST /web/chats/{id}/turns`: messages behind `parent`, to which the model answers.

    Without messages the model answers to `parent` again, beside its other answers.
    """

    parent: str | None = None
    messages: list[NewMessage] = []


def decode(body: bytes, schema: type[S]) -> S:
    """Return a body as a `schema`. Raises RequestError naming the field that is wrong."""
    try:
        return msgspec.json.decode(body or b"{}", type=schema)
    except msgspec.ValidationError as error:
        place = _AT.search(str(error))
        message = _AT.sub("", str(error))
        raise RequestError(
            f"{message[:1].lower()}{message[1:]}", param=place[1] if place else None, code="invalid_value"
        ) from error
    except msgspec.DecodeError as error:
        raise RequestError(
            f"We could not parse the JSON body of your request: {error}", code="invalid_json"
        ) from error


def check_settings(settings: Settings) -> None:
    """Raise RequestError where they are set for settings with which no turn could be answered.

    What depends on the model is found at the turn: the next setting may choose another one.
    """
    _check_model(settings.model, "settings.model")
    own = sorted(OWN_FIELDS & settings.parameters.keys())
    if own:
        raise RequestError(
            f"'{own[0]}' is no parameter of a chat; leave it out", param=f"parameters.{own[0]}"
        )
    request = parse(
        json.dumps({"messages": [{"role": "user", "content": "."}], **settings.parameters}).encode(),
        ChatCompletionRequest,
    )
    unknown = unknown_fields(request)
    if unknown:
        raise RequestError(
            f"this server doesn't know the parameter '{unknown[0]}'; /docs lists those of chat completions",
            param=f"parameters.{unknown[0]}",
            code="unknown_parameter",
        )
    to_engine.from_chat(request, answer_options(request), "settings")


def _check_model(name: str | None, param: str) -> None:
    if name is not None and len(name) > MOST_MODEL_CHARS:
        raise RequestError(
            f"a model's name has at most {MOST_MODEL_CHARS} characters, and this one has {len(name):,}; take "
            "one of /v1/models",
            param=param,
            code="invalid_value",
        )


def title_of(text: str) -> str:
    """Return a title for a chat that begins with this text: its first line, cut at a word."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    if len(line) <= 60:
        return line
    return line[:60].rpartition(" ")[0].rstrip(" ,;:.") + "…" if " " in line[:60] else line[:59] + "…"


def clean_title(title: str) -> str:
    """Return a title on one line and with an end."""
    return " ".join(title.split())[:_TITLE_CHARS]


def branch(messages: Sequence[Message], leaf: str | None) -> list[Message]:
    """Return the messages from the first one to `leaf`. Raises RequestError if there is no such message."""
    by_id = {message.id: message for message in messages}
    found: list[Message] = []
    current = leaf
    while current is not None:
        message = by_id.get(current)
        if message is None or len(found) > len(by_id):
            raise RequestError(f"this chat has no message '{current[:128]}'", param="parent")
        found.append(message)
        current = message.parent
    return found[::-1]


def new_messages(turn: NewTurn) -> list[Message]:
    """Return the messages of a turn, the answer's empty one the last."""
    if len(turn.messages) > MOST_MESSAGES:
        raise RequestError(f"a turn has at most {MOST_MESSAGES:,} messages", param="messages")
    made: list[Message] = []
    parent = turn.parent
    for place, each in enumerate(turn.messages):
        if (each.role == "tool") != (each.call_id is not None):
            raise RequestError(
                "the result of a tool has the 'call_id' of its call, and nothing else has one",
                param=f"messages[{place}].call_id",
            )
        content = Content(text=each.text, call_id=each.call_id)
        made.append(
            Message(
                id=new_id("msg"),
                parent=parent,
                role=each.role,
                state="complete",
                created=time.time(),
                content=content,
            )
        )
        parent = made[-1].id
    if parent is None:
        raise RequestError("a turn needs a message, or a 'parent' to answer to", param="messages")
    answer = Message(
        id=new_id("msg"),
        parent=parent,
        role="assistant",
        state="running",
        created=time.time(),
        content=Content(),
    )
    return [*made, answer]


def request_body(settings: Mapping[str, Any], messages: Sequence[Message]) -> bytes:
    """Return the body of the chat request for an answer to the last of these messages."""
    wanted = msgspec.convert(settings, Settings)
    system = [{"role": "system", "content": wanted.system}] if wanted.system.strip() else []
    body = {
        **wanted.parameters,
        "messages": [*system, *(each for message in messages for each in _wire(message))],
        "stream": True,
    }
    if wanted.model:
        body["model"] = wanted.model
    return msgspec.json.encode(body)


def _wire(message: Message) -> list[dict[str, Any]]:
    """Return a message as requests have it; an answer that says nothing is left out."""
    content = message.content
    if message.role == "user":
        return [{"role": "user", "content": content.text}]
    if message.role == "tool":
        return [{"role": "tool", "tool_call_id": content.call_id, "content": content.text}]
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in content.calls
        if _is_whole(call)
    ]
    if not content.text and not calls:
        return []
    wire: dict[str, Any] = {"role": "assistant", "content": content.text or None}
    if calls:
        wire["tool_calls"] = calls
    if content.thoughts:
        wire["reasoning_content"] = content.thoughts
    return [wire]


def _is_whole(call: Call) -> bool:
    """True if a call's arguments are complete: an answer that was stopped may have cut them."""
    try:
        return isinstance(json.loads(call.arguments), dict)
    except (ValueError, RecursionError):
        return False


def imported(creation: ChatCreation) -> tuple[ChatHead, list[Message]]:
    """Return a new chat and its messages with ids of their own. Raises RequestError."""
    check_settings(creation.settings)
    if len(creation.messages) > MOST_MESSAGES:
        raise RequestError(f"a chat has at most {MOST_MESSAGES:,} messages", param="messages")
    now = time.time()
    ids: dict[str, str] = {}
    messages: list[Message] = []
    for place, each in enumerate(creation.messages):
        if each.id in ids:
            raise RequestError("two messages have the same 'id'", param=f"messages[{place}].id")
        if each.parent is not None and each.parent not in ids:
            raise RequestError("no message before has this 'id'", param=f"messages[{place}].parent")
        _check_model(each.model, f"messages[{place}].model")
        ids[each.id] = new_id("msg")
        content = Content(
            text=each.text,
            thoughts=each.thoughts,
            calls=each.calls,
            call_id=each.call_id,
            model=each.model,
        )
        messages.append(
            Message(
                id=ids[each.id],
                parent=None if each.parent is None else ids[each.parent],
                role=each.role,
                state="complete",
                created=each.created or now,
                content=content,
            )
        )
    if creation.head is not None and creation.head not in ids:
        raise RequestError("the chat has no message with this 'id'", param="head")
    head = ids[creation.head] if creation.head is not None else messages[-1].id if messages else None
    chat = ChatHead(
        id=new_id("chat"),
        title=clean_title(creation.title),
        created=now,
        updated=now,
        head=head,
        settings=msgspec.to_builtins(creation.settings),
    )
    return chat, messages
