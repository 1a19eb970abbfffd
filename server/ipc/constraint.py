"""`Constraint`: the form that an answer's content must have, as the client sent it."""

from __future__ import annotations

from typing import Literal

import msgspec

MAX_CHARS = 1_000_000
"""A constraint has at most so many characters."""

ConstraintKind = Literal["json_object", "json_schema", "regex", "choice", "lark", "gbnf"]


class Constraint(msgspec.Struct, frozen=True, kw_only=True):
    """A form for content: the worker compiles it, and refuses what it can't hold."""

    kind: ConstraintKind
    text: str = ""
    """The schema or the list of choices as JSON; the regular expression; the grammar. Empty for
    `json_object`."""
    param: str
    """The name of the field that the client sent it in, for error messages: `response_format.json_schema`."""

    @property
    def is_whole(self) -> bool:
        """True if no stop string cuts an answer of this form: a JSON document, or one of several texts."""
        return self.kind in ("json_object", "json_schema", "choice")
