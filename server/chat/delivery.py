"""`CheckedTemplate`: a template whose prompts have every message, or the chat is refused. Pure.

Whether a message reached the prompt isn't read off its words, which may stand elsewhere: the chat is rendered
once more with a mark at the end of every content, and the marks are looked for. A template that refuses the
chat, or drops a message, gets it with the fewest changes that help (`message_changes`); one that reads
contents as lists of parts gets those.

What was found for a chat counts for later ones of its kind, as long as their contents stand in the prompt in
the order that the marks had: so a usual chat is rendered once. Without late system messages a kind is which
roles follow each other, so that a chat that grows stays what it was; else it is the roles of all messages.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import msgspec

from models.errors import RequestError
from server.chat.message_changes import SYSTEM_ROLES, Changes, Message, Messages, possible_changes
from server.chat.thought_blocks import has_thoughts

Variables = Mapping[str, Any]
Render = Callable[[Messages, Variables], str]
"""Renders messages with variables. Raises RequestError where the template refuses them."""

_N_KEPT = 256
"""The ways of this many kinds of chats are kept."""
_MAX_ORDER = 1_024
"""An order of more messages than this isn't kept."""
_MAX_SEARCH = 4_096
"""In longer chats it isn't looked for which message the template refuses."""

# Digits only: no filter of a template changes them.
_SECRET = "".join(str(secrets.randbelow(10)) for _ in range(16))
_CALLS, _TOOLS = 5_000_000, 9_000_000
"""The numbers of the marks of calls and tools begin here; below are the places of messages."""
_MARK = re.compile(_SECRET + r"(\d{7})")


@dataclass(frozen=True)
class _Variant:
    """A way to hand over what a template may expect in one of two forms."""

    without_tools: Mapping[str, Any]
    typed: bool

    def render(self, render: Render, messages: Messages, variables: Variables) -> str:
        form = _typed(messages) if self.typed else messages
        return render(form, {**self.without_tools, **variables})


# Most templates test for None, as Transformers passes it; those made for tools alone just walk the list.
_NONE: dict[str, Any] = {"tools": None, "documents": None}
_EMPTY: dict[str, Any] = {"tools": [], "documents": [], "functions": []}
# Firefunction's prints the functions, written as JSON already.
_TEXT: dict[str, Any] = {"tools": None, "documents": None, "functions": "[]"}
_VARIANTS = tuple(_Variant(tools, typed) for typed in (False, True) for tools in (_NONE, _EMPTY, _TEXT))


@dataclass(frozen=True)
class _Way:
    """A form in which a kind of chat reaches the prompt whole. `order` None: the messages keep theirs."""

    variant: _Variant
    changes: Changes
    order: tuple[int, ...] | None


@dataclass(frozen=True)
class _Loss:
    """Why a way fails: the template's refusal, or the messages that it drops."""

    variant: _Variant
    refusal: RequestError | None
    dropped: tuple[int, ...] = ()


class CheckedTemplate:
    """Renders chats by one template. Not thread-safe.

    `plain` are the variables of a chat that asks for nothing special: with them it is found out once in which
    form the template reads messages.
    """

    def __init__(self, render: Render, plain: Variables) -> None:
        self._render, self._plain = render, plain
        self._kept: dict[bytes, _Way] = {}
        self._variants: tuple[_Variant, ...] = ()

    def render(self, messages: Messages, variables: Variables, kind: bytes = b"") -> str:
        """Return the prompt of messages with string contents.

        `kind` must differ for variables that can change what becomes of a message. Raises RequestError, which
        names a message that the template refuses or drops in every form.
        """
        keys = _keys(messages, kind)
        way = next((self._kept[key] for key in keys if key in self._kept), None)
        if way is not None:
            text = self._by_known_way(way, messages, variables)
            if text is not None:
                return text
        way, text = self._find(messages, variables)
        self._keep(keys[0 if way.order is None else -1], way)
        return text

    def _by_known_way(self, way: _Way, messages: Messages, variables: Variables) -> str | None:
        """Return the prompt; None if the contents aren't all in it, or the template refuses this chat."""
        try:
            text = way.variant.render(self._render, way.changes.apply(messages), variables)
        except RequestError:
            return None
        place = 0
        for i in range(len(messages)) if way.order is None else way.order:
            if not _must_show(messages[i]):
                continue
            content = _content(messages[i])
            found = text.find(content, place)
            if found < 0:  # Llama 3's template writes a tool's result as JSON
                content = json.dumps(content, ensure_ascii=False)[1:-1]
                found = text.find(content, place)
            if found < 0:
                return None
            place = found + len(content)
        return text if all(name in text for name in _names(messages, variables)) else None

    def _find(self, messages: Messages, variables: Variables) -> tuple[_Way, str]:
        losses: list[_Loss] = []
        marked = _Marked(_marked(messages), _marked_tools(variables), _things(messages, variables))
        for variant in self._usable_variants():
            for changes in possible_changes(messages):
                found = self._try(variant, changes, messages, marked, variables)
                if isinstance(found, _Loss) and (more := _with_dropped_system(changes, found, messages)):
                    losses.append(found)
                    found = self._try(variant, more, messages, marked, variables)
                if not isinstance(found, _Loss):
                    return found
                losses.append(found)
        raise self._explanation(losses, messages, variables)

    def _try(
        self, variant: _Variant, changes: Changes, messages: Messages, marked: _Marked, variables: Variables
    ) -> tuple[_Way, str] | _Loss:
        try:
            text = variant.render(self._render, changes.apply(marked.messages), marked.variables)
            found = list(dict.fromkeys(int(place) for place in _MARK.findall(text)))
            order = tuple(place for place in found if place < _CALLS)
            dropped = {i for i, message in enumerate(messages) if _must_show(message)} - set(order)
            dropped |= {place for mark, place in marked.things.items() if mark not in found}
            if dropped:
                return _Loss(variant, None, tuple(sorted(dropped)))
            natural = all(a < b for a, b in pairwise(order))
            text = variant.render(self._render, changes.apply(messages), variables)
        except RequestError as error:
            return _Loss(variant, error)
        return _Way(variant, changes, None if natural else order), text

    def _keep(self, key: bytes, way: _Way) -> None:
        if way.order is not None and len(way.order) > _MAX_ORDER:
            return
        self._kept.pop(key, None)
        if len(self._kept) >= _N_KEPT:
            self._kept.pop(next(iter(self._kept)))
        self._kept[key] = way

    def unchecked(self, messages: Messages, variables: Variables) -> str:
        """Return the prompt in the first form in which the template shows messages, whatever it drops."""
        return self._usable_variants()[0].render(self._render, messages, variables)

    def _usable_variants(self) -> tuple[_Variant, ...]:
        """Return the variants in which the template shows a user's message; all, if none does."""
        if not self._variants:
            chat = _marked([{"role": "user", "content": "?"}])
            self._variants = tuple(v for v in _VARIANTS if self._shows(v, chat)) or _VARIANTS
        return self._variants

    def _shows(self, variant: _Variant, chat: Messages) -> bool:
        try:
            return bool(_MARK.search(variant.render(self._render, chat, self._plain)))
        except RequestError:
            return False

    def _explanation(self, losses: list[_Loss], messages: Messages, variables: Variables) -> RequestError:
        drops = [loss for loss in losses if loss.dropped]
        if drops:
            return _dropped(messages, min(drops, key=lambda loss: len(loss.dropped)).dropped[0])
        first = losses[0]
        assert first.refusal is not None
        place = self._refused_place(first.variant, messages, variables)
        where = "these messages"
        if place is not None:
            where = f"messages[{place}], of role '{messages[place]['role']}'"
        return RequestError(
            f"the model's chat template refuses {where}: {first.refusal.message}",
            param="messages" if place is None else f"messages[{place}]",
        )

    def _refused_place(self, variant: _Variant, messages: Messages, variables: Variables) -> int | None:
        """Return the place of the message with which the refusals begin."""
        if not 0 < len(messages) <= _MAX_SEARCH:
            return None
        taken, refused = 0, len(messages)
        while refused - taken > 1:
            middle = (taken + refused) // 2
            try:
                variant.render(self._render, messages[:middle], variables)
                taken = middle
            except RequestError:
                refused = middle
        return refused - 1


def _with_dropped_system(changes: Changes, loss: _Loss, messages: Messages) -> Changes | None:
    """Return the changes with those system messages among them that got lost; None if there are none."""
    system = {i for i in loss.dropped if messages[i]["role"] in SYSTEM_ROLES} - changes.system
    return replace(changes, system=changes.system | system) if system else None


def _dropped(messages: Messages, place: int) -> RequestError:
    if place < 0:
        return RequestError("the model's chat template shows no tools here; leave 'tools' out", param="tools")
    role = messages[place]["role"]
    remedy = (
        "send its text as a user message, or use a model whose template has tools"
        if role == "tool"
        else "send its text in another message, or choose a built-in format with prompt_format"
    )
    return RequestError(
        f"the model's chat template has no place for messages[{place}], of role '{role}'; {remedy}",
        param=f"messages[{place}]",
    )


@dataclass(frozen=True)
class _Marked:
    """A chat and its tools with marks; `things` has the marks of calls and tools with their places."""

    messages: Messages
    variables: Variables
    things: dict[int, int]


def _things(messages: Messages, variables: Variables) -> dict[int, int]:
    """Return the marks of calls with the place of their message, and of tools, whose place is -1."""
    places = [place for place, message in enumerate(messages) for _ in message.get("tool_calls") or ()]
    calls = {_CALLS + number: place for number, place in enumerate(places)}
    return calls | {_TOOLS + number: -1 for number in range(len(_tools(variables)))}


def _tools(variables: Variables) -> list[dict[str, Any]]:
    return variables.get("tools") or variables.get("xml_tools") or []


def _names(messages: Messages, variables: Variables) -> Iterator[str]:
    """Yield the names of the tools that are offered, and of those called."""
    for tool in _tools(variables):
        yield tool.get("function", tool)["name"]
    for message in messages:
        for call in message.get("tool_calls") or ():
            yield call["function"]["name"]


def _marked_tools(variables: Variables) -> Variables:
    """Return the variables with a mark at the end of each tool's description."""
    marked = []
    for number, tool in enumerate(_tools(variables)):
        function = tool.get("function", tool)
        described = {
            **function,
            "description": f"{function.get('description', '')}{_SECRET}{_TOOLS + number:07d}",
        }
        marked.append({**tool, "function": described} if "function" in tool else described)
    name = "tools" if variables.get("tools") else "xml_tools"
    return {**variables, name: marked} if marked else variables


def _marked_calls(messages: Messages) -> Messages:
    """Return the messages with one more argument in each call, which has the mark as its name."""
    number = _CALLS
    made: Messages = []
    for message in messages:
        calls = []
        for call in message.get("tool_calls") or ():
            calls.append(_marked_call(call, f"{_SECRET}{number:07d}"))
            number += 1
        made.append({**message, "tool_calls": calls} if calls else message)
    return made


def _marked_call(call: dict[str, Any], mark: str) -> dict[str, Any]:
    arguments = call["function"]["arguments"]
    given = json.loads(arguments) if isinstance(arguments, str) else arguments
    more: Any = {**given, mark: ""}
    return {
        **call,
        "function": {
            **call["function"],
            "arguments": json.dumps(more, ensure_ascii=False) if isinstance(arguments, str) else more,
        },
    }


def _marked(messages: Messages) -> Messages:
    """Return the messages with a mark at the end of every content that must show."""
    return [
        {**message, "content": f"{message['content']}{_SECRET}{place:07d}"}
        if _is_marked(message)
        else message
        for place, message in enumerate(_marked_calls(messages))
    ]


def _content(message: Message) -> str:
    """Return the words that the prompt must have: templates may trim them."""
    content = message.get("content")
    return content.strip() if isinstance(content, str) else ""


def _must_show(message: Message) -> bool:
    """Return True unless there is nothing to show, or thoughts, which templates leave out of old answers."""
    return _is_marked(message) and not (message["role"] == "assistant" and has_thoughts(message["content"]))


def _is_marked(message: Message) -> bool:
    """Return True if the message has words, or is a tool's: that it said nothing counts, too."""
    return bool(_content(message)) or (message["role"] == "tool" and isinstance(message["content"], str))


def _keys(messages: Messages, kind: bytes) -> list[bytes]:
    """Return the digests of the chat's kinds, the widest first."""
    traits = [
        (m["role"], bool(_content(m)), *(k for k in m if k not in ("role", "content"))) for m in messages
    ]
    kinds: list[Any] = [traits]
    if not any(message["role"] in SYSTEM_ROLES for message in messages[1:]):
        kinds.insert(0, [traits[:1], traits[-1:], sorted(set(pairwise(traits)))])
    return [hashlib.blake2b(msgspec.msgpack.encode([one, kind]), digest_size=16).digest() for one in kinds]


def _typed(messages: Messages) -> Messages:
    """Return the messages with string contents as a list of one text part."""
    return [
        {**message, "content": [{"type": "text", "text": message["content"]}]}
        if isinstance(message.get("content"), str)
        else message
        for message in messages
    ]
