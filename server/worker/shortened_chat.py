"""`shortened`: a chat without its oldest messages, so that it fits the context. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import msgspec

from server.ipc.prompts import ChatPrompt

Message = dict[str, Any]

_KEPT_ROLES = ("system", "developer")


def shortened(
    prompt: ChatPrompt, fits: Callable[[ChatPrompt], bool], block_chars: int
) -> tuple[ChatPrompt, int]:
    """Return the chat with the fewest messages left out for which `fits` is true, and how many those are.

    Left out are the oldest ones. System messages stay, the last of the user's, and what answers it last; a
    call goes with its results. The chat grows by some `block_chars` characters before more of it is left out,
    so that for many turns it begins alike and the prefix cache knows it. If none fits it is the shortest.
    """
    starts = _spaced(prompt.messages, _starts(prompt.messages), block_chars)
    if not starts:
        return prompt, 0
    low, high = 0, len(starts) - 1  # the shortest is tried by whoever called
    while low < high:
        middle = (low + high) // 2
        if fits(_from(prompt, starts[middle])):
            high = middle
        else:
            low = middle + 1
    short = _from(prompt, starts[low])
    return short, len(prompt.messages) - len(short.messages)


def _from(prompt: ChatPrompt, start: int) -> ChatPrompt:
    """Return the chat from the message at `start` on, with those before it that stay."""
    messages, last = prompt.messages, _last_user(prompt.messages)
    kept = [i for i in range(start) if messages[i]["role"] in _KEPT_ROLES or i == last]
    return msgspec.structs.replace(
        prompt, messages=[messages[i] for i in [*kept, *range(start, len(messages))]]
    )


def _starts(messages: Sequence[Message]) -> list[int]:
    """Return the places at which a shorter chat may begin: a user's message, or an answer to the last one."""
    last, n_open = _last_user(messages), _open_calls(messages)
    found, is_shorter = [], False
    for place, message in enumerate(messages):
        role = message["role"]
        begins = (role == "user" and place <= last) or (role == "assistant" and place > last)
        if begins and is_shorter and not n_open[place]:
            found.append(place)
        is_shorter = is_shorter or (role not in _KEPT_ROLES and place != last)
    return found


def _open_calls(messages: Sequence[Message]) -> list[int]:
    """Return, for each place, how many results from there on belong to calls before it."""
    calls: dict[str, int] = {}
    changes = [0] * (len(messages) + 1)
    for place, message in enumerate(messages):
        for call in message.get("tool_calls") or ():
            calls[call.get("id")] = place
        call_id = message.get("tool_call_id")
        if message["role"] == "tool" and call_id in calls:
            changes[calls[call_id] + 1] += 1
            changes[place + 1] -= 1
    return list(accumulate(changes))


def _last_user(messages: Sequence[Message]) -> int:
    places = [place for place, message in enumerate(messages) if message["role"] == "user"]
    return places[-1] if places else -1


def _spaced(messages: Sequence[Message], starts: Sequence[int], block_chars: int) -> list[int]:
    """Return the first start after each block of characters, and the last of all."""
    kept: list[int] = []
    n_chars, place, block = 0, 0, -1
    for start in starts:
        for message in messages[place:start]:
            n_chars += len(msgspec.json.encode(message))
        place = start
        if n_chars // block_chars > block:
            block = n_chars // block_chars
            kept.append(start)
    if starts and kept[-1] != starts[-1]:
        kept.append(starts[-1])
    return kept
