"""The corpus's values: a fact, a family of facts asked in the same ways, one question with its answer.

Pure data. Task files define `Family` tables; `mixture` turns them into training documents and `heldout` into
the questions that training never sees.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

REFUSAL = "I don't know that."


@dataclass(frozen=True)
class Fact:
    """One thing the model knows: `slots` fill a phrasing, `answer` is the only right answer.

    `short` is the answer in one word where that makes sense. A fact with `held_out` is asked only in the
    evaluation, in no phrasing whatever during training.
    """

    slots: Mapping[str, str]
    answer: str
    short: str | None = None
    held_out: bool = False

    @property
    def key(self) -> str:
        return "|".join(self.slots.values())


@dataclass(frozen=True)
class Family:
    """Facts that are asked in the same ways.

    `phrasings` are used in training, `unseen` only in the evaluation. `with_input` are Alpaca instructions
    whose `### Input:` is the fact's slot `x`. `follow_ups` continue a chat about the same family ("And
    {x}?").
    """

    task: str
    name: str
    facts: tuple[Fact, ...]
    phrasings: tuple[str, ...]
    unseen: tuple[str, ...]
    with_input: tuple[str, ...] = ()
    follow_ups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Exchange:
    """One turn: what the user writes (with an optional Alpaca input) and what the model answers."""

    task: str
    user: str
    answer: str
    input: str | None = None
    short: str | None = None
    styled: bool = True  # a system prompt may change the form of this answer


@dataclass(frozen=True)
class Chat:
    """A conversation; `system` replaces the prompt form's default system message."""

    turns: tuple[Exchange, ...]
    system: str | None = None
    task: str = field(default="chat")


def fill(template: str, slots: Mapping[str, str]) -> str:
    """Fill a phrasing's slots and capitalise its first letter."""
    text = template.format_map(slots)
    return text[:1].upper() + text[1:]


def normalise(text: str) -> str:
    """The form in which two questions count as the same: letters, digits and operators only, lower case."""
    return re.sub(r"[^a-z0-9+*/×-]+", "", text.lower())


def fingerprint(*parts: str) -> int:
    """A hash that is the same on every machine and in every Python process."""
    return int.from_bytes(hashlib.sha256("\x1f".join(parts).encode()).digest()[:8], "big")


def is_held_out(*parts: str, every: int = 10) -> bool:
    """True for one in `every` combinations (of a fact and a phrasing, say), chosen by hash."""
    return fingerprint(*parts) % every == 0


def article(noun: str) -> str:
    """`a cow`, `an owl`."""
    return f"an {noun}" if noun[0] in "aeiou" else f"a {noun}"


def words(text: str, separator: str = " ") -> tuple[str, ...]:
    """A long list written as one text."""
    return tuple(text.split(separator))
