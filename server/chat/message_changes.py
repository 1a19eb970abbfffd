"""The changes that let a strict chat template take a chat: each moves as few messages as it can. Pure.

    system text      goes in front of the user's turn that follows it, with one line end, as in llama-server;
                     where none follows directly, it becomes a user's turn in its place
    opening user     an empty user's turn stands in front of an assistant that speaks first
    joined turns     turns in a row by one speaker become one, with an empty line between

What a change does depends on the roles alone, not on the texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

Message = dict[str, Any]
Messages = list[Message]

SYSTEM_ROLES = frozenset({"system", "developer"})
"""Messages of these roles are system text; `developer` is OpenAI's newer name."""


@dataclass(frozen=True)
class Changes:
    """The changes that a chat gets; none by default."""

    system: frozenset[int] = frozenset()
    """The system messages at these places go into the user's turns."""
    opening_user: bool = False
    joined_turns: bool = False

    def apply(self, messages: Messages) -> Messages:
        """Return the messages with the changes; those given stay as they are."""
        changed = merge_system(messages, self.system) if self.system else messages
        if self.opening_user:
            changed = _with_opening_user(changed)
        return _with_joined_turns(changed) if self.joined_turns else changed


def possible_changes(messages: Messages) -> Iterator[Changes]:
    """Yield the changes that make a difference to these messages, alone and together, the fewest first."""
    places = [i for i, message in enumerate(messages) if message["role"] in SYSTEM_ROLES]
    late, first = frozenset(places) - {0}, frozenset(places) & {0}
    steps = [
        *([Changes(system=late)] if late else []),
        Changes(joined_turns=True),
        *([Changes(opening_user=True)] if _lacks_opening_user(messages) else []),
        *([Changes(system=first)] if first else []),
    ]
    seen: list[Messages] = []
    for n_steps in range(len(steps) + 1):
        for chosen in combinations(steps, n_steps):
            changes = Changes()
            for step in chosen:
                changes = replace(
                    changes,
                    system=changes.system | step.system,
                    opening_user=changes.opening_user or step.opening_user,
                    joined_turns=changes.joined_turns or step.joined_turns,
                )
            changed = changes.apply(messages)
            if changed not in seen:
                seen.append(changed)
                yield changes


def merge_system(messages: Messages, places: frozenset[int]) -> Messages:
    """Return the messages with the system texts at these places in the user's turns."""
    merged: Messages = []
    texts: list[str] = []
    for place, message in enumerate(messages):
        if place in places:
            texts += _texts(message)
        elif texts and message["role"] == "user":
            merged.append({**message, "content": "\n".join([*texts, *_texts(message)])})
            texts = []
        else:
            if texts:
                merged.append({"role": "user", "content": "\n".join(texts)})
                texts = []
            merged.append(message)
    if texts:
        merged.append({"role": "user", "content": "\n".join(texts)})
    return merged


def _texts(message: Message) -> list[str]:
    """Return the message's text, if it has any."""
    return [message["content"]] if message.get("content") else []


def _lacks_opening_user(messages: Messages) -> bool:
    """True if an assistant speaks first, or nobody does."""
    place = _first_turn(messages)
    return place == len(messages) or messages[place]["role"] == "assistant"


def _with_opening_user(messages: Messages) -> Messages:
    if not _lacks_opening_user(messages):
        return messages
    place = _first_turn(messages)
    return [*messages[:place], {"role": "user", "content": ""}, *messages[place:]]


def _first_turn(messages: Messages) -> int:
    """Return the place of the first message that isn't system text."""
    for place, message in enumerate(messages):
        if message["role"] not in SYSTEM_ROLES:
            return place
    return len(messages)


def _with_joined_turns(messages: Messages) -> Messages:
    joined: Messages = []
    run: Messages = []
    for message in messages:
        if run and (message["role"] != run[0]["role"] or not _joins(message)):
            joined.append(_one_turn(run))
            run = []
        if _joins(message):
            run.append(message)
        else:
            joined.append(message)
    if run:
        joined.append(_one_turn(run))
    return joined


def _joins(message: Message) -> bool:
    """Return True for a turn of text alone, which can stand in one with others."""
    is_text = not message.get("tool_calls") and not isinstance(message.get("content"), list)
    return is_text and message["role"] in ("user", "assistant")


def _one_turn(run: Messages) -> Message:
    """Return a turn with the texts of all: joined at once, as a run can have thousands of messages."""
    if len(run) == 1:
        return run[0]
    return {**run[-1], "content": "\n\n".join(text for message in run for text in _texts(message))}
