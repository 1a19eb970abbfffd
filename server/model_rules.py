"""Rules for models as settings have them, MODEL=VALUE, and the key by which a model is meant. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from models.errors import ConfigError, InvalidReference
from models.reference import canonical_type

T = TypeVar("T")


def values_by_model(rules: Sequence[str], read: Callable[[str], T]) -> dict[str, T]:
    """Return what `read` makes of each MODEL=VALUE, by the model's key. Raises ValueError."""
    values: dict[str, T] = {}
    for rule in rules:
        model, equals, text = rule.rpartition("=")
        if not equals or not model.strip():
            raise ValueError(f"write it as MODEL=VALUE, not {rule!r}")
        values[canonical_key(model.strip())] = read(text.strip())
    return values


def canonical_key(name: str) -> str:
    """Return a model's name with the type at its end, if there is one, as it is written: `demo:Q8_0`."""
    base, colon, type_ = name.rpartition(":")
    try:
        return f"{base}:{canonical_type(type_)}" if colon else name
    except InvalidReference:
        return name


def checked(read: Callable[[str], T], text: str) -> T:
    """Return what `read` makes of `text`; its ConfigError becomes the ValueError that pydantic reports."""
    try:
        return read(text)
    except ConfigError as error:
        raise ValueError(error.message) from error


def whole_number(text: str) -> int:
    """Return the number that `text` spells. Raises ValueError."""
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is no whole number; write it as MODEL=2") from None
