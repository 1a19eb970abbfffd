"""A chat as the built-in prompt formats see it: one system text and turns of two speakers. Pure.

Jinja templates don't use it: they get the messages as they came.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from models.errors import RequestError
from server.chat.message_changes import SYSTEM_ROLES, Messages, merge_system

Speaker = Literal["user", "assistant"]


@dataclass(frozen=True)
class Conversation:
    """A chat. `system` is None when no message sets one (the format's own is used), "" when one removes it.

    `turns` never has two of the same speaker in a row.
    """

    system: str | None
    turns: tuple[tuple[Speaker, str], ...]
    continues: bool = False
    """If true, the last words are the assistant's, and the model is to continue them."""


def from_messages(messages: Messages, format_name: str, *, continues: bool = False) -> Conversation:
    """Read OpenAI messages with string contents; with `continues` the last is an answer that was begun.

    The system and developer messages that begin the chat are the system text, joined with an empty line; a
    later one goes into the user's turn, as a strict chat template gets it. Messages in a row by the same
    speaker are joined with an empty line. Raises RequestError for roles that a plain-text format can't
    express (tool).
    """
    for position, message in enumerate(messages):
        if message["role"] not in (*SYSTEM_ROLES, "user", "assistant"):
            raise RequestError(
                f"the prompt format '{format_name}' has no form for a message of role '{message['role']}'; "
                "use system, user and assistant, or a model whose chat template has tools",
                param=f"messages[{position}].role",
            )
    n_system = next((i for i, m in enumerate(messages) if m["role"] not in SYSTEM_ROLES), len(messages))
    system = [message.get("content") or "" for message in messages[:n_system]]
    rest = messages[n_system:]
    late = frozenset(i for i, message in enumerate(rest) if message["role"] in SYSTEM_ROLES)
    turns = _turns(merge_system(rest, late))
    if not turns:
        raise RequestError(
            f"the prompt format '{format_name}' needs a user or assistant message; add one",
            param="messages",
        )
    return Conversation("\n\n".join(system) if system else None, turns, continues)


def _turns(messages: Messages) -> tuple[tuple[Speaker, str], ...]:
    runs = groupby(messages, key=lambda message: message["role"])
    return tuple((role, "\n\n".join(m.get("content") or "" for m in run)) for role, run in runs)
