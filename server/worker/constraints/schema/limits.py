"""`Limits` of schemas, and `Place`: where in a client's schema something is. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from models.errors import RequestError

MAX_NODES = 10_000
"""A schema, with all that its references bring in, has at most so many subschemas."""
MAX_DEPTH = 64
"""Subschemas are nested at most this deep; a recursive one goes through `$ref`, which isn't nesting."""
MAX_ENUM = 5_000
"""All `enum` lists of a schema together have at most so many values."""
MAX_LENGTH = 1_000_000
"""The highest bound of a string's length, in characters."""
MAX_SHORTEST = 1_000_000
"""The shortest text of a form has at most so many characters: no answer is longer."""
MAX_COUNT = 100_000
"""The highest bound of the number of items or properties."""
MAX_PATTERN = 10_000
"""The longest regular expression, in characters."""
MAX_WHOLE = (1 << 53) - 1
"""The largest whole number that every reader of JSON keeps exactly."""


@dataclass(frozen=True, slots=True)
class Place:
    """The path of a subschema, as an error names it."""

    text: str
    is_whole: bool = False
    """Parts of it have no place of their own, as the client didn't write them."""

    def whole(self) -> Place:
        """Return the place for a schema that was written in place of the client's."""
        return Place(self.text, is_whole=True)

    def at(self, *steps: str | int) -> Place:
        """Return the place that these steps lead to."""
        if self.is_whole:
            return self
        text = self.text
        for step in steps:
            plain = (
                isinstance(step, str) and step.replace("$", "").replace("_", "").replace("-", "").isalnum()
            )
            text += f".{step}" if plain else f"[{step!r}]"
        return Place(text)

    def refuse(self, problem: str) -> NoReturn:
        """Raise the RequestError that names the place."""
        raise RequestError(
            f"'{self.text}' can't be held: {problem}", param=self.text, code="unsupported_schema"
        )
