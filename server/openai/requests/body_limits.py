"""The bounds on what a request's body may hold, whatever its bytes, and the check of them. Pure.

Commas and opening brackets outside of strings are counted, which bounds the values that a parser makes before
it makes any; text may have as many of them as it likes. `docs/limits.md` has the table for users.
"""

from __future__ import annotations

from collections.abc import Sequence

from models.errors import RequestError
from server.ipc.constraint import MAX_CHARS, Constraint
from server.openai.errors import BodyTooLarge

MAX_ELEMENTS = 1_000_000
"""A body has at most this many values: items of arrays and members of objects, at all depths."""
MAX_CONTAINERS = 200_000
"""A body has at most this many arrays and objects."""
MAX_DEPTH = 100
"""Arrays and objects are nested at most this deep."""
MAX_PROMPT_BYTES = 8 << 20
"""One prompt, or the messages of a chat together, has at most this many bytes."""
MAX_INPUTS_BYTES = 48 << 20
"""The texts of a request for vectors have at most this many bytes together."""
INLINE_BYTES = 64 << 10
"""A body of at most this many bytes, and INLINE_ELEMENTS, is read on the event loop, others in a process."""
INLINE_ELEMENTS = 4_096
SHORT_BYTES = 1 << 20
"""A body of at most this many bytes, and SHORT_ELEMENTS, waits for none that is longer."""
SHORT_ELEMENTS = 65_536

_SLICE_BYTES = 256 << 10
_OPENING = b"[{"
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def is_small(parts: Sequence[bytes]) -> bool:
    """Return True if a body is read sooner than it is sent anywhere. Counts what is in strings, too."""
    return sum(map(len, parts)) <= INLINE_BYTES and sum(map(_separators, parts)) <= INLINE_ELEMENTS


def is_short(parts: Sequence[bytes]) -> bool:
    """Return True if a body that isn't small is still read in a moment. Counts what is in strings, too."""
    return sum(map(len, parts)) <= SHORT_BYTES and sum(map(_separators, parts)) <= SHORT_ELEMENTS


def check_structure(body: bytes) -> None:
    """Raise BodyTooLarge, or RequestError for the depth, if `body` holds more than any request may."""
    if _separators(body) < MAX_CONTAINERS and body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    scan = _Scan()
    for start in range(0, len(body), _SLICE_BYTES):
        scan.feed(body[start : start + _SLICE_BYTES])


def check_prompt(n_bytes: int, param: str) -> None:
    """Raise RequestError for a prompt of more bytes than any may have."""
    if n_bytes > MAX_PROMPT_BYTES:
        raise RequestError(
            f"'{param}' has a prompt of {n_bytes:,} bytes; the limit is {MAX_PROMPT_BYTES:,}; shorten it",
            param=param,
            code="prompt_too_large",
        )


def check_form(constraint: Constraint | None) -> None:
    """Raise RequestError for a form of more characters than any may have: no worker needs to look at it."""
    if constraint is not None and (n_chars := len(constraint.text)) > MAX_CHARS:
        param = constraint.param
        raise RequestError(
            f"'{param}' can't be held: it has {n_chars:,} characters; the limit is {MAX_CHARS:,}",
            param=param,
            code="unsupported_schema",
        )


def check_inputs(n_bytes: int, param: str) -> None:
    """Raise RequestError for texts of more bytes together than a request may have."""
    if n_bytes > MAX_INPUTS_BYTES:
        raise RequestError(
            f"'{param}' has texts of {n_bytes:,} bytes; the limit is {MAX_INPUTS_BYTES:,}; send fewer",
            param=param,
            code="prompt_too_large",
        )


def _separators(part: bytes) -> int:
    return part.count(b",") + part.count(b"[") + part.count(b"{")


class _Scan:
    """Counts what is outside of strings, slice by slice."""

    def __init__(self) -> None:
        self._in_string = False
        self._escaped = False
        """The last slice ended with a backslash that escapes the next byte."""
        self._n_elements = 0
        self._n_containers = 0
        self._depth = 0

    def feed(self, data: bytes) -> None:
        """Count a slice. Raises as `check_structure`."""
        outside = self._outside_of_strings(data)
        n_opened = sum(outside.count(bracket) for bracket in _OPENING)
        self._n_containers += n_opened
        self._n_elements += outside.count(b",") + n_opened
        if self._n_elements > MAX_ELEMENTS:
            raise _too_many("values", MAX_ELEMENTS)
        if self._n_containers > MAX_CONTAINERS:
            raise _too_many("arrays and objects", MAX_CONTAINERS)
        for bracket in outside.translate(None, _NO_BRACKETS):
            self._depth += _STEP[bracket]
            if self._depth > MAX_DEPTH:
                raise RequestError(
                    f"the request's body is nested deeper than {MAX_DEPTH} arrays and objects; flatten it",
                    code="nested_too_deep",
                )

    def _outside_of_strings(self, data: bytes) -> bytes:
        if self._escaped:
            data = data[1:]
        tail = len(data) - len(data.rstrip(b"\\"))
        self._escaped = tail % 2 == 1
        if self._escaped:
            data = data[:-1]
        sides = data.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = b"".join(sides[1::2] if self._in_string else sides[::2])
        self._in_string ^= len(sides) % 2 == 0
        return outside


def _too_many(what: str, limit: int) -> BodyTooLarge:
    return BodyTooLarge(
        f"the request's body has more than {limit:,} {what}; send less at once", code="too_many_elements"
    )
