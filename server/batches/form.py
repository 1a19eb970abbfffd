"""`receive_file`: an upload as OpenAI's clients send it, a form with a file, kept while it comes in."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from models.errors import RequestError
from server.batches.records import FILE_S, FileRecord
from server.batches.store import BatchStore
from server.openai.errors import BodyTooLarge

WRITE_BYTES = 1 << 20
"""So many bytes of a file are written at once, in a thread."""
FIELD_BYTES = 4096
"""A field that isn't the file may have so many bytes."""
MOST_FIELDS = 32
FILENAME_CHARS = 255
LEAST_EXPIRY_S = 3600


async def receive_file(
    content_type: str | None, parts: AsyncIterator[bytes], store: BatchStore, owner: str
) -> FileRecord:
    """Keep the form's file and return its record. Raises RequestError, BodyTooLarge and StoreError."""
    form = UploadForm(boundary_of(content_type))
    upload = await store.begin_upload()
    file_id = upload.path.name
    try:
        async for part in parts:
            form.feed(part)
            if form.n_file_bytes > store.limits.file_bytes:
                raise BodyTooLarge(
                    f"the file has more than {store.limits.file_bytes:,} bytes, which is the limit; make "
                    "several batches of it, or raise file_limit_bytes",
                    param="file",
                    code="file_too_large",
                )
            if form.n_held >= WRITE_BYTES:
                await store.check_room(file_id, form.n_file_bytes)
                await upload.write(form.take())
        filename, lifetime_s = form.wishes()
        await store.check_room(file_id, form.n_file_bytes)
        await upload.write(form.take())
        await upload.keep()
        now = int(time.time())
        record = FileRecord(
            id=file_id,
            owner=owner,
            filename=filename,
            purpose="batch",
            n_bytes=upload.n_bytes,
            created=now,
            expires=now + lifetime_s,
        )
        await store.add_file(record)
        return record
    finally:
        upload.discard()
        store.forget(file_id)


def boundary_of(content_type: str | None) -> bytes:
    """Return the boundary of a form. Raises RequestError for any other body."""
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise RequestError(
            "a file is uploaded as multipart/form-data with a boundary, with the fields 'file' and 'purpose'",
            code="invalid_content_type",
        )
    return boundary


class UploadForm:
    """Reads a form as it comes. The file's bytes are held until they are taken."""

    def __init__(self, boundary: bytes) -> None:
        self.n_file_bytes = 0
        self._held: list[bytes] = []
        self.n_held = 0
        self._fields: dict[str, bytes] = {}
        self._filename: str | None = None
        self._name = ""
        self._is_file = self._has_ended = False
        self._header = b""
        self._value = b""
        self._disposition = b""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin_part,
                    "on_header_field": self._add_header,
                    "on_header_value": self._add_value,
                    "on_header_end": self._end_header,
                    "on_headers_finished": self._begin_data,
                    "on_part_data": self._add_data,
                    "on_end": self._end,
                },
            )
        except FormParserError as error:
            raise _malformed(str(error)) from error

    def feed(self, part: bytes) -> None:
        """Read on. Raises RequestError."""
        try:
            self._parser.write(part)
        except FormParserError as error:
            raise _malformed(str(error)) from error

    def take(self) -> bytes:
        """Return the file's bytes that haven't been taken."""
        data = b"".join(self._held)
        self._held, self.n_held = [], 0
        return data

    def wishes(self) -> tuple[str, int]:
        """Return the file's name, and for how many seconds it is to be kept. Raises RequestError."""
        if not self._has_ended:
            raise _malformed("it ends before its last boundary")
        if self._filename is None:
            raise _missing("file")
        purpose = self._fields.get("purpose")
        if purpose is None:
            raise _missing("purpose")
        if purpose != b"batch":
            raise RequestError(
                f"Invalid value for 'purpose': {_shown(purpose)!r}; it must be 'batch', "
                "as this server keeps files of batches",
                param="purpose",
                code="invalid_value",
            )
        return self._filename, self._lifetime_s()

    def _lifetime_s(self) -> int:
        anchor, seconds = (
            self._fields.get("expires_after[anchor]"),
            self._fields.get("expires_after[seconds]"),
        )
        if anchor is None and seconds is None:
            return FILE_S
        if anchor != b"created_at":
            raise RequestError(
                "Invalid value for 'expires_after.anchor': it must be 'created_at'",
                param="expires_after.anchor",
                code="invalid_value",
            )
        if seconds is None or not seconds.isdigit() or not LEAST_EXPIRY_S <= int(seconds) <= FILE_S:
            raise RequestError(
                f"Invalid value for 'expires_after.seconds': it must be {LEAST_EXPIRY_S:,} to {FILE_S:,}",
                param="expires_after.seconds",
                code="invalid_value",
            )
        return int(seconds)

    # --- what the parser calls ---

    def _begin_part(self) -> None:
        self._header = self._value = self._disposition = b""

    def _add_header(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header = self._value = b""

    def _begin_data(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = _text(options.get(b"name", b""))
        self._is_file = self._name == "file"
        if not self._is_file:
            if self._name in self._fields or len(self._fields) >= MOST_FIELDS:
                raise _malformed(f"it has the field {self._name[:80]!r} twice, or over {MOST_FIELDS} fields")
            self._fields[self._name] = b""
        elif self._filename is not None:
            raise _malformed("it has the field 'file' twice")
        else:
            name = _text(options.get(b"filename", b"")).replace("\\", "/").rpartition("/")[2]
            self._filename = "".join(filter(str.isprintable, name))[:FILENAME_CHARS] or "file"

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self.n_file_bytes += end - start
            self.n_held += end - start
            self._held.append(data[start:end])
            return
        self._fields[self._name] += data[start:end]
        if len(self._fields[self._name]) > FIELD_BYTES:
            raise _malformed(f"the field {self._name[:80]!r} has over {FIELD_BYTES:,} bytes")

    def _end(self) -> None:
        self._has_ended = True


def _malformed(fault: str) -> RequestError:
    return RequestError(f"the form can't be read: {fault}; send it as RFC 7578 says", code="invalid_form")


def _missing(param: str) -> RequestError:
    return RequestError(
        f"Missing required parameter: '{param}'", param=param, code="missing_required_parameter"
    )


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _shown(value: bytes) -> str:
    return _text(value)[:80]
