"""Values in schemas: what JSON text can spell, their types, and a pattern of all texts but some. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from server.worker.constraints.schema.limits import MAX_WHOLE, Place

TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")

_UNSPELLABLE = re.compile("[\x00-\x07\x0b\x0e-\x1f\x7f\ud800-\udfff]")


def type_of(value: Any) -> str:
    """Return the narrowest JSON type of a value."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "integer" if value.is_integer() else "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def types_of(schema: dict[str, Any]) -> frozenset[str]:
    """Return the types that `type` allows; `number` brings `integer` with it."""
    given = schema.get("type", TYPES)
    types = {given} if isinstance(given, str) else set(given)
    return frozenset(types | ({"integer"} if "number" in types else set()))


def check_value(value: Any, place: Place) -> None:
    """Raise RequestError for a value that can't be written so that every reader gets it."""
    match value:
        case str():
            check_text(value, place)
        case bool():
            pass
        case int() if abs(value) > MAX_WHOLE:
            place.refuse(f"a whole number beyond {MAX_WHOLE:,} isn't kept exactly; send it as a string")
        case float() if abs(value) > MAX_WHOLE or 0 < abs(value) < 1e-9:
            place.refuse(f"a number beyond {MAX_WHOLE:,} or below 1e-9 can't be written without an exponent")
        case list():
            for index, item in enumerate(value):
                check_value(item, place.at(index))
        case dict():
            for key, item in value.items():
                check_text(key, place)
                check_value(item, place.at(key))


def check_text(text: str, place: Place) -> None:
    """Raise RequestError for control characters that have no short escape in JSON."""
    found = _UNSPELLABLE.search(text)
    if found is not None:
        place.refuse(f"the character U+{ord(found[0]):04X} in a name or value; leave it out")


def same(one: Any, other: Any) -> bool:
    """Return True if JSON Schema calls two values equal: 1 is 1.0 there, and isn't true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return type_of(one) in (type_of(other), "integer", "number") and bool(one == other)


def exactly(texts: Iterable[str]) -> str:
    """Return the pattern of these texts."""
    return f"^(?:{'|'.join(map(_escaped, texts))})$"


def all_but(texts: Sequence[str]) -> str:
    """Return the pattern of every text except these."""
    return rf"^(?:{_all_but(sorted(set(texts)))})$"


def _all_but(texts: Sequence[str]) -> str:
    """Return the pattern of what isn't one of `texts`: their tree, with an exit at each branch."""
    following: dict[str, list[str]] = {}
    for text in texts:
        if text:
            following.setdefault(text[0], []).append(text[1:])
    ways = [] if "" in texts else [""]
    others = "".join(_escaped(letter) for letter in following)
    ways.append(rf"[^{others}][\s\S]*" if others else r"[\s\S]+")
    ways += [f"{_escaped(letter)}(?:{_all_but(rest)})" for letter, rest in following.items()]
    return "|".join(ways)


def _escaped(text: str) -> str:
    return "".join(letter if letter.isalnum() else _code(letter) for letter in text)


def _code(letter: str) -> str:
    return f"\\x{ord(letter):02x}" if ord(letter) < 256 else f"\\u{{{ord(letter):x}}}"
