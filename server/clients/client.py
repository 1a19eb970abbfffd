"""`Client`: a program that uses a server, as data: its settings, the context it needs, what it sends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from server.clients.shapes.shape import Shape

KEY_VARIABLE = "CORRAL_CLIENT_KEY"
"""Settings that name a variable for the key name this one."""

NO_KEY = "none"
"""Clients that want a key get this one for a server that wants none."""

ANSWER_PART = 8
"""An answer may take one part in so many of the context; the rest is the conversation's."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model of a server. `context` is None where the server doesn't tell it."""

    name: str
    context: int | None


@dataclass(frozen=True, slots=True)
class Target:
    """The server that a client is set up for: its root address, the model to use, and all that it lists.

    `context` is the length that the client is told.
    """

    url: str
    model: str
    context: int
    models: tuple[ServedModel, ...]
    needs_key: bool = False

    @property
    def v1(self) -> str:
        """The address of OpenAI's routes."""
        return f"{self.url}/v1"

    @property
    def max_output(self) -> int:
        """The longest answer that the client may ask for."""
        return answer_part(self.context)

    @property
    def contexts(self) -> dict[str, int]:
        """The context of each model, the chosen one first; one that isn't told counts as the chosen one's."""
        others = {m.name: m.context or self.context for m in self.models if m.name != self.model}
        return {self.model: self.context, **others}


def answer_part(context: int) -> int:
    """Return the part of a context that one answer may take."""
    return max(1, context // ANSWER_PART)


@dataclass(frozen=True, slots=True)
class Document:
    """A settings file. In `content`, None takes a setting out; everything else in the file stays.

    `user_path` is where the client looks for it by itself. `content_variable` is one that the client reads
    the content from instead, `path_variable` one that may name another file.
    """

    user_path: str
    form: Literal["json", "toml"]
    content: Mapping[str, Any]
    content_variable: str | None = None
    path_variable: str | None = None


@dataclass(frozen=True, slots=True)
class Setup:
    """The settings of a client for one target.

    `key_variables` hold the server's key; those of `unset` would lead the client elsewhere. `folder_variable`
    moves its whole settings folder. `arguments` come before those of its user. `notes` say what can only be
    done by hand.
    """

    environment: Mapping[str, str] = field(default_factory=dict)
    key_variables: Sequence[str] = ()
    unset: Sequence[str] = ()
    folder_variable: str | None = None
    documents: Sequence[Document] = ()
    arguments: Sequence[str] = ()
    notes: str | None = None


@dataclass(frozen=True, slots=True)
class LighterMode:
    """An argument with which a client needs less context."""

    argument: str
    least_context: int


@dataclass(frozen=True, slots=True)
class Client:
    """A client. `program` is its executable, None for what can't be started from here, such as a library.

    `install` is the command that installs it, or where to get it. `context_reason` says what happens in less
    than `least_context` tokens. `shapes` are the requests that `corral doctor` sends for it.
    """

    title: str
    program: str | None
    install: str
    least_context: int
    context_reason: str
    set_up: Callable[[Target], Setup]
    shapes: tuple[Shape, ...]
    lighter: LighterMode | None = None

    def context_needed(self, arguments: Sequence[str]) -> int:
        """Return the least context of a start with these arguments."""
        if self.lighter is not None and self.lighter.argument in arguments:
            return self.lighter.least_context
        return self.least_context
