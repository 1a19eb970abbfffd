"""`read_input`: the lines of a batch's input file, checked as far as that goes without running them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from server.batches.records import LineError

MOST_LINES = 50_000
"""OpenAI's limit."""
MOST_ERRORS = 100
"""Reading ends after so many errors: who made them knows by then."""
CUSTOM_ID_CHARS = 512


class InputLine(NamedTuple):
    """One request, with its place in the file."""

    custom_id: str
    offset: int
    n_bytes: int


@dataclass
class Input:
    """The requests of a file, and the faults in it."""

    lines: list[InputLine] = field(default_factory=list)
    errors: list[LineError] = field(default_factory=list)
    models: dict[str, int] = field(default_factory=dict)
    """The models that are named, each with its first line, counted from 1."""


class _Line(msgspec.Struct):
    custom_id: Any = None
    method: Any = None
    url: Any = None
    body: msgspec.Raw = msgspec.Raw(b"null")


class _Body(msgspec.Struct):
    model: Any = None
    stream: Any = None


class _WithBody(msgspec.Struct):
    body: msgspec.Raw


_line_decoder = msgspec.json.Decoder(_Line)
_body_decoder = msgspec.json.Decoder(_Body)
_with_body_decoder = msgspec.json.Decoder(_WithBody)


def read_input(path: Path, endpoint: str, line_bytes: int) -> Input:
    """Return the requests of a file, each for `endpoint` and of at most `line_bytes`. Raises OSError."""
    found = Input()
    known: set[str] = set()
    with path.open("rb") as file:
        number = 0
        while len(found.errors) < MOST_ERRORS:
            offset = file.tell()
            raw = file.readline(line_bytes + 2)
            if not raw:
                break
            number += 1
            if len(raw) > line_bytes + 1 or (len(raw) > line_bytes and not raw.endswith(b"\n")):
                message = f"This line has over {line_bytes:,} bytes, the largest request body; shorten it."
                found.errors.append(LineError(code="line_too_long", message=message, line=number))
                while raw and not raw.endswith(b"\n"):
                    raw = file.readline(1 << 20)
                continue
            if not raw.strip(b" \t\r\n\xef\xbb\xbf"):
                continue
            if len(found.lines) == MOST_LINES:
                message = f"The file has over {MOST_LINES:,} requests; send it as several batches."
                found.errors.append(LineError(code="too_many_requests", message=message, line=number))
                break
            checked = _check(raw, endpoint, known, found.models, number)
            if isinstance(checked, LineError):
                found.errors.append(checked)
            else:
                known.add(checked)
                found.lines.append(InputLine(checked, offset, len(raw)))
    if not found.lines and not found.errors:
        found.errors.append(LineError(code="empty_file", message="The input file has no requests."))
    return found


def body_of(raw: bytes) -> bytes:
    """Return the request's body in a line that was checked."""
    return bytes(_with_body_decoder.decode(_without_mark(raw)).body)


def _check(
    raw: bytes, endpoint: str, known: set[str], models: dict[str, int], number: int
) -> str | LineError:
    """Return the line's custom_id, or what is wrong with it; note the model that it names."""

    def wrong(code: str, message: str, param: str | None) -> LineError:
        return LineError(code=code, message=message, param=param, line=number)

    try:
        line = _line_decoder.decode(_without_mark(raw))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return wrong("invalid_json_line", f"This line is no JSON object: {error}.", None)
    for name in ("custom_id", "method", "url"):
        if not getattr(line, name):
            return wrong("missing_required_parameter", f"Missing required parameter: '{name}'.", name)
    custom_id = line.custom_id
    if not isinstance(custom_id, str) or len(custom_id) > CUSTOM_ID_CHARS:
        message = f"A custom_id is a string of at most {CUSTOM_ID_CHARS} characters."
        return wrong("invalid_custom_id", message, "custom_id")
    if custom_id in known:
        return wrong("duplicate_custom_id", f"The custom_id '{custom_id}' is there twice.", "custom_id")
    if line.method != "POST":
        return wrong("invalid_method", "The method must be 'POST'.", "method")
    if line.url != endpoint:
        message = f"The url must be the batch's endpoint, '{endpoint}'."
        return wrong("invalid_url", message, "url")
    try:
        body = _body_decoder.decode(line.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return wrong("invalid_body", "The body must be a JSON object.", "body")
    if body.stream:
        message = "A batch's answers aren't streamed; leave 'stream' out."
        return wrong("invalid_value", message, "body.stream")
    if isinstance(body.model, str) and body.model:
        models.setdefault(body.model, number)
    return custom_id


def _without_mark(raw: bytes) -> bytes:
    """Return a line without a byte order mark."""
    return raw.removeprefix(b"\xef\xbb\xbf")
