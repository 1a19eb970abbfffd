"""HTTP/1.1 responses read from their bytes, with the place in the bytes of each part of the body.

Pure: bytes in, values out. A response that broke off is read as far as it goes.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

HEAD_END = b"\r\n\r\n"


class MalformedResponse(ValueError):
    """Bytes that are no HTTP/1.1 response."""


@dataclass(frozen=True, slots=True)
class Head:
    """Status line and headers (names in lower case). The body begins at `end`."""

    status: int
    headers: dict[str, str]
    end: int

    @property
    def chunked(self) -> bool:
        """True if the body comes in chunks."""
        return self.headers.get("transfer-encoding", "").rpartition(",")[2].strip().lower() == "chunked"

    @property
    def length(self) -> int | None:
        """Bytes of the body; None if it comes in chunks or ends with the connection."""
        if self.chunked:
            return None
        if self.status in {204, 304}:
            return 0
        text = self.headers.get("content-length")
        if text is None:
            return None
        if not text.isascii() or not text.isdigit():
            raise MalformedResponse(f"a Content-Length of {text!r}")
        return int(text)


@dataclass(frozen=True, slots=True)
class Response:
    """A response. `complete` means that nothing of the body is missing."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool
    starts: tuple[tuple[int, int], ...]
    """Each run of the body begins at such a pair of offsets, in the body and in the raw bytes; ascending."""

    def raw_offset(self, offset: int) -> int:
        """Return the offset in the raw bytes of the body's byte `offset`."""
        in_body, in_raw = self.starts[bisect_right(self.starts, offset, key=lambda run: run[0]) - 1]
        return in_raw + offset - in_body


def parse_head(data: bytes) -> Head | None:
    """Return the head of the final response, past interim ones (1xx); None while it isn't all there.

    Raises MalformedResponse.
    """
    start = 0
    while True:
        end = data.find(HEAD_END, start)
        if end < 0:
            if not b"HTTP/1.".startswith(data[start : start + 7]):
                raise MalformedResponse(f"no HTTP/1.1 response: {data[start : start + 40]!r}")
            return None
        status_line, *lines = data[start:end].decode("latin-1").split("\r\n")
        version, _, rest = status_line.partition(" ")
        code = rest[:3]
        if not version.startswith("HTTP/1.") or len(code) != 3 or not code.isdigit():
            raise MalformedResponse(f"no HTTP/1.1 response: {status_line[:40]!r}")
        start = end + len(HEAD_END)
        if not code.startswith("1"):
            return Head(int(code), _headers(lines), start)


def parse_response(data: bytes, *, closed: bool) -> Response:
    """Return the response in `data`; `closed` means that no more will come. Raises MalformedResponse."""
    head = parse_head(data)
    if head is None:
        raise MalformedResponse(f"the response broke off in its headers: {data[-40:]!r}")
    if head.chunked:
        body, starts, complete = _dechunk(data, head.end)
        return Response(head.status, head.headers, body, complete, starts)
    length = head.length
    end = None if length is None else head.end + length
    body = data[head.end : end]
    complete = closed if length is None else len(body) == length
    return Response(head.status, head.headers, body, complete, ((0, head.end),))


def _headers(lines: list[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise MalformedResponse(f"no header: {line[:40]!r}")
        key, text = name.lower(), value.strip()
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


def _dechunk(data: bytes, position: int) -> tuple[bytes, tuple[tuple[int, int], ...], bool]:
    """Return the chunks' content from `position` on, their beginnings, and if the last chunk is there."""
    pieces: list[bytes] = []
    starts: list[tuple[int, int]] = []
    n_body = 0
    while (line_end := data.find(b"\r\n", position)) >= 0:
        size = _chunk_size(data[position:line_end])
        position = line_end + 2
        if size == 0:
            complete = data.startswith(b"\r\n", position) or data.find(HEAD_END, position) >= 0
            return b"".join(pieces), tuple(starts) or ((0, position),), complete
        piece = data[position : position + size]
        if piece:
            starts.append((n_body, position))
            pieces.append(piece)
            n_body += len(piece)
        after = data[position + size : position + size + 2]
        if not b"\r\n".startswith(after):
            raise MalformedResponse(f"a chunk of {size} bytes is followed by {after!r}")
        if len(after) < 2:
            break
        position += size + 2
    return b"".join(pieces), tuple(starts) or ((0, position),), False


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip()
    if not digits or digits.strip(b"0123456789abcdefABCDEF"):
        raise MalformedResponse(f"no chunk size: {line[:40]!r}")
    return int(digits, 16)
