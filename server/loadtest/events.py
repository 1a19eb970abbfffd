"""Server-sent events read from the whole body of a response. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_LINE_END = re.compile(rb"\r\n|\n|\r")
_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """The data of one event. `end` is the offset in the body of the last byte that it needed."""

    data: bytes
    end: int


def events_of(body: bytes) -> Iterator[Event]:
    """Yield the events that have data, in order.

    An event that the body's end cuts off is none (as the HTML standard says); comments and fields other than
    `data` are passed over.
    """
    data: list[bytes] = []
    start = len(_BOM) if body.startswith(_BOM) else 0
    for match in _LINE_END.finditer(body, start):
        line, start = body[start : match.start()], match.end()
        if not line:
            if data:
                yield Event(b"\n".join(data), match.end() - 1)
            data = []
        elif line.startswith(b"data:"):
            data.append(line[6:] if line.startswith(b"data: ") else line[5:])
        elif line == b"data":
            data.append(b"")
