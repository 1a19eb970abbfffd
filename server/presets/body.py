"""`Body`: the JSON object of a request, whose members are changed one by one. Pure.

Only what is looked at is parsed; everything else stays the bytes that the client sent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

_Members = dict[str, msgspec.Raw]
_decoder = msgspec.json.Decoder(_Members)
_list_decoder = msgspec.json.Decoder(list[msgspec.Raw])
_text_decoder = msgspec.json.Decoder(str)
_encode = msgspec.json.encode
_NULL = b"null"


class NotAnObject(ValueError):
    """The bytes are no JSON object."""


class Body:
    """A request's members. A path is a name, or a name and one within it: `reasoning.effort`."""

    def __init__(self, body: bytes) -> None:
        """Raises NotAnObject."""
        try:
            self._members = _decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise NotAnObject(str(error)) from error

    def json(self) -> bytes:
        """Return the object as it is now."""
        return _encode(self._members)

    def has(self, path: str) -> bool:
        """Return True if there is a value; null is none, as everywhere in requests."""
        return self.raw(path) is not None

    def raw(self, path: str) -> bytes | None:
        """Return the JSON of a value, or None."""
        name, _, inner = path.partition(".")
        value = self._members.get(name)
        if value is not None and inner:
            value = (_object(value) or {}).get(inner)
        return None if value is None or bytes(value).strip() == _NULL else bytes(value).strip()

    def text(self, path: str) -> str:
        """Return a string; empty where there is none, or something else."""
        raw = self.raw(path)
        try:
            return "" if raw is None else _text_decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ""

    def items(self, path: str) -> list[bytes] | None:
        """Return the JSON of a list's items; None where there is no list."""
        raw = self.raw(path)
        try:
            return None if raw is None else [bytes(item) for item in _list_decoder.decode(raw)]
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    def put(self, path: str, value: Any) -> None:
        """Set a value. What should be an object and isn't stays: its schema refuses it."""
        name, _, inner = path.partition(".")
        if not inner:
            self._members[name] = msgspec.Raw(_encode(value))
            return
        raw = self.raw(name)
        members = {} if raw is None else _object(raw)
        if members is not None:
            members[inner] = msgspec.Raw(_encode(value))
            self._members[name] = msgspec.Raw(_encode(members))

    def put_items(self, path: str, items: list[bytes]) -> None:
        """Set a list of values that are JSON already."""
        self._members[path] = msgspec.Raw(b"[" + b",".join(items) + b"]")

    def drop(self, path: str) -> bool:
        """Remove a value; return True if there was one."""
        had = self.has(path)
        name, _, inner = path.partition(".")
        if not inner:
            self._members.pop(name, None)
        elif had:
            members = _object(self._members[name]) or {}
            del members[inner]
            self._members[name] = msgspec.Raw(_encode(members))
        return had

    def drop_all(self, paths: Iterable[str]) -> bool:
        """Remove several values; return True if there was one of them."""
        return sum(self.drop(path) for path in paths) > 0


def member(raw: bytes, name: str) -> bytes | None:
    """Return the JSON of an object's member; None where there is none."""
    value = (_object(raw) or {}).get(name)
    return None if value is None else bytes(value).strip()


def _object(raw: bytes | msgspec.Raw) -> _Members | None:
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
