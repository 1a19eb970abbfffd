"""A chat as the built-in prompt formats see it: one system text and turns of two speakers. Pure.

Jinja templates don't use it: they get the messages as they came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from models.errors import RequestError

Speaker = Literal["user", "assistant"]

SYSTEM_ROLES = frozenset({"system", "developer"})
"""Messages of these roles are the system text."""


@dataclass(frozen=True)
class Conversation:
    """A chat. `system` is None when no message sets one (the format's own is used), "" when one removes it.

    `turns` never has two of the same speaker in a row.
    """

    system: str | None
    turns: tuple[tuple[Speaker, str], ...]

    @property
    def unfinished_answer(self) -> bool:
        """True when the last words are the assistant's: the model is to continue them."""
        return bool(self.turns) and self.turns[-1][0] == "assistant"


def from_messages(messages: list[dict[str, Any]], format_name: str) -> Conversation:
    """Read OpenAI messages with string contents.

    System and developer messages are joined into one system text wherever they stand, as these formats have
    one place for it; messages in a row by the same speaker are joined with an empty line. Raises RequestError
    for roles that a plain-text format can't express (tool).
    """
    system: list[str] = []
    turns: list[tuple[Speaker, str]] = []
    for position, message in enumerate(messages):
        role, text = message.get("role"), message.get("content") or ""
        if role in SYSTEM_ROLES:
            system.append(text)
        elif role in ("user", "assistant"):
            if turns and turns[-1][0] == role:
                turns[-1] = (role, f"{turns[-1][1]}\n\n{text}")
            else:
                turns.append((role, text))
        else:
            raise RequestError(
                f"the prompt format '{format_name}' has no form for a message of role '{role}'; "
                "use system, user and assistant, or a model whose chat template has tools",
                param=f"messages[{position}].role",
            )
    if not turns:
        raise RequestError(
            f"the prompt format '{format_name}' needs a user or assistant message; add one",
            param="messages",
        )
    return Conversation("\n\n".join(system) if system else None, tuple(turns))
