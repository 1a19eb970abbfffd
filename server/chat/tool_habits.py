"""`ToolHabits`: what a chat template does with tools and calls, found out by rendering marks. Pure.

Templates differ in what they want: arguments as an object or as JSON text, one call to a message or many,
content beside calls or not. Nothing tells it but the template itself, so it is asked once, by small chats.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from models.errors import RequestError
from server.chat.call_ids import own_ids
from server.chat.message_changes import Message, Messages

Shown = Callable[[Messages, list[dict[str, Any]]], str]
"""Renders a chat with tools. Raises RequestError where the template refuses them."""

ArgumentsForm = Literal["text", "object"]

ToolForm = Callable[[list[dict[str, Any]]], dict[str, Any]]
"""Returns the variables in which a template gets tools."""


def _as_text(tools: list[dict[str, Any]]) -> dict[str, Any]:
    """Return Firefunction's variable: the functions as JSON text."""
    functions = json.dumps([tool["function"] for tool in tools], indent=4, ensure_ascii=False)
    return {"tools": None, "functions": functions}


def _as_xml_tools(tools: list[dict[str, Any]]) -> dict[str, Any]:
    """Return SmolLM3's variable: the functions alone."""
    return {"xml_tools": [tool["function"] for tool in tools]}


TOOL_FORMS: tuple[ToolForm, ...] = (lambda tools: {"tools": tools}, _as_text, _as_xml_tools)
"""The forms in which templates read tools, the usual first."""


def has_calls(messages: Messages) -> bool:
    """Return True if the chat has calls or their results."""
    return any(message.get("tool_calls") or message["role"] == "tool" for message in messages)


def is_of_calls(refusal: RequestError, messages: Messages) -> bool:
    """Return True unless a template's refusal of these messages has another cause than tools and calls.

    It has if it names a message without calls, as long as every call has its result: a chat that was
    interrupted in the midst of calls isn't the order that templates expect.
    """
    place = re.fullmatch(r"messages\[(\d+)\]", refusal.param or "")
    if place is None:
        return True
    refused = messages[int(place[1])]
    if refused.get("tool_calls") or refused["role"] == "tool":
        return True
    n_calls = sum(len(message.get("tool_calls") or ()) for message in messages)
    n_results = sum(1 for message in messages if message["role"] == "tool")
    return n_calls > n_results


_TOOL, _FIRST, _SECOND, _WORDS, _RESULT = (str(10**19 + secrets.randbelow(9 * 10**19)) for _ in range(5))
_ID = "abcdef123"
"""Mistral's templates refuse ids of another length than nine letters and digits."""


@dataclass(frozen=True)
class ToolHabits:
    """A template's ways with calls. Messages that `prepared` returns are what it wants."""

    shows_tools: bool
    shows_calls: bool
    """True if calls and results reach the prompt."""
    arguments: ArgumentsForm = "text"
    parallel: bool = True
    """True if one message may have several calls."""
    beside_content: bool = True
    """True if the content of a message with calls is shown, and before the results."""
    ids: Literal["any", "short", "function"] = "any"
    """`short`: ids must have nine letters or digits; `function`: an id has the function's name, as Kimi's."""
    between: str | None = None
    """This answer must stand between a result and a user's turn; None: there needn't be one."""

    def prepared(self, messages: Messages) -> Messages:
        """Return the messages with calls in the form that the template wants; others stay as they are."""
        if not has_calls(messages):
            return messages
        split = messages if self.parallel else _with_single_calls(messages)
        ids = self._new_ids(split)
        made: Messages = []
        for message in split:
            follows_result = bool(made) and made[-1]["role"] == "tool"
            if self.between is not None and follows_result and message["role"] == "user":
                made.append({"role": "assistant", "content": self.between})
            if "tool_call_id" in message:
                made.append({**message, "tool_call_id": ids.get(message["tool_call_id"])})
            elif not message.get("tool_calls"):
                made.append(message)
            else:
                made += self._with_calls(message, [self._call(call, ids) for call in message["tool_calls"]])
        return made

    def _with_calls(self, message: Message, calls: Messages) -> Messages:
        """Return a message with calls, in front of it its content if that can't stand beside them."""
        if not message.get("content") or self.beside_content:
            return [{**message, "content": message.get("content") or "", "tool_calls": calls}]
        rest = {name: value for name, value in message.items() if name != "tool_calls"}
        return [rest, {"role": "assistant", "content": "", "tool_calls": calls}]

    def _new_ids(self, messages: Messages) -> dict[str, str]:
        """Return each id of the chat with the one that the template gets."""
        calls = [call for message in messages for call in message.get("tool_calls") or () if "id" in call]
        ids = [m["tool_call_id"] for m in messages if "tool_call_id" in m] + [call["id"] for call in calls]
        known = {ident: ident for ident in ids} | own_ids(dict.fromkeys(ids))
        if self.ids == "short":
            return {ident: _short_id(given) for ident, given in known.items()}
        if self.ids == "function":
            for number, call in enumerate(calls):
                known[call["id"]] = f"functions.{call['function']['name']}:{number}"
        return known

    def _call(self, call: dict[str, Any], ids: dict[str, str]) -> dict[str, Any]:
        function = call["function"]
        arguments = function["arguments"]
        if isinstance(arguments, str):
            arguments = arguments or "{}"
            if self.arguments == "object":
                arguments = json.loads(arguments)
        elif self.arguments == "text":
            arguments = json.dumps(arguments, ensure_ascii=False)
        made = {"type": "function", **call, "function": {**function, "arguments": arguments}}
        if "id" in call:
            made["id"] = ids[call["id"]]
        return made


def learned(render: Shown) -> ToolHabits:
    """Return the habits of a template."""
    tools = [_tool()]
    shows_tools = _TOOL in _rendered(render, [_user()], tools)
    offered = tools if shows_tools else []
    forms: tuple[ArgumentsForm, ...] = ("text", "object")
    written = {form: _rendered(render, _chat(_calls(form, _FIRST)), offered) for form in forms}
    if not _shows(written["text"]) and not _shows(written["object"]):
        return ToolHabits(shows_tools=shows_tools, shows_calls=False)
    form = _form(written["text"], written["object"])
    content, both = _chat(_calls(form, _FIRST), _WORDS), _chat(_calls(form, _FIRST, _SECOND))
    text = _rendered(render, both, offered)
    return ToolHabits(
        shows_tools=shows_tools,
        shows_calls=True,
        arguments=form,
        parallel=_shows(text) and _SECOND in text,
        beside_content=_WORDS in _rendered(render, content, offered).partition(_RESULT)[0],
        ids=_ids(render, form),
        between=_between(render, _chat(_calls(form, _FIRST))),
    )


def _between(render: Shown, chat: Messages) -> str | None:
    """Return the shortest answer that a template wants between a result and a user's turn."""
    if _shows(_rendered(render, [*chat, _user()], [])):
        return None
    for words in ("", " "):
        if _shows(_rendered(render, [*chat, {"role": "assistant", "content": words}, _user()], [])):
            return words
    return None


def _ids(render: Shown, form: ArgumentsForm) -> Literal["any", "short", "function"]:
    """Return the kind of ids that the template wants."""
    long = "call_0123456789abcdef01234567"
    chat = _chat(_calls(form, _FIRST, ident=long))
    for message in chat:
        message.pop("name", None)
    text = _rendered(render, chat, [])
    if not _shows(text):
        return "short" if _shows(_rendered(render, _chat(_calls(form, _FIRST)), [])) else "any"
    return "function" if long[:-1] in text and "look_up" not in text else "any"


def _form(text: str, as_object: str) -> ArgumentsForm:
    """Return the better form of arguments.

    Text is kept letter by letter, so that a prompt goes on as the model wrote it; it is chosen where the
    template prints it as it would print the object. Where that differs, it is a string within a string.
    """
    if not _shows(as_object):
        return "text"
    if text == as_object:
        return "text"
    # An object that isn't printed as JSON, but in Python's notation, was meant to be text.
    in_json, in_python = (f"{quote}{_FIRST}{quote}" for quote in ('"', "'"))
    if _shows(text) and in_python in as_object and in_json not in as_object and in_json in text:
        return "text"
    return "object"


def _shows(text: str) -> bool:
    return _FIRST in text and _RESULT in text


def _rendered(render: Shown, messages: Messages, tools: list[dict[str, Any]]) -> str:
    """Return the prompt; "" where the template refuses the chat."""
    try:
        return render(messages, tools)
    except RequestError:
        return ""


def _tool() -> dict[str, Any]:
    parameters = {"type": "object", "properties": {"key": {"type": "string", "description": "A key."}}}
    function = {"name": "look_up", "description": _TOOL, "parameters": parameters}
    return {"type": "function", "function": function}


def _user() -> Message:
    return {"role": "user", "content": "?"}


def _calls(form: ArgumentsForm, *values: str, ident: str = _ID) -> Messages:
    calls = []
    for place, value in enumerate(values):
        arguments: Any = {"key": value, "more": {"flag": True}}
        if form == "text":
            arguments = json.dumps(arguments)
        function = {"name": "look_up", "arguments": arguments}
        calls.append({"id": f"{ident[:-1]}{place}", "type": "function", "function": function})
    return calls


def _chat(calls: Messages, content: str = "") -> Messages:
    """Return a chat with calls and their results, and a question after them."""
    results = [
        {"role": "tool", "tool_call_id": call["id"], "name": "look_up", "content": _RESULT} for call in calls
    ]
    return [_user(), {"role": "assistant", "content": content, "tool_calls": calls}, *results]


def _with_single_calls(messages: Messages) -> Messages:
    """Return the messages with each call in a message of its own, its result behind it."""
    made: Messages = []
    place = 0
    while place < len(messages):
        message = messages[place]
        place += 1
        calls = message.get("tool_calls") or []
        if len(calls) < 2:
            made.append(message)
            continue
        results: Messages = []
        while place < len(messages) and messages[place]["role"] == "tool":
            results.append(messages[place])
            place += 1
        for first, (call, its_results) in zip(
            (True, *(False for _ in calls[1:])), _paired(calls, results), strict=True
        ):
            kept = message if first else {"role": "assistant", "content": ""}
            made += [{**kept, "tool_calls": [call]}, *its_results]
    return made


def _paired(calls: Messages, results: Messages) -> list[tuple[dict[str, Any], Messages]]:
    """Return each call with its results: by id, else by place; none of them is left out."""
    by_id = {call.get("id"): place for place, call in enumerate(calls) if call.get("id")}
    pairs: list[tuple[dict[str, Any], Messages]] = [(call, []) for call in calls]
    for place, result in enumerate(results):
        at = by_id.get(result.get("tool_call_id"), min(place, len(calls) - 1))
        pairs[at][1].append(result)
    return pairs


def _short_id(ident: str) -> str:
    """Return an id of nine letters or digits, always the same for the same id."""
    if len(ident) == 9 and ident.isalnum():
        return ident
    letters = "".join(letter for letter in ident if letter.isalnum())
    if len(letters) < 9:
        return letters.rjust(9, "0")
    return letters[-9:]
