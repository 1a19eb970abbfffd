"""`ToolFormat`: how one family of models writes calls: its marks, its grammar, their reader.

A file of the folder `formats` that has a `FORMAT` is a format; its name is the file's. To add one, nothing
else is edited.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from server.chat.tools import Tool


@dataclass(frozen=True, slots=True)
class Content:
    """Text of the answer itself."""

    text: str


@dataclass(frozen=True, slots=True)
class Thought:
    """Text of thoughts, for formats that mark them in a way of their own."""

    text: str


@dataclass(frozen=True, slots=True)
class BeginCall:
    """A call begins. `id` is the model's own, if the format has one."""

    name: str
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Arguments:
    """The next piece of the begun call's arguments, as JSON: all pieces together are one object."""

    text: str


@dataclass(frozen=True, slots=True)
class EndCall:
    """The begun call is complete."""


Part = Content | Thought | BeginCall | Arguments | EndCall


class PartReader(Protocol):
    """Reads one answer's text, which comes in pieces, cut anywhere.

    Fed one character at a time it gives the same, joined, as fed all at once. What may become a mark is held
    back until it is certain. Whatever the model writes, nothing is lost: what turns out to be no call, or a
    call of an unknown tool, is content.
    """

    def feed(self, text: str) -> list[Part]:
        """Return the parts that are certain now."""

    def end(self) -> list[Part]:
        """Return the rest: the answer has ended. A call that was cut has no EndCall."""


@dataclass(frozen=True, kw_only=True)
class GrammarJob:
    """One answer's calls, for which a format writes the grammar. `mark` comes from the vocabulary."""

    tools: Sequence[Tool]
    """The tools that may be called; none: the answer may have no call."""
    required: bool
    """The answer has at least one call, and nothing before it but thoughts."""
    parallel: bool
    """The answer may have more than one call."""
    mark: Callable[[str], str]
    """Returns the Lark expression of a mark: of its special token where the vocabulary has one, else its text
    in quotes."""
    is_token: Callable[[str], bool]
    """Returns True if the vocabulary has the mark as one special token, which plain text can't spell."""
    thoughts: tuple[str, str] | None = None
    """The marks around thoughts, if the model thinks."""
    thinks: bool = False
    """The prompt has opened the thoughts already."""
    left_out: list[str] = field(default_factory=list)
    """A format names here the places of keywords of schemas that its grammar doesn't hold."""
    content: str | None = None
    """A Lark rule body that an answer's content must match, instead of any text (`response_format`)."""


class ToolFormat(Protocol):
    """One format. Stateless."""

    @property
    def marks(self) -> tuple[str, ...]:
        """The texts that delimit calls. Those that are tokens of the vocabulary are shown to the reader."""

    def matches(self, template: str) -> bool:
        """Return True if a model with this chat template writes calls so. At most one format matches."""

    def grammar(self, job: GrammarJob) -> str:
        """Return the Lark grammar (llguidance's) of the whole answer, thoughts included; `start` begins it.

        Free text is free; once a call begins, its name and its arguments can only be right.
        """

    def reader(self, tools: Sequence[Tool], *, thoughts: tuple[str, str] | None, thinks: bool) -> PartReader:
        """Return a reader of one answer. With `thoughts` it splits them off, too."""


@runtime_checkable
class WithOpenings(Protocol):
    """A format whose `marks` are only parts of the texts that open its calls."""

    @property
    def openings(self) -> tuple[str, ...]:
        """The texts that open calls."""


@runtime_checkable
class ThoughtMessages(Protocol):
    """A format whose thoughts are messages of an answer, among others, and may come again."""

    @property
    def thought_marks(self) -> tuple[str, str]:
        """The texts with which a message of thoughts begins, and ends."""

    @property
    def next_message(self) -> str:
        """The text between a message's end and the beginning of the next one."""


def thought_messages(known: object) -> ThoughtMessages | None:
    """Return a format if its thoughts are messages, else None."""
    return known if isinstance(known, ThoughtMessages) else None


@runtime_checkable
class CallWriter(Protocol):
    """A format that writes calls itself, for templates that show none of those in a chat."""

    def write(self, calls: Sequence[tuple[str, str]]) -> str:
        """Return calls, each a name and its arguments as JSON text, as the model writes them."""
