"""Scripted answers with thoughts and tool calls: a text and its form, as events, cut into pieces.

For the tests of every protocol: a service that plays such a script sends what a worker would send, and what
the client gets of it is the whole chain's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from server.engine.events import AnswerForm, FinishReason
from server.ipc.messages import Generate
from server.ipc.prompts import ChatPrompt
from tests.server.scripted_service import Script, Step, says

HERMES = AnswerForm(tool_format="hermes")
"""Calls between `<tool_call>` marks, no thoughts."""
HERMES_THINKING = AnswerForm(tool_format="hermes", thoughts=("<think>", "</think>"))
"""Such calls, and thoughts that the answer opens itself."""
THINKING = AnswerForm(thoughts=("<think>", "</think>"), thinks=True)
"""No calls, and thoughts that the prompt has opened already."""


def call(name: str, arguments: dict[str, Any]) -> str:
    """Return a call's text in Hermes' form."""
    text = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<tool_call>\n{text}\n</tool_call>"


def cut(text: str, size: int | Sequence[int]) -> list[str]:
    """Return the text in pieces of `size` characters, or of these sizes in turn."""
    sizes = [size] if isinstance(size, int) else list(size)
    pieces: list[str] = []
    while text:
        n_chars = sizes[len(pieces) % len(sizes)]
        pieces.append(text[:n_chars])
        text = text[n_chars:]
    return pieces


def answers(
    text: str,
    form: AnswerForm | None = HERMES,
    *,
    size: int | Sequence[int] = 3,
    reason: FinishReason = "stop",
    reasoning_tokens: int = 0,
) -> Script:
    """Return a script in which every choice says `text`, one token per piece of `size` characters."""
    return says(*cut(text, size), reason=reason, form=form, reasoning_tokens=reasoning_tokens)


def turns(*scripts: Script) -> Script:
    """Return a script of a conversation: each request gets the next, whatever it says."""
    left: Iterator[Script] = iter(scripts)

    def script(request: Generate) -> Sequence[Step]:
        return next(left)(request)

    return script


def chat_of(request: Generate) -> ChatPrompt:
    """Return the chat that a request asks about."""
    assert isinstance(request.prompt, ChatPrompt)
    return request.prompt
