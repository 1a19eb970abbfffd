"""`Refusal`: an error that a replica answers with, and the error that a caller gets of it. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from models import errors
from models.errors import CorralError


class Refusal(msgspec.Struct, frozen=True, tag="refusal", array_like=True):
    """An error that a replica answers with, as the caller is to raise it."""

    kind: str
    """The name of the error's class in `models.errors`, or of its nearest base there."""
    message: str
    """The line for clients."""
    fields: dict[str, str | int | float | bool | None] = {}
    """The plain attributes that the error has besides."""


def refusal_of(error: CorralError) -> Refusal:
    """Return an error as a replica sends it."""
    known = next(base for base in type(error).__mro__ if getattr(errors, base.__name__, None) is base)
    others = {key: value for key, value in vars(error).items() if key not in ("message", "public")}
    fields = {key: value for key, value in others.items() if isinstance(value, str | int | float | None)}
    return Refusal(known.__name__, error.public, fields)


def error_of(refusal: Refusal) -> CorralError:
    """Return a replica's error as it was there, without what isn't for clients."""
    error_class: Any = getattr(errors, refusal.kind, None)
    if not (isinstance(error_class, type) and issubclass(error_class, CorralError)):
        return CorralError(refusal.message)
    error = error_class.__new__(error_class)
    CorralError.__init__(error, refusal.message)
    vars(error).update(refusal.fields)
    return error
